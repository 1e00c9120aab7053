-- Sends a shard to wait for its next attempt, perhaps at another endpoint, under a new token.
-- KEYS: 1 shard record, 2 leases, 3 job, 4 what was tried for its lines
-- ARGV: 1 token, 2 member of leases, 3 new token, 4 new endpoint, 5 attempt, 6 lease (ms), countdown included,
--       7 why it waits (JSON, see jobs/records/waiting.py), 8.. line numbers, each with what was tried for it (JSON)
-- Returns 1, or 0 if another worker has the shard now. Run again with the same new token it changes nothing.
local known = redis.call('HMGET', KEYS[1], 'token', 'endpoint')
if known[1] == ARGV[3] then
  return 1
end
if known[1] ~= ARGV[1] then
  return 0
end
local clock = redis.call('TIME')
local lines = redis.call('HGET', 'rb:endpoint:' .. known[2] .. ':open', ARGV[2]) or '0'
redis.call('HDEL', 'rb:endpoint:' .. known[2] .. ':open', ARGV[2])
redis.call('HSET', 'rb:endpoint:' .. ARGV[4] .. ':open', ARGV[2], lines)
redis.call('HSET', KEYS[1], 'token', ARGV[3], 'endpoint', ARGV[4], 'attempt', ARGV[5], 'state', 'queued', 'waits', '1')
redis.call('HDEL', KEYS[1], 'claim')
redis.call('ZADD', KEYS[2], clock[1] * 1000 + math.floor(clock[2] / 1000) + tonumber(ARGV[6]), ARGV[2])
redis.call('HSET', KEYS[3], 'waiting', ARGV[7])
for i = 8, #ARGV, 2 do
  redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1])
end
redis.call('HINCRBY', KEYS[3], 'retries', 1)
return 1
