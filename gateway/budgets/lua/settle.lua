#!lua flags=allow-oom
-- settle: free what was held, charge what the work took, and write the journal.
-- KEYS  1 hold   2 open holds   3 journal   4 meta   5 alerts   6 alerted   7.. the hold's counters
-- ARGV  1 hold id   2 how long a counter outlives its bucket (ms)   3 how long the tombstone stays (ms)
-- ARGV  4 central amounts   5 high amounts   6 record   7 JSON of the counters in KEYS, as a hold keeps them
-- ARGV  8 "1" when it is known what came of the work, "0" when it may or may not have run
-- Returns {kind, central, high, reserved central, reserved high}: kind is commit, late or orphan, amounts are the whole charge
--       | {"duplicate", central, high, reserved central, reserved high, kind of the first time}
--       | {"keys", JSON of the hold's counters}: nothing was done, call again with these
--       | {"no_ledger"}: nothing was done, the org's ledger is lost
-- Invariant: a hold is charged once. After an expiry only the signed difference is posted (late); a hold that
--       the store lost is charged to the counters of the call (orphan); a release stands. Each mark that the
--       charge reaches is alerted once.

if redis.call('HEXISTS', KEYS[4], 'epoch') == 0 then
  return { 'no_ledger' }
end
local hold = redis.call('HMGET', KEYS[1], 'state', 'kind', 'central', 'high', 'posted_central',
  'posted_high', 'counters')
local state, reserved_central, reserved_high = hold[1], hold[3], hold[4]
if state == 'C' or state == 'R' then
  return { 'duplicate', hold[5], hold[6], reserved_central, reserved_high, hold[2] }
end

local keys = tail(KEYS, 7)
local to = { queue = KEYS[5], alerted = KEYS[6] }
local actual = { central = vector(ARGV[4]), high = vector(ARGV[5]) }
local outlives_ms = tonumber(ARGV[2])
local kind, counters, posted
if not state then
  kind, counters, posted = 'orphan', cjson.decode(ARGV[7]), actual
  reserved_central, reserved_high = ARGV[4], ARGV[5]
  move(counters, keys, ZERO, actual, actual, outlives_ms, to)
else
  counters = cjson.decode(hold[7])
  if not named(counters, keys) then
    return { 'keys', hold[7] }
  end
  local reserved = { central = vector(reserved_central), high = vector(reserved_high) }
  if state == 'P' then
    kind, posted = 'commit', actual
    move(counters, keys, reserved, actual, reserved, outlives_ms, to)
  else
    kind = 'late'
    posted = { central = less(actual.central, reserved.central), high = less(actual.high, reserved.high) }
    move(counters, keys, ZERO, posted, ZERO, outlives_ms, to)
  end
end

post(KEYS[3], kind, ARGV[1], posted.central, posted.high, counters, ARGV[6])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'state', 'C', 'kind', kind, 'central', reserved_central, 'high', reserved_high,
  'posted_central', ARGV[4], 'posted_high', ARGV[5], 'known', ARGV[8])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { kind, ARGV[4], ARGV[5], reserved_central, reserved_high }
