-- Begins a round of a job that has ended, in which some of its lines are sent again.
-- KEYS: 1 job, 2 ready, 3 unfinished, 4 jobs of the owner (omitted for a job without an owner)
-- ARGV: 1 job id, 2 the round that has ended (its folder, '' for the first), 3 how many of its owner's jobs may be unfinished
--       ('' for any number), 4.. fields and values of the record
-- Returns 1, 0 if the job is under way, or another round has begun meanwhile, or -1 if its owner has as many as it may.
local job = redis.call('HMGET', KEYS[1], 'status', 'round', 'priority')
local ended = job[1] == 'completed' or job[1] == 'cancelled' or job[1] == 'expired'
if not ended or (job[2] or '') ~= ARGV[2] then
  return 0
end
if ARGV[3] ~= '' and KEYS[4] and redis.call('ZINTERCARD', 2, KEYS[3], KEYS[4]) >= tonumber(ARGV[3]) then
  return -1
end
redis.call('HDEL', KEYS[1], 'ending', 'completed_at', 'cancelled_at', 'cancelling_at', 'expired_at', 'finalizing_at', 'output_file',
  'error_file', 'waiting', 'paused', 'paused_at', 'turn', 'outlook', 'canary', 'canary_done')
redis.call('HSET', KEYS[1], 'status', 'in_progress', 'cursor', '0', 'cancelled_lines', '0', 'expired_lines', '0', unpack(ARGV, 4))
redis.call('SADD', KEYS[3], ARGV[1])
-- As a new job (see open_job): level with the one that has been served least in its priority.
local floor = -1e12 * tonumber(job[3] or 0)
local first = redis.call('ZRANGEBYSCORE', KEYS[2], floor, '(' .. string.format('%.0f', floor + 1e12), 'WITHSCORES', 'LIMIT', 0, 1)
redis.call('ZADD', KEYS[2], first[2] or string.format('%.0f', floor), ARGV[1])
return 1
