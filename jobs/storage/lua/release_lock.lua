-- Releases a lock if it is the caller's. One that has run out may be another's by now.
-- KEYS: the lock
-- ARGV: its owner
-- Returns 1 if it was released, else 0.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
