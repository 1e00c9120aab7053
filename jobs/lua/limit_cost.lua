-- Sets or lifts the cap on a job's cost. A job that was paused at its cap goes on.
-- KEYS: 1 job, 2 ready
-- ARGV: 1 job id, 2 the cap in billionths of a dollar, '' for none
-- Returns {'set'}, {'spent', cost in billionths of a dollar} if that reaches the cap already, {'ended', status} if the job is no
-- longer in progress, or {'missing'}.
local job = redis.call('HMGET', KEYS[1], 'status', 'cost_nano', 'priority', 'paused', 'turn')
if not job[1] then
  return {'missing'}
end
if job[1] ~= 'in_progress' then
  return {'ended', job[1]}
end
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], 'max_cost_nano')
else
  if tonumber(job[2] or 0) >= tonumber(ARGV[2]) then
    return {'spent', job[2] or '0'}
  end
  redis.call('HSET', KEYS[1], 'max_cost_nano', ARGV[2])
end
if job[4] then
  redis.call('HDEL', KEYS[1], 'paused', 'paused_at', 'turn')
  -- Not before the one that has been served least meanwhile: its pause is no claim on the others.
  local floor = -1e12 * tonumber(job[3] or 0)
  local first = redis.call('ZRANGEBYSCORE', KEYS[2], floor, '(' .. string.format('%.0f', floor + 1e12), 'WITHSCORES', 'LIMIT', 0, 1)
  local turn = math.max(tonumber(job[5] or floor), tonumber(first[2] or floor))
  redis.call('ZADD', KEYS[2], string.format('%.0f', turn), ARGV[1])
end
return {'set'}
