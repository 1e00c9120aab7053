-- Takes in how a request of a key ended: gives its place and what is reserved for it back, corrects the tokens, adds what it cost.
-- KEYS: 1 buckets hash, 2 leases (see admit.lua), 3 nano-dollars spent today, 4 and this month, 5 reserved (see admit.lua)
-- ARGV: 1 tokens a minute (0: no limit), 2 tokens used beyond those expected (fewer: negative), 3 the lease, 4 nano-dollars,
--       5 and 6 how long the counters of today and of the month are kept (s)
local tpm, beyond = tonumber(ARGV[1]), tonumber(ARGV[2])
redis.call('ZREM', KEYS[2], ARGV[3])
local reserved = redis.call('HGET', KEYS[5], ARGV[3])
if reserved then
  redis.call('HDEL', KEYS[5], ARGV[3])
  redis.call('HINCRBY', KEYS[5], 'total', '-' .. reserved)
end
if tpm > 0 and beyond ~= 0 then
  local clock = redis.call('TIME')
  local now = clock[1] + clock[2] / 1000000
  local known = redis.call('HMGET', KEYS[1], 'tokens', 'tokens_at')
  local passed = math.max(0, now - tonumber(known[2] or now))
  local filled = math.min(tpm, tonumber(known[1] or tpm) + passed * tpm / 60)
  -- A request that used more than the bucket held leaves a debt, of an hour's worth at most.
  local tokens = math.max(-60 * tpm, math.min(tpm, filled - beyond))
  redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'tokens_at', string.format('%.6f', now))
  local full_ms = math.ceil((tpm - tokens) / tpm * 60000) + 1000
  if redis.call('PTTL', KEYS[1]) < full_ms then
    redis.call('PEXPIRE', KEYS[1], full_ms)
  end
end
if tonumber(ARGV[4]) > 0 then
  redis.call('INCRBY', KEYS[3], ARGV[4])
  redis.call('EXPIRE', KEYS[3], ARGV[5])
  redis.call('INCRBY', KEYS[4], ARGV[4])
  redis.call('EXPIRE', KEYS[4], ARGV[6])
end
return 1
