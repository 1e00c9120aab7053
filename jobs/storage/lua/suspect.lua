-- Says which line of a shard runs alone now: it is to blame if the worker dies.
-- KEYS: 1 shard record
-- ARGV: 1 token, 2 line number, '' for none
-- Returns 1, or 0 if another worker has the shard now.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], 'suspect')
else
  redis.call('HSET', KEYS[1], 'suspect', ARGV[2])
end
return 1
