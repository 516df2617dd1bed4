#!lua
-- refuse: keep the record of a request that a budget refused.
-- KEYS  1 refusals
-- ARGV  1 hold id   2 record   3 about how many refusals are kept
-- Returns {"refused"}
-- Invariant: no counter and no hold is touched.

redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'hold', ARGV[1], 'at', int(now_ms()), 'record', ARGV[2])
return { 'refused' }
