#!lua flags=no-writes
-- balance: what is spent and held in the bucket in force of each counter.
-- KEYS  1 meta   2.. counters: per counter the trail of its current bucket, oldest first, its current, its next
-- ARGV  1.. per counter: start and end of its current bucket, start and end of its next (ms), length of its trail
-- Returns {"balances", {bucket, spent (6), held (6), spent in each bucket of its trail (6 each)}...}
--       | {"window", now} | {"no_ledger"}
-- Invariant: reads only; the bucket is the one in which a reserve at this moment would count.

if redis.call('HEXISTS', KEYS[1], 'epoch') == 0 then
  return { 'no_ledger' }
end
local now = math.max(now_ms(), tonumber(redis.call('HGET', KEYS[1], 't') or '0'))
local answer = { 'balances' }
local at = 1
for i = 1, #ARGV / 5 do
  local o = 5 * i - 4
  local trail = tonumber(ARGV[o + 4])
  local counter =
    in_force(KEYS, at, trail, { { ARGV[o], ARGV[o + 1] }, { ARGV[o + 2], ARGV[o + 3] } }, now)
  if not counter then
    return { 'window', now }
  end
  at = at + trail + 2
  local row = { counter.bucket }
  for _, figure in ipairs({ 'spent', 'held' }) do
    for d = 1, DIMENSIONS do
      row[#row + 1] = counter.before[figure][d] + counter[figure][d]
    end
  end
  for _, earlier in ipairs(counter.trail) do
    for d = 1, DIMENSIONS do
      row[#row + 1] = earlier.spent[d]
    end
  end
  answer[i + 1] = row
end
return answer
