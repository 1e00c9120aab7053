-- Settles how many requests one process may have in flight at an endpoint, and tells the caller.
-- The sum of what all processes are allowed never exceeds the limit; a process that stopped asking is forgotten when its
-- time is over. Where more is wanted than there is, each gets its share in proportion to what it wants times its weight, but at
-- least one; with more processes than slots they take turns, in the order in which they came to wait.
-- KEYS: 1 slots hash: process -> "allowed:wanted:expires_ms:in_use:weight", 2 sorted set of the processes that wait for their
--       first slot, by the time (ms) they began to, 3 limit hash, whose field 'limit' goes before ARGV[4]
-- ARGV: 1 process, 2 held now and not to be taken away, 3 wanted (held included), 4 the endpoint's limit, 5 time to live (ms),
--       6 in use now, 7 weight, 256 if people wait for its requests, 8 the most that a learned limit may be, 0 for a configured
--       limit, 9 slots that are kept for processes whose requests people wait for
-- Returns {what the process may have in flight from now on, never less than what it holds; up to where it may begin more, which is
-- what would be fair, and less for one that was silent for so long that others have been given what it holds; what others use;
-- the limit}.
local me, held, wanted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local ttl, weight = tonumber(ARGV[5]), tonumber(ARGV[7] or '1')
local limit, most = tonumber(ARGV[4]), tonumber(ARGV[8])
if most > 0 then
  limit = math.min(most, tonumber(redis.call('HGET', KEYS[3], 'limit') or limit))
end
local PATIENCE = 500 -- ms without a question after which the others don't leave slots to a process that waits: it may be dead
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local allowed_others, wanted_others, waiting, before_me, had, used_others = 0, 0, 0, 0, 0, 0
local interactive = 0
local sharing = {{wanted = wanted, pull = wanted * weight, me = true}}
local since = tonumber(redis.call('ZSCORE', KEYS[2], me) or now)
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local allowed, wants, expires, uses, heavy = string.match(all[i + 1], '(%d+):(%d+):(%d+):(%d+):?(%d*)')
  if all[i] == me then
    had = tonumber(allowed)
  elseif tonumber(expires) <= now then
    redis.call('HDEL', KEYS[1], all[i])
    redis.call('ZREM', KEYS[2], all[i])
  else
    allowed_others = allowed_others + allowed
    wanted_others = wanted_others + wants
    sharing[#sharing + 1] = {wanted = tonumber(wants), pull = wants * (tonumber(heavy) or 1)}
    used_others = used_others + uses
    if tonumber(heavy) == 256 then
      interactive = interactive + allowed
    end
    if allowed == '0' and wants ~= '0' and expires - ttl > now - PATIENCE then
      waiting = waiting + 1
      if tonumber(redis.call('ZSCORE', KEYS[2], all[i]) or now) < since then
        before_me = before_me + 1
      end
    end
  end
end
local limit_of_all = limit
if weight < 256 then
  limit = math.max(1, limit - math.max(0, tonumber(ARGV[9] or '0') - interactive))
end
-- Shares go by pull; whoever would get more than it wants gets what it wants, and the rest is shared among the others.
local function share_of_mine()
  local left = limit
  while true do
    local pull, full = 0, nil
    for _, one in ipairs(sharing) do
      pull = pull + one.pull
    end
    for i, one in ipairs(sharing) do
      if one.wanted * pull <= left * one.pull then
        full = i
        break
      end
    end
    if not full then
      for _, one in ipairs(sharing) do
        if one.me then
          return left * one.pull / pull
        end
      end
    end
    local one = table.remove(sharing, full)
    if one.me then
      return one.wanted
    end
    left = left - one.wanted
  end
end
local target, room = wanted, limit - allowed_others
if wanted + wanted_others > limit then
  -- Shares are rounded up, so that nothing is left over, but down while a process that waits has none.
  local share = share_of_mine()
  share = waiting > 0 and math.floor(share) or math.ceil(share)
  if held == 0 and had == 0 then
    share = math.max(1, share)
    room = room - before_me
  end
  target = math.min(wanted, math.max(share, limit - wanted_others))
end
if most > 0 and weight >= 256 then
  -- A limit that finds itself is no promise: people don't wait until bulk requests have ended, which others give back for them now.
  room = math.max(room, target)
end
local allowed = math.max(held, math.min(target, room), 0)
if allowed == 0 and wanted == 0 then
  redis.call('HDEL', KEYS[1], me)
else
  redis.call('HSET', KEYS[1], me, allowed .. ':' .. wanted .. ':' .. (now + ttl) .. ':' .. ARGV[6] .. ':' .. weight)
  redis.call('PEXPIRE', KEYS[1], ttl * 2)
end
if allowed == 0 and wanted > 0 then
  redis.call('ZADD', KEYS[2], 'NX', now, me)
  redis.call('PEXPIRE', KEYS[2], ttl * 2)
else
  redis.call('ZREM', KEYS[2], me)
end
return {allowed, math.min(target, math.max(room, 0)), used_others, limit_of_all}
