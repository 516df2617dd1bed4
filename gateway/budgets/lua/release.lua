#!lua flags=allow-oom
-- release: free what was held because the work surely did not run.
-- KEYS  1 hold   2 open holds   3 journal   4 meta   5.. the hold's counters
-- ARGV  1 hold id   2 how long a counter outlives its bucket (ms)   3 how long the tombstone stays (ms)   4 record
-- Returns {"release" | "late", central, high, reserved central, reserved high}: amounts are the whole charge, zero
--       | {"duplicate", central, high, reserved central, reserved high, kind of the first time}
--       | {"keys", JSON of the hold's counters}: nothing was done, call again with these
--       | {"no_ledger"}: nothing was done, the org's ledger is lost
-- Invariant: what an expiry charged is taken back once (late). An unknown hold becomes a tombstone, so that a
--       reserve that is still under way when its caller gives up cannot hold anything afterwards.

local NOTHING = words(ZERO.central)

if redis.call('HEXISTS', KEYS[4], 'epoch') == 0 then
  return { 'no_ledger' }
end
local hold = redis.call('HMGET', KEYS[1], 'state', 'kind', 'central', 'high', 'posted_central',
  'posted_high', 'counters')
local state, reserved_central, reserved_high = hold[1], hold[3] or NOTHING, hold[4] or NOTHING
if state == 'C' or state == 'R' then
  return { 'duplicate', hold[5], hold[6], reserved_central, reserved_high, hold[2] }
end

local kind, counters, posted = 'release', {}, ZERO
if state then
  counters = cjson.decode(hold[7])
  local keys = named(counters, tail(KEYS, 5))
  if not keys then
    return { 'keys', hold[7] }
  end
  local reserved = { central = vector(reserved_central), high = vector(reserved_high) }
  if state == 'P' then
    move(counters, keys, reserved, ZERO, ZERO, tonumber(ARGV[2]))
  else
    kind = 'late'
    posted = { central = less(ZERO.central, reserved.central), high = less(ZERO.high, reserved.high) }
    move(counters, keys, ZERO, posted, ZERO, tonumber(ARGV[2]))
  end
end

post(KEYS[3], kind, ARGV[1], posted.central, posted.high, counters, ARGV[4])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'state', kind == 'late' and 'C' or 'R', 'kind', kind, 'central', reserved_central,
  'high', reserved_high, 'posted_central', NOTHING, 'posted_high', NOTHING)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { kind, NOTHING, NOTHING, reserved_central, reserved_high }
