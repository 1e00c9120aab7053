-- Changes how a job in progress is worked on.
-- KEYS: 1 job, 2 ready
-- ARGV: 1 job id, 2 today and 3 this month as the counters of spending name them, then fields and values: 'held' ('1' or ''),
--       'priority', 'expires_at' (s), 'window', 'endpoints' (JSON, '' for all)
-- Returns {'changed'}, {'ended', status} if the job is no longer in progress, or {'missing'}.
-- include pausing
local status = redis.call('HGET', KEYS[1], 'status')
if not status then
  return {'missing'}
end
if status ~= 'in_progress' then
  return {'ended', status}
end
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
  if ARGV[i] == 'priority' then
    -- It begins anew among the jobs of its priority (see open_job.lua), now or when its pause is over.
    local floor = -1e12 * tonumber(ARGV[i + 1])
    if redis.call('ZREM', KEYS[2], ARGV[1]) == 1 then
      local first = redis.call('ZRANGEBYSCORE', KEYS[2], floor, '(' .. string.format('%.0f', floor + 1e12), 'WITHSCORES', 'LIMIT', 0, 1)
      redis.call('ZADD', KEYS[2], first[2] or string.format('%.0f', floor), ARGV[1])
    elseif redis.call('HEXISTS', KEYS[1], 'turn') == 1 then
      redis.call('HSET', KEYS[1], 'turn', string.format('%.0f', floor))
    end
  end
end
update_pause(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
return {'changed'}
