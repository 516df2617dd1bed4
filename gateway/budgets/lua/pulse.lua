#!lua flags=allow-oom
-- pulse: is the org's ledger still the one that was seen last, and which holds are due?
-- KEYS  1 meta   2 open holds
-- ARGV  1 for how long a server that is new to the org admits nothing (ms)   2 how many due holds to name
-- Returns {"alive", epoch, turn of the server, {hold id...}} | {"no_ledger"}
-- Invariant: changes nothing but the name of a new server, with which its time of grace begins.

local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then
  return { 'no_ledger' }
end
local now = now_ms()
local _, turn = grace_left(KEYS[1], tonumber(ARGV[1]), now)
local due = redis.call('ZRANGE', KEYS[2], '-inf', int(now), 'BYSCORE', 'LIMIT', '0', ARGV[2])
return { 'alive', epoch, turn, due }
