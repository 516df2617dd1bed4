#!lua flags=allow-oom
-- leave: give a lease back and say how the attempt went.
-- KEYS  1 leases  2 circuit  3.. circuits of the deployments that do the same work
-- ARGV  1 lease id  2 outcome: ok, failed or none (says nothing of the deployment)  3 pause (ms) that it asked for
--       4 why, a word  5 failures in a row that eject  6 base ejection (ms)  7 longest ejection (ms)
--       8 interval (ms) in which an ejection is forgotten  9 most that may be ejected at once, with this one
-- Returns {happened, {state, leases in use, failures, ejections, ejected for ms, paused for ms, why}}
--         happened: '' | 'ejected' | 'returned' | 'paused' | 'spared' (too many are ejected already)
-- Invariant: safe to repeat but for one more failure counted; a circuit that is half open closes by a success
--         and opens again by one failure.

local now = now_ms()
redis.call('ZREM', KEYS[1], ARGV[1])
local circuit = read_circuit(KEYS[2])
local state = state_of(circuit, KEYS[1], now)
local outcome, happened = ARGV[2], ''
local half_open = state == 'half_open' or state == 'probing' or circuit.probe == ARGV[1]

if circuit.probe == ARGV[1] then
  circuit.probe = ''
end
local pause = tonumber(ARGV[3])
if pause > 0 then
  circuit.paused = math.max(circuit.paused, now + pause)
  circuit.why = ARGV[4]
  happened = 'paused'
end

if outcome == 'ok' then
  circuit.failures = 0
  if half_open and circuit.ejected_until > 0 and circuit.ejected_until <= now then
    circuit.ejected_until, circuit.back, circuit.probe, circuit.why = 0, now, '', ''
    happened = 'returned'
  end
elseif outcome == 'failed' and circuit.ejected_until <= now then
  circuit.failures = circuit.failures + 1
  if circuit.ejected_until > 0 or circuit.failures >= tonumber(ARGV[5]) then
    local ejected = 0
    for i = 3, #KEYS do
      if tonumber(redis.call('HGET', KEYS[i], 'until') or '0') > 0 then
        ejected = ejected + 1
      end
    end
    if ejected < tonumber(ARGV[9]) then
      if circuit.back > 0 and circuit.ejected_until == 0 then
        local forgotten = math.floor((now - circuit.back) / tonumber(ARGV[8]))
        circuit.ejections = math.max(0, circuit.ejections - forgotten)
      end
      circuit.ejections = circuit.ejections + 1
      circuit.ejected_until = now + math.min(tonumber(ARGV[6]) * circuit.ejections, tonumber(ARGV[7]))
      circuit.failures, circuit.probe, circuit.why = 0, '', ARGV[4]
      happened = 'ejected'
    else
      circuit.ejected_until = 0
      happened = 'spared'
    end
  end
end

if outcome ~= 'none' or happened ~= '' or redis.call('EXISTS', KEYS[2]) == 1 then
  write_circuit(KEYS[2], circuit, now)
end
local in_use = redis.call('ZCOUNT', KEYS[1], '(' .. int(now), '+inf')
return { happened, row(circuit, state_of(circuit, KEYS[1], now), in_use, now) }
