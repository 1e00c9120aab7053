-- Pauses a job in progress that may begin no more lines for now, and lets one go on for which that is over. Included by others.
-- job, ready: keys; id: the job's; day, month: today and this month as the counters of spending name them.
-- Returns the reason: 'held', 'max_cost', 'canary', 'key_budget', 'key_revoked', or nil.
-- include announcing
local function update_pause(job, ready, id, day, month)
  local known = redis.call(
    'HMGET', job, 'status', 'paused', 'max_cost_nano', 'cost_nano', 'completed', 'failed', 'total', 'owner', 'priority', 'turn',
    'kept', 'repeats', 'canary', 'canary_done', 'held')
  local function number(text)
    return tonumber(text or 0) or 0
  end
  if known[1] ~= 'in_progress' then
    return nil
  end
  local owner, reason = known[8] or '', nil
  -- With every line finished there is nothing left to pause: the shards need only be closed.
  if number(known[5]) + number(known[6]) < number(known[7]) + number(known[11]) + number(known[12]) then
    if known[15] then
      reason = 'held'
    elseif known[3] and number(known[4]) >= number(known[3]) then
      reason = 'max_cost'
    elseif known[13] and number(known[14]) >= number(known[13]) then
      reason = 'canary'
    elseif owner ~= '' then
      local key = redis.call('HMGET', 'rb:budgets:' .. owner, 'revoked', 'day', 'month')
      local function over(budget, period)
        return budget and number(redis.call('GET', 'rb:spent:' .. owner .. ':' .. period)) >= number(budget)
      end
      if key[1] then
        reason = 'key_revoked'
      elseif over(key[2], day) or over(key[3], month) then
        reason = 'key_budget'
      end
    end
  end
  if reason and not known[2] then
    local turn = redis.call('ZSCORE', ready, id) or '0'
    local now = redis.call('TIME')[1]
    redis.call('HSET', job, 'paused', reason, 'paused_at', now, 'turn', turn)
    redis.call('ZREM', ready, id)
    announce(job, id, 'paused', now)
  elseif reason and reason ~= known[2] then
    redis.call('HSET', job, 'paused', reason)
  elseif known[2] and not reason then
    redis.call('HDEL', job, 'paused', 'paused_at', 'turn')
    -- Not before the one that has been served least meanwhile: its pause is no claim on the others.
    local floor = -1e12 * number(known[9])
    local first = redis.call('ZRANGEBYSCORE', ready, floor, '(' .. string.format('%.0f', floor + 1e12), 'WITHSCORES', 'LIMIT', 0, 1)
    local turn = math.max(tonumber(known[10] or floor), tonumber(first[2] or floor))
    redis.call('ZADD', ready, string.format('%.0f', turn), id)
  end
  return reason
end
