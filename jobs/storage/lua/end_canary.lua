-- Lets a job go on beyond its canary.
-- KEYS: 1 job, 2 ready
-- ARGV: 1 job id, 2 today and 3 this month as the counters of spending name them
-- Returns 1, or 0 if the job has no canary.
-- include pausing
local had = redis.call('HDEL', KEYS[1], 'canary', 'canary_done')
update_pause(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
return had > 0 and 1 or 0
