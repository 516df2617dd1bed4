#!lua flags=allow-oom
-- claim: take alerts that are due; who does not bring them to an end leaves them to others.
-- KEYS  1 alerts
-- ARGV  1 for how long they are ours (ms)   2 how many at most
-- Returns {alert...}
-- Invariant: an alert is with one gateway at a time, and stays in the queue until that one removes it.

local now = now_ms()
local due = redis.call('ZRANGE', KEYS[1], '-inf', int(now), 'BYSCORE', 'LIMIT', '0', ARGV[2])
for _, one in ipairs(due) do
  redis.call('ZADD', KEYS[1], int(now + tonumber(ARGV[1])), one)
end
return due
