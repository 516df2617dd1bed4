#!lua
-- rate: let one more request of a key pass, or say how long it has to wait.
-- KEYS  1 the key's rate
-- ARGV  1 requests per minute, all of which pass at once after a pause
-- Returns {1 when it passes, how many more would pass now, us until it is as after a pause, us to wait}
-- Invariant: who sent less than that in the last minute passes; within any stretch of time at most a minute's
--         worth passes and what the rate gives back meanwhile; a request that has to wait changes nothing.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local each = math.ceil(60000000 / tonumber(ARGV[1]))
local whole = each * tonumber(ARGV[1])
-- Until when the requests so far would take, one after another at the rate; never further off than a
-- minute's worth, whatever the limit was before and wherever another server's clock stood.
local until_us = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now), now + whole)
local wait = until_us + each - now - whole
if wait > 0 then
  return { 0, 0, until_us - now, wait }
end
until_us = until_us + each
redis.call('SET', KEYS[1], int(until_us), 'PXAT', int(math.ceil(until_us / 1000)))
return { 1, math.floor((now + whole - until_us) / each), until_us - now, 0 }
