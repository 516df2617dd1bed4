#!lua
-- begin: start the ledger of an org that never had one.
-- KEYS  1 meta
-- ARGV  1 epoch, a name for this beginning   2 "1" when the org may begin, "0" to look only
-- Returns {"began" | "known", epoch, turn of the server} | {"no_ledger"}
-- Invariant: a ledger that exists is never begun again; the caller has asked SQL whether there was one.

local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch and ARGV[2] ~= '1' then
  return { 'no_ledger' }
end
local verdict = 'known'
if not epoch then
  epoch, verdict = ARGV[1], 'began'
  redis.call('HSET', KEYS[1], 'epoch', epoch)
  grace_left(KEYS[1], 0, now_ms())
end
return { verdict, epoch, redis.call('HGET', KEYS[1], 'turn') or '' }
