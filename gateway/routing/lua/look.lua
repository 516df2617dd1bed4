#!lua flags=no-writes
-- look: how deployments stand now; changes nothing.
-- KEYS  for each deployment: its leases, its circuit
-- Returns {{state, leases in use, failures, ejections, ejected for ms, paused for ms, why}...}

local now = now_ms()
local rows = {}
for i = 1, #KEYS / 2 do
  local leases = KEYS[2 * i - 1]
  local circuit = read_circuit(KEYS[2 * i])
  local in_use = redis.call('ZCOUNT', leases, '(' .. int(now), '+inf')
  rows[i] = row(circuit, state_of(circuit, leases, now), in_use, now)
end
return rows
