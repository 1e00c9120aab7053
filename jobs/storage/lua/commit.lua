-- Closes a shard whose part has been written.
-- KEYS: 1 shard record, 2 buffer, 3 leases, 4 open set of the job, 5 job, 6 returned set of the job, 7 what was tried for lines that waited
-- ARGV: 1 token, 2 member of leases, 3 first line
-- Returns {'committed', 1 if nothing of the job is left to do else 0}, {'incomplete', lines recorded} or {'stale'}.
local known = redis.call('HMGET', KEYS[1], 'token', 'endpoint', 'end')
if known[1] ~= ARGV[1] then
  return {'stale'}
end
local recorded = redis.call('HLEN', KEYS[2])
if recorded ~= tonumber(known[3]) - tonumber(ARGV[3]) then
  return {'incomplete', recorded}
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('SREM', KEYS[4], ARGV[3])
redis.call('HDEL', 'rb:endpoint:' .. known[2] .. ':open', ARGV[2])
if redis.call('EXISTS', KEYS[7]) == 1 then
  for number = tonumber(ARGV[3]), tonumber(known[3]) - 1 do
    redis.call('HDEL', KEYS[7], number)
  end
end
local job = redis.call('HMGET', KEYS[5], 'cursor', 'total')
local nothing_open = redis.call('SCARD', KEYS[4]) == 0 and redis.call('ZCARD', KEYS[6]) == 0
return {'committed', nothing_open and job[1] == job[2] and 1 or 0}
