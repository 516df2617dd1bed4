#!lua flags=allow-oom
-- adopt: take over an ending that SQL has and the store lost.
-- KEYS  1 hold   2 open holds   3 meta   4.. the counters that the ending changed
-- ARGV  1 hold id   2 how long a counter outlives its bucket (ms)   3 how long the tombstone stays (ms)
-- ARGV  4 kind   5 central amounts that were posted in all   6 high amounts   7 JSON of the counters in KEYS
-- ARGV  8 "1" to change the counters too, "0" when they were rebuilt with it already
-- Returns {"adopted"} | {"known", state} | {"no_ledger"}
-- Invariant: nothing is journaled, since SQL has the entry; an ending that the store knows is left as it is.

if ARGV[8] == '1' and redis.call('HEXISTS', KEYS[3], 'epoch') == 0 then
  return { 'no_ledger' }
end
local hold = redis.call('HMGET', KEYS[1], 'state', 'central', 'high', 'posted_central', 'posted_high')
local state = hold[1]
-- An expiry supposed what SQL knows: that the hold was used as it was held, or that it was not sent at all.
local corrects = (state == 'E' and ARGV[4] ~= 'expire') or (state == 'R' and ARGV[4] ~= 'release')
if state and state ~= 'P' and not corrects then
  return { 'known', state }
end
local posted = { central = vector(ARGV[5]), high = vector(ARGV[6]) }
local freed = ZERO
if state == 'P' then
  freed = { central = vector(hold[2]), high = vector(hold[3]) }
elseif corrects then
  posted = { central = less(posted.central, vector(hold[4])), high = less(posted.high, vector(hold[5])) }
end
if ARGV[8] == '1' then
  move(cjson.decode(ARGV[7]), tail(KEYS, 4), freed, posted, posted, tonumber(ARGV[2]))
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'state', ARGV[4] == 'expire' and 'E' or ARGV[4] == 'release' and 'R' or 'C',
  'kind', ARGV[4], 'central', ARGV[5], 'high', ARGV[6], 'posted_central', ARGV[5], 'posted_high', ARGV[6],
  'counters', ARGV[7])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { 'adopted' }
