-- Notes an event of a job that has a webhook, to be sent there (see jobs.webhooks.delivery). Included by others.
-- job: key; id: the job's; status: what has become of it; now (s).
local MOST_EVENTS = 1000
local function announce(job, id, status, now)
  if redis.call('HEXISTS', job, 'webhook') == 1 then
    local number = redis.call('HINCRBY', job, 'events', 1)
    if number <= MOST_EVENTS then
      redis.call('ZADD', 'rb:events', now, id .. ':' .. number .. ':' .. status)
    end
  end
end
