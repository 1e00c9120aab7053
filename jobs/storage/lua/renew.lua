-- Keeps a running shard, and says whether to go on with it.
-- KEYS: 1 shard record, 2 leases, 3 job
-- ARGV: 1 token, 2 member of leases, 3 lease (ms)
-- Returns 'go', 'stop' if the job is paused, 'end' if it is no longer in progress, or 'lost' if another worker has the shard now.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return 'lost'
end
local clock = redis.call('TIME')
redis.call('ZADD', KEYS[2], clock[1] * 1000 + math.floor(clock[2] / 1000) + tonumber(ARGV[3]), ARGV[2])
local job = redis.call('HMGET', KEYS[3], 'status', 'paused')
if job[1] ~= 'in_progress' then
  return 'end'
end
return job[2] and 'stop' or 'go'
