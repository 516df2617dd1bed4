#!lua flags=allow-oom
-- dispatch: note that the work is about to be sent, so that from now on an expired hold is charged.
-- KEYS  1 hold   2 open holds
-- ARGV  1 hold id   2 lease (ms)   3 record that replaces the hold's: it names where the work goes
-- Returns {"sent"} | {"gone", state, or "lost" when the hold is unknown}
-- Invariant: only a pending hold is marked; its lease starts again. Hardly adds memory, so it works when full.

local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'P' then
  return { 'gone', state or 'lost' }
end
redis.call('HSET', KEYS[1], 'sent', '1', 'record', ARGV[3])
redis.call('ZADD', KEYS[2], int(now_ms() + tonumber(ARGV[2])), ARGV[1])
return { 'sent' }
