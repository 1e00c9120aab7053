-- Stops a job: no more lines are cut.
-- KEYS: 1 job, 2 ready
-- ARGV: 1 job id, 2 how it ends ('cancelled' or 'expired'), 3 now (s)
-- Returns the status that the job has now, or '' if there is no such job.
local status = redis.call('HGET', KEYS[1], 'status')
if not status then
  return ''
end
local stopped = redis.call('HGET', KEYS[1], 'ending')
if status == 'in_progress' or (status == 'finalizing' and not stopped) then
  status = ARGV[2] == 'cancelled' and 'cancelling' or 'finalizing'
  redis.call('HSET', KEYS[1], 'status', status, 'ending', ARGV[2])
  redis.call('HSET', KEYS[1], ARGV[2] == 'cancelled' and 'cancelling_at' or 'finalizing_at', ARGV[3])
  redis.call('HDEL', KEYS[1], 'waiting', 'paused', 'paused_at', 'turn')
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return status
