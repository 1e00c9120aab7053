-- Lets a job whose output could not be put together go on with ranges of which the results are gone.
-- KEYS: 1 job, 2 ready, 3 returned set of the job
-- ARGV: 1 job id, 2 lines that are gone, 3.. members of the returned set, each with its first line
-- Returns 1, or 0 if the job is not being finalized any more.
local job = redis.call('HMGET', KEYS[1], 'status', 'ending', 'completed', 'failed', 'priority')
if job[1] ~= 'finalizing' or job[2] then
  return 0
end
-- Which of them had failed is not known.
local completed = math.min(tonumber(ARGV[2]), tonumber(job[3] or 0))
redis.call('HINCRBY', KEYS[1], 'completed', -completed)
redis.call('HINCRBY', KEYS[1], 'failed', -math.min(tonumber(ARGV[2]) - completed, tonumber(job[4] or 0)))
for i = 3, #ARGV, 2 do
  redis.call('ZADD', KEYS[3], ARGV[i + 1], ARGV[i])
end
redis.call('HDEL', KEYS[1], 'finalizing_at')
redis.call('HSET', KEYS[1], 'status', 'in_progress')
redis.call('ZADD', KEYS[2], string.format('%.0f', -1e12 * tonumber(job[5] or 0)), ARGV[1])
return 1
