#!lua flags=allow-oom
-- renew: make leases live on.
-- KEYS  the leases of each deployment, in the order of ARGV
-- ARGV  1 lease (ms)  2 '1' to bring back those that the store lost, else '0'  3.. lease ids, one for each key
-- Returns {id...}: the leases that the store does not have
-- Invariant: without '1' a lease that was given back stays given back, however late the renewal comes.

local now = now_ms()
local lives_ms = tonumber(ARGV[1])
local lost = {}
for i, leases in ipairs(KEYS) do
  local id = ARGV[2 + i]
  if ARGV[2] == '1' or redis.call('ZSCORE', leases, id) then
    redis.call('ZADD', leases, int(now + lives_ms), id)
    redis.call('PEXPIRE', leases, int(lives_ms + 1000))
  else
    lost[#lost + 1] = id
  end
end
return lost
