#!lua flags=allow-oom
-- expire: end a hold whose lease is over, because its gateway died or lost the store.
-- KEYS  1 hold   2 open holds   3 journal   4 meta   5 alerts   6 alerted   7.. the hold's counters
-- ARGV  1 hold id   2 how long a counter outlives its bucket (ms)   3 how long the tombstone stays (ms)
-- Returns {"expire"}: charged as reserved, the work may have run | {"release"}: nothing was sent, nothing is charged
--       | {"early"}: the lease runs | {"final"}: it is not open any more | {"lost"}: the hold itself is gone
--       | {"keys", JSON of the hold's counters}: nothing was done, call again with these
--       | {"no_ledger"}: nothing was done, the org's ledger is lost
-- Invariant: only a pending hold whose lease is over changes, and only once; a settle may still follow an
--       expiry, for which the tombstone keeps the counters.

if redis.call('HEXISTS', KEYS[4], 'epoch') == 0 then
  return { 'no_ledger' }
end
local lease_end = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not lease_end then
  return { 'final' }
elseif now_ms() < tonumber(lease_end) then
  return { 'early' }
end

local hold = redis.call('HMGET', KEYS[1], 'state', 'sent', 'central', 'high', 'counters', 'record')
if hold[1] ~= 'P' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return { hold[1] and 'final' or 'lost' }
end
local counters = cjson.decode(hold[5])
local keys = named(counters, tail(KEYS, 7))
if not keys then
  return { 'keys', hold[5] }
end

local reserved = { central = vector(hold[3]), high = vector(hold[4]) }
local kind, state, posted = 'expire', 'E', reserved
if hold[2] ~= '1' then
  kind, state, posted = 'release', 'R', ZERO
end
move(counters, keys, reserved, posted, reserved, tonumber(ARGV[2]), { queue = KEYS[5], alerted = KEYS[6] })
post(KEYS[3], kind, ARGV[1], posted.central, posted.high, counters, hold[6])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'state', state, 'kind', kind, 'central', hold[3], 'high', hold[4],
  'posted_central', words(posted.central), 'posted_high', words(posted.high))
if state == 'E' then
  redis.call('HSET', KEYS[1], 'counters', hold[5])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { kind }
