#!lua flags=allow-oom
-- announce: say which policies a gateway has read, and learn their number; the highest number is in force.
-- KEYS  1 the policies in force   2 versions that were in force, by their numbers
-- ARGV  1 version   2 "1" when the gateway's files have just changed
-- ARGV  3 how long without an announcement those in force keep older ones out (ms)
-- Returns {number of this version, version in force}
-- Invariant: numbers only grow. Policies take over when somebody wrote them: when files changed, to whatever text,
--       or came up with a text that is new. A text that was in force before and merely is still there does not,
--       as long as a gateway has those in force.

local VERSIONS_KEPT = 100

local now = now_ms()
local force = redis.call('HMGET', KEYS[1], 'version', 'number', 'announced')
local version, number = force[1], tonumber(force[2] or '0')
if version ~= ARGV[1] then
  local before = redis.call('ZSCORE', KEYS[2], ARGV[1])
  local kept = version and now - tonumber(force[3]) <= tonumber(ARGV[3])
  if before and ARGV[2] ~= '1' and kept then
    return { int(tonumber(before)), version }
  end
  version, number = ARGV[1], math.max(now, number + 1)
  redis.call('HSET', KEYS[1], 'version', version, 'number', int(number))
  redis.call('ZADD', KEYS[2], int(number), version)
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -VERSIONS_KEPT - 1)
end
redis.call('HSET', KEYS[1], 'announced', int(now))
return { int(number), version }
