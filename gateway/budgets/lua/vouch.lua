#!lua flags=allow-oom
-- vouch: end the time of grace of this server, because it lacks nothing that the one before had.
-- KEYS  1 meta
-- ARGV  1 the turn that the caller looked into
-- Returns {"vouched"} | {"other"}: another turn has begun since, or is about to
-- Invariant: only the grace of the turn in question ends; whoever takes over later begins one of its own.

local run, turn = unpack(redis.call('HMGET', KEYS[1], 'run', 'turn'))
if turn ~= ARGV[1] or run ~= this_run() then
  return { 'other' }
end
redis.call('HSET', KEYS[1], 'grace', '0')
return { 'vouched' }
