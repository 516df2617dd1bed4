#!lua flags=allow-oom
-- restore: bring back an open hold that the store lost; it was admitted, so no limit is asked again.
-- KEYS  1 hold   2 open holds   3 meta   4.. the hold's counters
-- ARGV  1 hold id   2 lease (ms)   3 how long a counter outlives its bucket (ms)   4 "1" when it was sent
-- ARGV  5 central amounts   6 high amounts   7 record   8 JSON of the counters in KEYS, as a hold keeps them
-- Returns {"restored"} | {"known", state} | {"no_ledger"}
-- Invariant: a hold that the store knows in any state is left as it is.

if redis.call('HEXISTS', KEYS[3], 'epoch') == 0 then
  return { 'no_ledger' }
end
local state = redis.call('HGET', KEYS[1], 'state')
if state then
  if state == 'P' and ARGV[4] == '1' then
    redis.call('HSET', KEYS[1], 'sent', '1', 'record', ARGV[7])
  end
  return { 'known', state }
end
local counters = cjson.decode(ARGV[8])
local amounts = { central = vector(ARGV[5]), high = vector(ARGV[6]) }
local taken = { central = less(ZERO.central, amounts.central), high = less(ZERO.high, amounts.high) }
move(counters, tail(KEYS, 4), taken, ZERO, ZERO, tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], 'state', 'P', 'sent', ARGV[4], 'fingerprint', '', 'candidate', '1', 'room', '',
  'counters', ARGV[8], 'central', ARGV[5], 'high', ARGV[6], 'record', ARGV[7])
redis.call('ZADD', KEYS[2], int(now_ms() + tonumber(ARGV[2])), ARGV[1])
return { 'restored' }
