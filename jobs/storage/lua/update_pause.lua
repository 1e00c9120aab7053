-- Pauses a job, or lets it go on, as its cap and its key's budget say now.
-- KEYS: 1 job, 2 ready
-- ARGV: 1 job id, 2 today and 3 this month as the counters of spending name them
-- Returns why it is paused, '' if it is not.
-- include pausing
return update_pause(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]) or ''
