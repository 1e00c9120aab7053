-- Takes in what one process saw of an endpoint since its last report, and moves the circuit.
-- closed -> open after a run of failures, longer each time; open -> half_open when its time is over; half_open -> closed by
-- a success, -> open by a failure. A passed check closes at once what refused connections: it proves that they are taken again.
-- It proves nothing of an endpoint that took requests and failed them; that one has to wait for its time. Only real answers make
-- the next opening short again. While it has answered others a moment ago, many more requests have to fail by what
-- may be their own fault, and those that fail there again count for nothing. A passed check shortens the pause of one
-- that answered others in the last minute, or that has refused the key. Timeouts among the last few requests make a closed one
-- half open: what hangs is asked one request at a time until it answers.
-- KEYS[1] health hash
-- ARGV: 1 successes, 2 mean latency of answers (s) or '', 3 failures since the last success, 4 failures in all, 5 last error,
--       6 failures that open the circuit, 7 first open time (ms), 8 longest open time (ms), 9 rate-limited for (ms),
--       10 1: an active check passed, 11 what the last failure was: 'connection', 'key' or '', 12 failures since the last success of
--       requests that had failed there before, 13 for how long (ms) a success is recent, 14 how many times more have to fail while the
--       endpoint answers others, 15 timeouts since the last success, 16 what each success leaves of the timeouts before,
--       17 timeouts that make it half open
-- Returns 1 if the circuit has just opened, else 0.
local ok, run, failed = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local threshold, first_ms, longest_ms = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'state', 'run', 'trips', 'latency', 'limited_until', 'open_until', 'opened_by', 'last_ok_at', 'timeouts')
local state, trips = known[1] or 'closed', tonumber(known[3] or '0')
local run_before = tonumber(known[2] or '0')
if state == 'open' and now >= tonumber(known[6] or '0') then
  state = 'half_open'
end
local last_ok_at = tonumber(known[8] or '0')
if ARGV[10] == '1' then
  if state == 'closed' or known[7] == 'connection' then
    state, run_before = 'closed', 0
  elseif known[7] == 'key' or now - last_ok_at < tonumber(ARGV[13]) then
    local open_until = math.min(tonumber(known[6] or '0'), now + first_ms)
    redis.call('HSET', KEYS[1], 'open_until', string.format('%.0f', open_until))
  end
end
local opened = 0
if ok > 0 then
  local mean, before = tonumber(ARGV[2]), tonumber(known[4] or '')
  if mean then
    local keep = math.pow(0.9, math.min(ok, 20))
    local after = before and (before * keep + mean * (1 - keep)) or mean
    redis.call('HSET', KEYS[1], 'latency', string.format('%.6f', after))
  end
  redis.call('HSET', KEYS[1], 'last_ok_at', now)
  redis.call('HINCRBY', KEYS[1], 'ok', ok)
  run_before, last_ok_at = 0, now
  if state ~= 'open' then
    state, trips = 'closed', 0
  end
end
if failed > 0 then
  redis.call('HINCRBY', KEYS[1], 'failed', failed)
  redis.call('HSET', KEYS[1], 'last_error', ARGV[5], 'last_error_at', now)
end
if state == 'half_open' or now - last_ok_at >= tonumber(ARGV[13]) then
  run = run + tonumber(ARGV[12])
end
local total_run = run_before + run
local latency = tonumber(redis.call('HGET', KEYS[1], 'latency') or '0')
if now - last_ok_at < math.max(1000, 2000 * latency) then
  threshold = threshold * tonumber(ARGV[14])
end
if run > 0 and state ~= 'open' and (total_run >= threshold or state == 'half_open') then
  state, opened, trips = 'open', 1, trips + 1
  local open_ms = math.min(longest_ms, first_ms * math.pow(2, trips - 1))
  redis.call('HSET', KEYS[1], 'open_until', now + open_ms, 'opened_at', now, 'opened_by', ARGV[11])
end
local timeouts = tonumber(known[9] or '0') * math.pow(tonumber(ARGV[16]), ok) + tonumber(ARGV[15])
if state == 'closed' and tonumber(ARGV[15]) > 0 and timeouts >= tonumber(ARGV[17]) then
  state = 'half_open'
  redis.call('HSET', KEYS[1], 'opened_by', '')
end
redis.call('HSET', KEYS[1], 'state', state, 'run', total_run, 'trips', trips, 'timeouts', string.format('%.17g', timeouts))
local pause = tonumber(ARGV[9])
if pause > 0 and now + pause > tonumber(known[5] or '0') then
  redis.call('HSET', KEYS[1], 'limited_until', now + pause)
end
return opened
