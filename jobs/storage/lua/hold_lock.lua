-- Takes a lock that is free, or keeps it for longer if it is the caller's.
-- KEYS: the lock
-- ARGV: its owner, milliseconds until it is free by itself
-- Returns 1 if the caller has it, else 0.
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
