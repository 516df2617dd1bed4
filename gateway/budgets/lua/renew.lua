#!lua flags=allow-oom
-- renew: extend the leases of holds that are still open.
-- KEYS  1 open holds
-- ARGV  1 lease (ms)   2.. hold ids
-- Returns {id...}: the holds that are no longer open
-- Invariant: a lease never gets shorter, and a hold that is final is never opened again.

local lease_end = int(now_ms() + tonumber(ARGV[1]))
local gone = {}
for i = 2, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], 'XX', 'GT', lease_end, ARGV[i])
  else
    gone[#gone + 1] = ARGV[i]
  end
end
return gone
