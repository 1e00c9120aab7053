-- Cuts shards off jobs and leases them, if nothing changed since the plan was made; all of the plan or nothing.
-- KEYS: 1 turns, 2 leases, 3 ready, then for each shard: job, its open set, its returned set, shard record, open lines
-- ARGV: 1 version the plan was made for, 2 lease (ms), 3 turns of the endpoints as JSON, 4 number of shards,
--       then for each shard: job id, first line, end line, endpoint, token, attempt, member of the returned set ('' if cut anew),
--       how often its workers were lost, the line to blame for that or ''
-- Returns 1, or 0 if the plan is out of date.
if (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[1] then
  return 0
end
local count = tonumber(ARGV[4])
local cursors = {}
for i = 0, count - 1 do
  local k, a = 4 + i * 5, 5 + i * 9
  local job, first, ending, back = KEYS[k], tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), ARGV[a + 6]
  local record = redis.call('HMGET', job, 'status', 'cursor', 'total', 'paused')
  if record[1] ~= 'in_progress' or record[4] then
    return 0
  end
  if back ~= '' then
    if not redis.call('ZSCORE', KEYS[k + 2], back) then
      return 0
    end
  else
    local cursor = cursors[job] or tonumber(record[2])
    if cursor ~= first or ending > tonumber(record[3]) then
      return 0
    end
    cursors[job] = ending
  end
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for i = 0, count - 1 do
  local k, a = 4 + i * 5, 5 + i * 9
  local job_id, first, ending, endpoint = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local member = job_id .. ':' .. first
  local lines = tonumber(ending) - tonumber(first)
  if ARGV[a + 6] ~= '' then
    redis.call('ZREM', KEYS[k + 2], ARGV[a + 6])
    -- Lines that were finished before the shard came back need no slot any more.
    lines = lines - redis.call('HLEN', 'rb:buffer:' .. member)
  else
    redis.call('HSET', KEYS[k], 'cursor', ending)
  end
  redis.call('HSET', KEYS[k + 3], 'end', ending, 'endpoint', endpoint, 'token', ARGV[a + 4], 'state', 'queued',
    'attempt', ARGV[a + 5], 'lost', ARGV[a + 7], 'blamed', ARGV[a + 8])
  redis.call('SADD', KEYS[k + 1], first)
  redis.call('ZADD', KEYS[2], now + tonumber(ARGV[2]), member)
  if redis.call('HLEN', KEYS[k + 4]) == 0 then
    redis.call('HSET', KEYS[1], 'since|' .. endpoint, now) -- as in jobs/storage/keys.py
  end
  redis.call('HSET', KEYS[k + 4], member, lines)
  redis.call('ZINCRBY', KEYS[3], tonumber(ending) - tonumber(first), job_id)
end
for endpoint, turn in pairs(cjson.decode(ARGV[3])) do
  redis.call('HSET', KEYS[1], endpoint, turn)
end
redis.call('HINCRBY', KEYS[1], 'version', 1)
return 1
