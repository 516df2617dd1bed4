#!lua
-- take: a lease at the first deployment that has room and may be asked.
-- KEYS  for each candidate, in order: its leases, its circuit
-- ARGV  1 lease id  2 lease (ms)  3 '1' where these are all that there is, so that panic is possible
--       4.. the capacity of each candidate, -1 for one without a limit
-- Returns {chosen, panic, {state, leases in use, failures, ejections, ejected for ms, paused for ms, why}...}
--         chosen counts from 1 and is 0 when nobody has room; state is that before this call
-- Invariant: leases <= capacity, whoever asks and however often; of a circuit that is half open one lease at a
--         time is given. Only when every candidate is ejected or paused, that (never capacity) is ignored: panic is
--         then 1. Asked again with the same id it answers the same.

local now = now_ms()
local count = #KEYS / 2
local circuits, states, used, rows = {}, {}, {}, {}
local chosen, panic = 0, tonumber(ARGV[3])
for i = 1, count do
  local leases = KEYS[2 * i - 1]
  redis.call('ZREMRANGEBYSCORE', leases, '-inf', int(now))
  circuits[i] = read_circuit(KEYS[2 * i])
  states[i] = state_of(circuits[i], leases, now)
  used[i] = redis.call('ZCARD', leases)
  rows[i] = row(circuits[i], states[i], used[i], now)
  if chosen == 0 and redis.call('ZSCORE', leases, ARGV[1]) then
    chosen = i
  end
  if states[i] == 'closed' or states[i] == 'half_open' then
    panic = 0
  end
end

local function room(i)
  local capacity = tonumber(ARGV[3 + i])
  return capacity < 0 or used[i] < capacity
end

local i = 1
while chosen == 0 and i <= count do
  local open = states[i] == 'closed' or states[i] == 'half_open' or panic == 1
  if open and room(i) then
    chosen = i
  end
  i = i + 1
end

if chosen > 0 then
  local leases = KEYS[2 * chosen - 1]
  local lives_ms = tonumber(ARGV[2])
  redis.call('ZADD', leases, int(now + lives_ms), ARGV[1])
  redis.call('PEXPIRE', leases, int(lives_ms + 1000))
  if states[chosen] == 'half_open' then
    redis.call('HSET', KEYS[2 * chosen], 'probe', ARGV[1])
  end
end
return { chosen, panic, rows }
