-- Keeps a running shard, and says whether to go on with it.
-- KEYS: 1 shard record, 2 leases, 3 job
-- ARGV: 1 token, 2 member of leases, 3 lease (ms)
-- Returns 'go', 'stop' if the job is no longer in progress, or 'lost' if the shard is somebody else's now.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return 'lost'
end
local clock = redis.call('TIME')
redis.call('ZADD', KEYS[2], clock[1] * 1000 + math.floor(clock[2] / 1000) + tonumber(ARGV[3]), ARGV[2])
return redis.call('HGET', KEYS[3], 'status') == 'in_progress' and 'go' or 'stop'
