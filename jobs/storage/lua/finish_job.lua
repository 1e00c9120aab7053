-- Sets a job's end, once, and forgets what only a running job needs.
-- KEYS: 1 job, 2 ready, 3 open set, 4 returned set, 5 unfinished, 6 what was tried for lines
-- ARGV: 1 job id, 2 status, 3 field of the time, 4 now (s), 5.. fields and values to set
-- Returns 1 if this call ended it, else 0.
-- include announcing
local status = redis.call('HGET', KEYS[1], 'status')
if not status or status == 'completed' or status == 'failed' or status == 'cancelled' or status == 'expired' then
  return 0
end
redis.call('HSET', KEYS[1], 'status', ARGV[2], ARGV[3], ARGV[4], unpack(ARGV, 5))
announce(KEYS[1], ARGV[1], ARGV[2], ARGV[4])
redis.call('HDEL', KEYS[1], 'waiting')
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('SREM', KEYS[5], ARGV[1])
for _, range in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1)) do
  redis.call('DEL', 'rb:buffer:' .. ARGV[1] .. ':' .. string.match(range, '^%d+'))
end
redis.call('DEL', KEYS[3], KEYS[4], KEYS[6])
return 1
