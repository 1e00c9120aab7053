-- Adds tallies to the accounts of their days. A flush that has been taken in before changes nothing, so one whose answer was lost
-- is sent again.
-- KEYS: 1 number of the meter's last flush, 2.. the days' hashes
-- ARGV: 1 the flush's number (counts up), 2 seconds for which KEYS[1] is kept, 3 seconds for which days are kept,
--       4.. in threes: which of KEYS, the row's name, its numbers by comma
-- Numbers are exact up to 2^53 (of nanodollars: nine million dollars for one row of one day).
-- Returns 1, or 0 if it was there already.
local last = redis.call('GET', KEYS[1])
if last and tonumber(last) >= tonumber(ARGV[1]) then
  return 0
end

local function numbers(text)
  local found = {}
  for number in string.gmatch(text, '[^,]+') do
    found[#found + 1] = tonumber(number)
  end
  return found
end

for i = 4, #ARGV, 3 do
  local day, row, sums = KEYS[tonumber(ARGV[i])], ARGV[i + 1], numbers(ARGV[i + 2])
  local known = numbers(redis.call('HGET', day, row) or '')
  for n = 1, math.max(#sums, #known) do
    sums[n] = string.format('%.0f', (sums[n] or 0) + (known[n] or 0))
  end
  redis.call('HSET', day, row, table.concat(sums, ','))
end
for i = 2, #KEYS do
  redis.call('EXPIRE', KEYS[i], ARGV[3])
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
