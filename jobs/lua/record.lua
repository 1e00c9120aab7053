-- Keeps a group of finished lines. Harmless when it is run twice: lines that stand there already change nothing.
-- KEYS: 1 shard record, 2 buffer, 3 job
-- ARGV: 1 token, 2 member of leases, 3.. in threes: line number, '0' or '1' (failed) and the result line as one string,
--       and its "prompt:completion:cached:reasoning" tokens
-- Returns 1, or 0 if the shard is somebody else's now.
local known = redis.call('HMGET', KEYS[1], 'token', 'endpoint')
if known[1] ~= ARGV[1] then
  return 0
end
local sums = {completed = 0, failed = 0, prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0, reasoning_tokens = 0}
local new = 0
for i = 3, #ARGV, 3 do
  if redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) == 1 then
    new = new + 1
    local outcome = string.byte(ARGV[i + 1]) == 48 and 'completed' or 'failed'
    sums[outcome] = sums[outcome] + 1
    local prompt, completion, cached, reasoning = string.match(ARGV[i + 2], '(%d+):(%d+):(%d+):(%d+)')
    sums.prompt_tokens = sums.prompt_tokens + prompt
    sums.completion_tokens = sums.completion_tokens + completion
    sums.cached_tokens = sums.cached_tokens + cached
    sums.reasoning_tokens = sums.reasoning_tokens + reasoning
  end
end
if new > 0 then
  for field, sum in pairs(sums) do
    if sum > 0 then
      redis.call('HINCRBY', KEYS[3], field, sum)
    end
  end
  redis.call('HINCRBY', 'rb:endpoint:' .. known[2] .. ':open', ARGV[2], -new)
end
return 1
