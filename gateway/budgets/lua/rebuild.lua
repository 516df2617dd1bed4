#!lua flags=allow-oom
-- rebuild: set counters of a lost ledger to what the journal says; the last call opens it again.
-- KEYS  1 meta   2 fence   3.. counters
-- ARGV  1 token of the fence   2 until when a counter lives at least (ms)   3 epoch, or "" to go on
-- ARGV  4 for how long nothing is admitted after the end (ms)   5 JSON [[spent (six strings), held (six strings)]...]
-- ARGV  6 the turn that SQL was told of: the one that begins now must sort behind it, whatever the clock says
-- Returns {"rebuilt"} | {"fenced"}: another process rebuilds | {"known"}: there is a ledger
-- Invariant: only the holder of the fence writes, and never to a ledger that is open.

if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return { 'fenced' }
elseif redis.call('HEXISTS', KEYS[1], 'epoch') == 1 then
  return { 'known' }
end
for i, row in ipairs(cjson.decode(ARGV[5])) do
  local counter = { spent = {}, held = {} }
  for d = 1, DIMENSIONS do
    counter.spent[d], counter.held[d] = tonumber(row[1][d]), tonumber(row[2][d])
  end
  write_counter(KEYS[2 + i], counter, tonumber(ARGV[2]))
end
if ARGV[3] ~= '' then
  local now = now_ms()
  redis.call('HDEL', KEYS[1], 'run')
  redis.call('HSET', KEYS[1], 'turn', ARGV[6])
  grace_left(KEYS[1], tonumber(ARGV[4]), now)
  redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'grace', int(now + tonumber(ARGV[4])))
  redis.call('DEL', KEYS[2])
end
return { 'rebuilt' }
