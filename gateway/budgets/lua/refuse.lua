#!lua
-- refuse: keep the record of a request that a budget refused, and alert where it is the first of its window.
-- KEYS  1 refusals   2 alerts   3.. the counters to alert of, each behind the trail of its bucket
-- ARGV  1 hold id   2 record   3 about how many refusals are kept
-- ARGV  4 JSON, for each of these counters [counter id, bucket start, until when it counts, dimension, name, limit,
--       spent, held, until when the counter lives at least, length of its trail], all strings
-- Returns {"refused"}
-- Invariant: no amount and no hold is touched; each window has one alert per counter, dimension, name and limit.

redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'hold', ARGV[1], 'at', int(now_ms()), 'record', ARGV[2])
local at = 2
for _, row in ipairs(cjson.decode(ARGV[4])) do
  local trail, lives_until = tonumber(table.remove(row)), tonumber(table.remove(row))
  local mark, known = row[4] .. ':' .. row[5] .. ':' .. row[6], false
  for k = 1, trail do
    known = known or redis.call('HEXISTS', KEYS[at + k], 'alerted:' .. mark) == 1
  end
  at = at + trail + 1
  if not known then
    alert(KEYS[2], KEYS[at], mark, row)
    if redis.call('PEXPIRETIME', KEYS[at]) < lives_until then
      redis.call('PEXPIREAT', KEYS[at], int(lives_until))
    end
  end
end
return { 'refused' }
