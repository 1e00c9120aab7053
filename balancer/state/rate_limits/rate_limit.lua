-- Takes requests and tokens from an endpoint's per-minute limits: two token buckets in one hash.
-- A bucket holds one second's worth (at least one request) and fills so that no minute exceeds the limit. Tokens may go into
-- debt by one take, so that a request larger than the bucket is not held for ever; the next one waits until it is paid.
-- KEYS[1] rate limit hash
-- ARGV: 1 rpm (0: none), 2 tpm (0: none), 3 requests wanted, 4 tokens each request is expected to need,
--       5 tokens to correct by (used more: positive), without asking for anything when 3 is 0
-- Returns {requests granted, milliseconds until more can be had}.
local rpm, tpm = tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted, each, correction = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local known = redis.call('HMGET', KEYS[1], 'requests', 'tokens', 'at')
local passed = math.max(0, now - tonumber(known[3] or now))

local function bucket(per_minute, level, least)
  local size = math.max(least, per_minute / 60)
  local rate = per_minute > size and (per_minute - size) / 60 or per_minute / 60
  return math.min(size, (tonumber(level) or size) + passed * rate), rate
end

local granted, wait = wanted, 0
local requests, request_rate, tokens, token_rate
if rpm > 0 then
  requests, request_rate = bucket(rpm, known[1], 1)
  granted = math.min(granted, math.floor(requests + 1e-9))
end
if tpm > 0 then
  tokens, token_rate = bucket(tpm, known[2], 1)
  tokens = tokens - correction
  if tokens <= 0 then
    granted = 0
  elseif each > 0 then
    granted = math.min(granted, math.max(1, math.floor(tokens / each)))
  end
end
if granted < wanted then
  if rpm > 0 and requests - granted < 1 then
    wait = math.max(wait, (1 - (requests - granted)) / request_rate)
  end
  if tpm > 0 and tokens - granted * each <= 0 then
    wait = math.max(wait, (1 - (tokens - granted * each)) / token_rate)
  end
end
redis.call('HSET', KEYS[1], 'at', string.format('%.6f', now))
if rpm > 0 then redis.call('HSET', KEYS[1], 'requests', string.format('%.6f', requests - granted)) end
if tpm > 0 then redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens - granted * each)) end
redis.call('EXPIRE', KEYS[1], 300)
return {granted, math.ceil(wait * 1000)}
