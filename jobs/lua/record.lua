-- Keeps a group of finished lines. Harmless when it is run twice: lines that stand there already change nothing.
-- KEYS: 1 shard record, 2 buffer, 3 job
-- ARGV: 1 token, 2 member of leases, 3.. in fours: line number, '0' or '1' (failed) and the result line as one string,
--       its "prompt:completion:cached:reasoning:cost" (tokens; billionths of a dollar, '-' if unknown), the endpoint or ''
-- Returns 1, or 0 if the shard is somebody else's now.
local known = redis.call('HMGET', KEYS[1], 'token', 'endpoint')
if known[1] ~= ARGV[1] then
  return 0
end
local sums = {}
local function add(field, amount)
  sums[field] = (sums[field] or 0) + amount
end
local new = 0
for i = 3, #ARGV, 4 do
  if redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) == 1 then
    new = new + 1
    add(string.byte(ARGV[i + 1]) == 48 and 'completed' or 'failed', 1)
    local prompt, completion, cached, reasoning, cost = string.match(ARGV[i + 2], '(%d+):(%d+):(%d+):(%d+):([%d-]+)')
    add('prompt_tokens', prompt)
    add('completion_tokens', completion)
    add('cached_tokens', cached)
    add('reasoning_tokens', reasoning)
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
  for field, sum in pairs(sums) do
    if sum > 0 then
      redis.call('HINCRBY', KEYS[3], field, string.format('%.0f', sum))
    end
  end
  redis.call('HINCRBY', 'rb:endpoint:' .. known[2] .. ':open', ARGV[2], -new)
end
return 1
