#!lua flags=no-writes
-- balance: what is spent and held in the bucket in force of each counter.
-- KEYS  1 meta   2.. counters: per counter its current bucket, then its next
-- ARGV  1.. per counter: start and end of its current bucket, start and end of its next (ms)
-- Returns {"balances", {bucket, spent (6), held (6)}...} | {"window", now} | {"no_ledger"}
-- Invariant: reads only; the bucket is the one in which a reserve at this moment would count.

if redis.call('HEXISTS', KEYS[1], 'epoch') == 0 then
  return { 'no_ledger' }
end
local now = math.max(now_ms(), tonumber(redis.call('HGET', KEYS[1], 't') or '0'))
local answer = { 'balances' }
for i = 1, #ARGV / 4 do
  local row
  for b = 1, 2 do
    local starts, ends = tonumber(ARGV[4 * i - 5 + 2 * b]), tonumber(ARGV[4 * i - 4 + 2 * b])
    if not row and starts <= now and now < ends then
      local counter = read_counter(KEYS[2 * i - 1 + b])
      row = { b }
      for _, amounts in ipairs({ counter.spent, counter.held }) do
        for d = 1, DIMENSIONS do
          row[#row + 1] = amounts[d]
        end
      end
    end
  end
  if not row then
    return { 'window', now }
  end
  answer[i + 1] = row
end
return answer
