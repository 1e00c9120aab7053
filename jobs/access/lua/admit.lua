-- Decides whether a key may send one more request, and takes what it needs; a refused request takes nothing.
-- Two token buckets, each of one minute's worth, that fill steadily.
-- KEYS: 1 buckets hash, 2 leases: sorted set of the requests under way by the time (ms) at which they are taken for dead,
--       3 nano-dollars spent today, 4 and this month, 5 reserved: hash of nano-dollars by lease, and their total
-- ARGV: 1 requests a minute, 2 tokens a minute, 3 requests at once, 4 nano-dollars a day, 5 and a month (each 0: no limit),
--       6 tokens that the request is expected to need, at most a minute's worth, 7 its lease, 8 how long that holds (ms),
--       9 nano-dollars that it is expected to cost
-- Returns {'ok' or the limit that is reached: 'month', 'day', 'reserved', 'requests', 'tokens', 'parallel'; ms until the request may go, as far as
-- that is known; requests left, ms until all are there; tokens left, ms until all are there}.
local rpm, tpm, parallel = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local day, month, expected = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local cost = tonumber(ARGV[9])
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function level_of(kind, per_minute)
  local known = redis.call('HMGET', KEYS[1], kind, kind .. '_at')
  local passed = math.max(0, now - tonumber(known[2] or now))
  return math.min(per_minute, tonumber(known[1] or per_minute) + passed * per_minute / 60)
end

local function ms_until(level, wanted, per_minute)
  return per_minute > 0 and math.max(0, math.ceil((wanted - level) / per_minute * 60000)) or 0
end

-- What is reserved for requests of processes that are gone is free again.
local reserved = 0
if day + month > 0 or parallel > 0 then
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now_ms)) do
    redis.call('ZREM', KEYS[2], lease)
    local nano = redis.call('HGET', KEYS[5], lease)
    if nano then
      redis.call('HDEL', KEYS[5], lease)
      redis.call('HINCRBY', KEYS[5], 'total', '-' .. nano)
    end
  end
  reserved = math.max(0, tonumber(redis.call('HGET', KEYS[5], 'total') or 0))
end
local spent_day, spent_month = tonumber(redis.call('GET', KEYS[3]) or 0), tonumber(redis.call('GET', KEYS[4]) or 0)

local requests, tokens = level_of('requests', rpm), level_of('tokens', tpm)
local verdict, wait = 'ok', 0
if month > 0 and spent_month >= month then
  verdict = 'month'
elseif day > 0 and spent_day >= day then
  verdict = 'day'
elseif reserved > 0 and ((month > 0 and spent_month + reserved + cost > month) or (day > 0 and spent_day + reserved + cost > day)) then
  -- A request that is alone may be the one that brings the key over its budget.
  verdict = 'reserved'
elseif rpm > 0 and requests < 1 - 1e-6 then
  verdict, wait = 'requests', ms_until(requests, 1, rpm)
elseif tpm > 0 and tokens < expected - 1e-6 then
  verdict, wait = 'tokens', ms_until(tokens, expected, tpm)
elseif parallel > 0 and redis.call('ZCARD', KEYS[2]) >= parallel then
  verdict = 'parallel'
end
if verdict == 'ok' then
  if (parallel > 0 or ARGV[9] ~= '0') and ARGV[7] ~= '' then
    redis.call('ZADD', KEYS[2], now_ms + ARGV[8], ARGV[7])
    redis.call('PEXPIRE', KEYS[2], ARGV[8] * 2)
  end
  if ARGV[9] ~= '0' then
    redis.call('HSET', KEYS[5], ARGV[7], ARGV[9])
    redis.call('HINCRBY', KEYS[5], 'total', ARGV[9])
    redis.call('PEXPIRE', KEYS[5], ARGV[8] * 2)
  end
  local at = string.format('%.6f', now)
  if rpm > 0 then
    requests = requests - 1
    redis.call('HSET', KEYS[1], 'requests', string.format('%.6f', requests), 'requests_at', at)
  end
  if tpm > 0 then
    tokens = tokens - expected
    redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'tokens_at', at)
  end
end
local requests_ms, tokens_ms = ms_until(requests, rpm, rpm), ms_until(tokens, tpm, tpm)
if verdict == 'ok' and rpm + tpm > 0 then
  -- A bucket that is not there is full.
  redis.call('PEXPIRE', KEYS[1], math.max(requests_ms, tokens_ms) + 1000)
end
return {verdict, wait, math.max(0, math.floor(requests + 1e-6)), requests_ms, math.max(0, math.floor(tokens + 1e-6)), tokens_ms}
