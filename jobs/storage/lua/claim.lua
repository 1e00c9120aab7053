-- Gives a queued shard to the worker that got its message. A stale or second message finds it taken.
-- KEYS: 1 shard record, 2 leases, 3 job
-- ARGV: 1 token, 2 member of leases, 3 claimant (unique for each execution), 4 lease (ms)
-- Returns {'claimed', attempt, endpoint, times lost, the line to blame or ''}, {'stopped'} if the job is no longer in progress or is
-- paused, or {'stale'}. A shard with batches at a provider is claimed even so: what they have cost is to be fetched.
local known = redis.call('HMGET', KEYS[1], 'token', 'state', 'claim', 'attempt', 'endpoint', 'lost', 'blamed', 'batch')
if known[1] ~= ARGV[1] then
  return {'stale'}
end
if known[2] ~= 'queued' and known[3] ~= ARGV[3] then
  return {'stale'}
end
local clock = redis.call('TIME')
redis.call('HSET', KEYS[1], 'state', 'running', 'claim', ARGV[3])
redis.call('HDEL', KEYS[1], 'waits')
redis.call('ZADD', KEYS[2], clock[1] * 1000 + math.floor(clock[2] / 1000) + tonumber(ARGV[4]), ARGV[2])
local job = redis.call('HMGET', KEYS[3], 'status', 'paused')
if (job[1] ~= 'in_progress' or job[2]) and not known[8] then
  return {'stopped'}
end
return {'claimed', known[4], known[5], known[6] or '0', known[7] or ''}
