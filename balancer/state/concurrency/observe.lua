-- Adds what one process has seen of an endpoint to the present sample, and takes the sample out when it is whole: a period has
-- passed, or a request was refused. Counts of another version of the limit are left out, but for what was in flight.
-- KEYS[1] limit hash: state (JSON), revision, version, since (ms), sums
-- ARGV: 1 version of the limit, 2 request-seconds in flight, 3 answers, 4 their work, 5 the seconds they took, 6 refused,
--       7 1: people wait for requests of this process, 8 period (ms), 9 how often the engine is asked (ms), 10 time to live (s)
-- Returns {state or '', revision, 1 if the caller is to decide, seconds, request-seconds, answers, work, seconds they took, refused,
-- reports of processes that people wait for, 1 if the engine is to be asked}.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'state', 'revision', 'version', 'since', 'engine_at')
local revision, since = tonumber(known[2] or '0'), tonumber(known[4] or now)
local names = {'flying', 'finished', 'work', 'busy', 'refused', 'chats'}
for i, name in ipairs(names) do
  if tonumber(ARGV[i + 1]) ~= 0 and (name == 'flying' or name == 'chats' or ARGV[1] == (known[3] or '0')) then
    redis.call('HINCRBYFLOAT', KEYS[1], name, ARGV[i + 1])
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[10])
if not known[4] then
  redis.call('HSET', KEYS[1], 'since', now)
end
local refused = tonumber(redis.call('HGET', KEYS[1], 'refused') or '0')
if now - since < tonumber(ARGV[8]) and refused == 0 then
  return {known[1] or '', revision, 0, '0', '0', '0', '0', '0', '0', '0', 0}
end
local sums = redis.call('HMGET', KEYS[1], unpack(names))
redis.call('HDEL', KEYS[1], unpack(names))
redis.call('HSET', KEYS[1], 'since', now)
local ask = 0
if now - tonumber(known[5] or '0') >= tonumber(ARGV[9]) then
  ask = 1
  redis.call('HSET', KEYS[1], 'engine_at', now)
end
return {known[1] or '', revision, 1, tostring(math.max(1, now - since) / 1000), sums[1] or '0', sums[2] or '0', sums[3] or '0', sums[4] or '0',
  sums[5] or '0', sums[6] or '0', ask}
