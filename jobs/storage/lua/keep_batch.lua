-- Keeps what is known of a shard's batches at their provider, before and after each step.
-- KEYS: 1 shard record
-- ARGV: 1 token, 2 the batches (JSON, see workers/batches/journal.py), '' when they are done with
-- Returns 1, or 0 if another worker has the shard now.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], 'batch')
else
  redis.call('HSET', KEYS[1], 'batch', ARGV[2])
end
return 1
