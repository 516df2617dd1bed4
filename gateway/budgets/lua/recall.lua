#!lua flags=no-writes
-- recall: what became of the hold that a claim names.
-- KEYS  1 hold
-- Returns {"open"} | {"released"} | {"expired"} | {"lost"}: the store does not know it, or not any more
--       | {"charged", "1" when the outcome was known, "0" when it was not, "" when that is not kept, central amounts}
-- Invariant: reads only.

local hold = redis.call('HMGET', KEYS[1], 'state', 'known', 'posted_central')
if not hold[1] then
  return { 'lost' }
elseif hold[1] == 'C' then
  return { 'charged', hold[2] or '', hold[3] }
end
return { hold[1] == 'P' and 'open' or hold[1] == 'R' and 'released' or 'expired' }
