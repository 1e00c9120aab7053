-- Settles how many requests one process may have in flight at an endpoint, and tells the caller.
-- The sum of what all processes are allowed never exceeds the limit; a process that stopped asking is forgotten when its
-- time is over. Where more is wanted than there is, each gets its share in proportion to what it wants.
-- KEYS[1] slots hash: process -> "allowed:wanted:expires_ms"
-- ARGV: 1 process, 2 held now and not to be taken away, 3 wanted (held included), 4 the endpoint's limit, 5 time to live (ms)
-- Returns {what the process may have in flight from now on, what would be fair}; the first is never less than what it holds.
local me, held, wanted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local limit, ttl = tonumber(ARGV[4]), tonumber(ARGV[5])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local allowed_others, wanted_others, someone_has_none = 0, 0, false
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i] ~= me then
    local allowed, wants, expires = string.match(all[i + 1], '(%d+):(%d+):(%d+)')
    if tonumber(expires) <= now then
      redis.call('HDEL', KEYS[1], all[i])
    else
      allowed_others = allowed_others + allowed
      wanted_others = wanted_others + wants
      someone_has_none = someone_has_none or (allowed == '0' and wants ~= '0')
    end
  end
end
local target = wanted
if wanted + wanted_others > limit then
  -- Shares are rounded up, so that nothing is left over, but down while somebody has nothing: with more processes than
  -- slots that takes turns.
  local share = limit * wanted / (wanted + wanted_others)
  share = someone_has_none and math.floor(share) or math.ceil(share)
  target = math.min(wanted, math.max(share, limit - wanted_others))
end
local allowed = math.max(held, math.min(target, limit - allowed_others))
if allowed == 0 and wanted == 0 then
  redis.call('HDEL', KEYS[1], me)
else
  redis.call('HSET', KEYS[1], me, allowed .. ':' .. wanted .. ':' .. (now + ttl))
  redis.call('PEXPIRE', KEYS[1], ttl * 2)
end
return {allowed, target}
