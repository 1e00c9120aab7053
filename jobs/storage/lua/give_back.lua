-- Takes a shard away from its endpoint, so that it can be cut again. What it has recorded stays. If its worker has lost it, that is
-- counted; a line that was running alone then (see suspect.lua) is named, so that it is not sent a third time and a fourth.
-- KEYS: 1 shard record, 2 leases, 3 open set of the job, 4 returned set of the job
-- ARGV: 1 token ('' for any), 2 member of leases, 3 first line, 4 'expired' to act only if the lease is over, 'queued' to act
--       only if no worker has it, 'gone' to act only if the worker ARGV[5] has it and has not renewed it for ARGV[6] ms of a lease of
--       ARGV[7] ms, 'unreachable' to act even if its lines are with a provider as batches, else ''
-- Returns 1 if it came back, else 0.
local known = redis.call('HMGET', KEYS[1], 'token', 'endpoint', 'end', 'attempt', 'state', 'lost', 'suspect', 'claim')
local has_batch = redis.call('HEXISTS', KEYS[1], 'batch') == 1
if has_batch and ARGV[4] ~= 'unreachable' then
  return 0
end
if not known[1] then
  -- A lease that no shard belongs to.
  redis.call('ZREM', KEYS[2], ARGV[2])
  return 0
end
if ARGV[1] ~= '' and known[1] ~= ARGV[1] then
  return 0
end
if ARGV[4] == 'queued' and known[5] ~= 'queued' then
  return 0
end
if ARGV[4] == 'gone' and (known[5] ~= 'running' or string.match(known[8] or '', '^(.*)/[^/]*$') ~= ARGV[5]) then
  return 0
end
if ARGV[4] == 'expired' or ARGV[4] == 'gone' then
  local clock = redis.call('TIME')
  local lease = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[2]) or 0)
  local spare = ARGV[4] == 'gone' and ARGV[7] - ARGV[6] or 0
  if lease - spare > clock[1] * 1000 + math.floor(clock[2] / 1000) then
    return 0
  end
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('SREM', KEYS[3], ARGV[3])
redis.call('HDEL', 'rb:endpoint:' .. known[2] .. ':open', ARGV[2])
local member = ARGV[3] .. ':' .. known[3] .. ':' .. known[4]
local lost, blamed = tonumber(known[6] or 0), ''
if (ARGV[4] == 'expired' or ARGV[4] == 'gone') and known[5] == 'running' then
  lost = lost + 1
  blamed = known[7] or ''
end
if lost > 0 then
  member = member .. ':' .. lost .. ':' .. blamed
end
redis.call('ZADD', KEYS[4], ARGV[3], member)
return 1
