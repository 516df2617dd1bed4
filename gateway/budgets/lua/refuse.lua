#!lua
-- refuse: keep the record of a request that a budget refused, and alert where it is the first of its window.
-- KEYS  1 refusals   2 alerts   3 alerted   4.. the counters to alert of
-- ARGV  1 hold id   2 record   3 about how many refusals are kept
-- ARGV  4 JSON, for each of these counters [counter id, bucket start, until when it counts, dimension, name, limit,
--       spent, held, until when the counter lives at least, length of a rolling window or 0], all strings
-- Returns {"refused"}
-- Invariant: no amount and no hold is touched; each window has one alert per counter, dimension, name and limit, and
--       so has each stretch of a rolling window's length.

redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'hold', ARGV[1], 'at', int(now_ms()), 'record', ARGV[2])
for i, row in ipairs(cjson.decode(ARGV[4])) do
  local length_ms, lives_until = tonumber(table.remove(row)), tonumber(table.remove(row))
  local key = KEYS[3 + i]
  alert({ queue = KEYS[2], alerted = KEYS[3] }, key, row[4] .. ':' .. row[5] .. ':' .. row[6], length_ms, row)
  if redis.call('PEXPIRETIME', key) < lives_until then
    redis.call('PEXPIREAT', key, int(lives_until))
  end
end
return { 'refused' }
