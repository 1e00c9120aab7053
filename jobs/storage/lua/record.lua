-- Keeps a group of finished lines, and pauses the job when they bring its cost to its cap, or its key's spending to its budget. Harmless when it is run twice: lines
-- that stand there already change nothing.
-- KEYS: 1 shard record, 2 buffer, 3 job, 4 ready
-- ARGV: 1 token, 2 member of leases, 3 today and 4 this month as the counters of spending name them,
--       5.. in fives: line number, '0' or '1' (failed) and the result line as one string,
--       its "prompt:completion:cached:reasoning:cost:saved:hedged" (tokens; billionths of a dollar, the cost '-' if unknown; 0 or 1),
--       the endpoint or '',
--       how many lines of the input get this result
-- Returns 'go', 'stop' if the job is no longer in progress or is paused (the lines are kept all the same), or 'lost' if another
-- worker has the shard now.
-- include pausing
local known = redis.call('HMGET', KEYS[1], 'token', 'endpoint')
if known[1] ~= ARGV[1] then
  return 'lost'
end
local sums = {}
local function add(field, amount)
  sums[field] = (sums[field] or 0) + amount
end
local new = 0
local function tokens_and_cost(text)
  local prompt, completion, cached, reasoning, cost, saved, hedged =
    string.match(text, '^(%d+):(%d+):(%d+):(%d+):(%-?%d*):(%-?%d+):([01])$')
  if not prompt or (cost ~= '-' and not tonumber(cost)) then
    error('record: tokens and cost are unreadable: ' .. text)
  end
  local sums = {prompt_tokens = prompt, completion_tokens = completion, cached_tokens = cached, reasoning_tokens = reasoning}
  sums.saved_nano, sums.hedged = saved, hedged
  return sums, cost
end
-- All is read before anything is written: a script that fails in the middle leaves what it has written.
local spent = {}
for i = 5, #ARGV, 5 do
  spent[i] = {tokens_and_cost(ARGV[i + 2])}
end
for i = 5, #ARGV, 5 do
  if redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) == 1 then
    new = new + 1
    add('result_bytes', #ARGV[i + 1] * ARGV[i + 4])
    add(string.byte(ARGV[i + 1]) == 48 and 'completed' or 'failed', ARGV[i + 4])
    local counts, cost = unpack(spent[i])
    for kind, count in pairs(counts) do
      add(kind, count)
    end
    if cost == '-' then
      add('unpriced', 1)
    else
      add('cost_nano', cost)
    end
    if ARGV[i + 3] ~= '' then
      add('at:' .. ARGV[i + 3], 1)
    end
  end
end
if new > 0 then
  local owner, nano = redis.call('HGET', KEYS[3], 'owner'), sums.cost_nano or 0
  if owner and owner ~= '' and nano > 0 then
    for i, kept in ipairs({259200, 3456000}) do -- as in jobs/access/spending.py
      local spent = 'rb:spent:' .. owner .. ':' .. ARGV[2 + i]
      redis.call('INCRBY', spent, string.format('%.0f', nano))
      redis.call('EXPIRE', spent, kept)
    end
  end
  for field, sum in pairs(sums) do
    if sum ~= 0 then
      redis.call('HINCRBY', KEYS[3], field, string.format('%.0f', sum))
    end
  end
  -- What the results of jobs have used on a day (see jobs/cost/recorded.py), to be compared with the account of requests.
  local recorded = 'rb:recorded:' .. ARGV[3]
  for _, name in ipairs({'prompt_tokens', 'completion_tokens', 'cost_nano'}) do
    if (sums[name] or 0) ~= 0 then
      redis.call('HINCRBY', recorded, (owner or '') .. '|' .. name, string.format('%.0f', sums[name]))
    end
  end
  redis.call('EXPIRE', recorded, 34560000) -- 400 days, as the account
  local capped = redis.call('HMGET', KEYS[3], 'max_cost_nano', 'line_nano')
  if capped[1] or (owner and owner ~= '' and redis.call('EXISTS', 'rb:budgets:' .. owner) == 1) then
    -- What a line costs lately (see jobs/cost/affordable.py): inputs are often sorted by length.
    local mean = (sums.cost_nano or 0) / new
    local lately = tonumber(capped[2] or mean)
    redis.call('HSET', KEYS[3], 'line_nano', string.format('%.3f', lately + (mean - lately) * new / (new + 32)))
    redis.call('HINCRBY', KEYS[3], 'recorded', new)
  end
  redis.call('HINCRBY', 'rb:endpoint:' .. known[2] .. ':open', ARGV[2], -new)
  if redis.call('HEXISTS', KEYS[3], 'canary') == 1 then
    redis.call('HINCRBY', KEYS[3], 'canary_done', new)
  end
  redis.call('HDEL', KEYS[3], 'waiting')
end
if redis.call('HGET', KEYS[3], 'status') ~= 'in_progress' then
  return 'stop'
end
local job_id = string.match(ARGV[2], '^(.*):%d+$')
return update_pause(KEYS[3], KEYS[4], job_id, ARGV[3], ARGV[4]) and 'stop' or 'go'
