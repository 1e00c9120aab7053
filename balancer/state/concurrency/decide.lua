-- Writes the limit that a process has decided on, unless another one has decided since it took its sample.
-- KEYS[1] limit hash
-- ARGV: 1 revision that the decision rests on, 2 new state (JSON), 3 its version, 4 the limit, 5 time to live (s)
-- Returns 1 if it was written, else 0.
if (redis.call('HGET', KEYS[1], 'revision') or '0') ~= ARGV[1] then
  return 0
end
if redis.call('HGET', KEYS[1], 'version') ~= ARGV[3] then
  redis.call('HDEL', KEYS[1], 'finished', 'work', 'busy', 'refused')
end
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'version', ARGV[3], 'limit', ARGV[4], 'revision', ARGV[1] + 1)
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
