#!lua flags=allow-oom
-- fence: let one's own fence stand longer, for as long as the work behind it takes.
-- KEYS  1 fence
-- ARGV  1 token of the fence   2 for how long it stands (ms)
-- Returns {"kept"} | {"fenced"}: it fell, or another process put up its own
-- Invariant: nobody else's fence is touched, and none that fell is put up again.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return { 'fenced' }
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return { 'kept' }
