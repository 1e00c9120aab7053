-- Sets or lifts the cap on a job's cost. A job that was paused at its cap goes on.
-- KEYS: 1 job, 2 ready
-- ARGV: 1 job id, 2 the cap in billionths of a dollar, '' for none, 3 today and 4 this month as the counters of spending name them
-- Returns {'set'}, {'spent', cost in billionths of a dollar} if that reaches the cap already, {'ended', status} if the job is no
-- longer in progress, or {'missing'}.
-- include pausing
local job = redis.call('HMGET', KEYS[1], 'status', 'cost_nano')
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
update_pause(KEYS[1], KEYS[2], ARGV[1], ARGV[3], ARGV[4])
return {'set'}
