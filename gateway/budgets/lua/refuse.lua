#!lua
-- refuse: keep the record of a request that a budget refused, and alert where it is the first of its window.
-- KEYS  1 refusals   2 alerts   3.. the counters to alert of
-- ARGV  1 hold id   2 record   3 about how many refusals are kept
-- ARGV  4 JSON, for each of these counters [counter id, bucket start, bucket end, dimension, name, limit, spent, held,
--       until when the counter lives at least], all strings
-- Returns {"refused"}
-- Invariant: no amount and no hold is touched; each counter has one alert per dimension, name and limit.

redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'hold', ARGV[1], 'at', int(now_ms()), 'record', ARGV[2])
for i, row in ipairs(cjson.decode(ARGV[4])) do
  local key, lives_until = KEYS[2 + i], tonumber(table.remove(row))
  alert(KEYS[2], key, row[4] .. ':' .. row[5] .. ':' .. row[6], row)
  if redis.call('PEXPIRETIME', key) < lives_until then
    redis.call('PEXPIREAT', key, int(lives_until))
  end
end
return { 'refused' }
