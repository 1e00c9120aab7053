-- Puts a new job's record in place and lets its lines be cut. Harmless when it is run twice.
-- KEYS: 1 job, 2 jobs, 3 ready, 4 unfinished, 5 jobs of the owner (omitted for a job without an owner)
-- ARGV: 1 job id, 2 created at (s), 3 priority, 4 'ready' or '' (a refused job), 5 how many of its owner's jobs may be
--       unfinished ('' for any number), 6.. fields and values of the record
-- Returns 1, 0 if the job exists already, or -1 if its owner has as many as it may.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
if ARGV[5] ~= '' and KEYS[5] and redis.call('ZINTERCARD', 2, KEYS[4], KEYS[5]) >= tonumber(ARGV[5]) then
  return -1
end
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
if KEYS[5] then
  redis.call('ZADD', KEYS[5], ARGV[2], ARGV[1])
end
if ARGV[4] == 'ready' then
  redis.call('SADD', KEYS[4], ARGV[1])
  -- A new job begins level with the one that has been served least in its priority, so that it neither waits for the others'
  -- past nor makes them wait for its own.
  local floor = -1e12 * tonumber(ARGV[3])
  local first = redis.call('ZRANGEBYSCORE', KEYS[3], floor, '(' .. string.format('%.0f', floor + 1e12), 'WITHSCORES', 'LIMIT', 0, 1)
  redis.call('ZADD', KEYS[3], first[2] or string.format('%.0f', floor), ARGV[1])
end
return 1
