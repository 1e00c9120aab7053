-- Puts a shard whose lines are with a provider as batches back into its queue, under a new token: to be looked after later, or since
-- its worker is gone. It is never cut again as long as they are there.
-- KEYS: 1 shard record, 2 leases, 3 job
-- ARGV: 1 token it has to have ('' for any), 2 member of leases, 3 new token, 4 lease (ms), 5 why it waits (JSON, see
--       jobs/records/waiting.py) or '', 6 'expired' to act only if the lease is over, 'gone' to act only if the worker ARGV[7] has
--       it, 'waiting' to act only if it has to wait for much longer than the lease, else ''
-- Returns the endpoint and the end line, or nothing if there is nothing to do. Run again with the same new token it changes nothing.
local known = redis.call('HMGET', KEYS[1], 'token', 'endpoint', 'end', 'batch', 'claim', 'state')
if not known[4] then
  return {}
end
if known[1] == ARGV[3] then
  return {known[2], known[3]}
end
if ARGV[1] ~= '' and known[1] ~= ARGV[1] then
  return {}
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local lease = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[2]) or 0)
if ARGV[6] == 'expired' and lease > now then
  return {}
end
if ARGV[6] == 'waiting' and (known[6] ~= 'queued' or lease - now < 3 * tonumber(ARGV[4])) then
  return {}
end
if ARGV[6] == 'gone' and string.match(known[5] or '', '^(.*)/[^/]*$') ~= ARGV[7] then
  return {}
end
redis.call('HSET', KEYS[1], 'token', ARGV[3], 'state', 'queued')
redis.call('HDEL', KEYS[1], 'claim')
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[4]), ARGV[2])
if ARGV[5] ~= '' and redis.call('HGET', KEYS[3], 'status') then
  redis.call('HSET', KEYS[3], 'waiting', ARGV[5])
end
return {known[2], known[3]}
