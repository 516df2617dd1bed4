#!lua flags=allow-oom
-- reclaim: bring back the claim of a hold that another server, or a rebuilt ledger, lacks.
-- KEYS  1 claim
-- ARGV  1 hold id   2 fingerprint of its request   3 how long the claim lives (ms)
-- Returns {"claimed" | "known"}
-- Invariant: a claim that is there is left as it is.

if redis.call('EXISTS', KEYS[1]) == 1 then
  return { 'known' }
end
redis.call('HSET', KEYS[1], 'hold', ARGV[1], 'fingerprint', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { 'claimed' }
