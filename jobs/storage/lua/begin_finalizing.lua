-- Says that a job's output is being put together, if it is in progress.
-- KEYS: 1 job
-- ARGV: 1 now (s)
-- Returns 1 if it is now, else 0.
if redis.call('HGET', KEYS[1], 'status') ~= 'in_progress' then
  return 0
end
redis.call('HSET', KEYS[1], 'status', 'finalizing', 'finalizing_at', ARGV[1])
return 1
