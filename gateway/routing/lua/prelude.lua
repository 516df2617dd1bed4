-- prelude: time, leases and circuits, placed in front of every verb; it touches no key on its own.
-- The leases of a deployment are a sorted set: lease id -> its end (ms). Its circuit is a hash: `failures` in a
-- row, `ejections` so far, `until` (ms) it is ejected, kept until a probe succeeds, `back` (ms) when it last came
-- back, `probe` the lease of the request that tries it, `paused` (ms) until when the service asked for peace,
-- `why` a word for people. All times are the store's.

local KEPT_MS = 3600000 -- a circuit that nobody touched for so long is forgotten

local function int(number)
  return string.format('%.0f', number) -- tostring() would say 1.7e+12
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function read_circuit(key)
  local values = redis.call('HMGET', key, 'failures', 'ejections', 'until', 'back', 'probe', 'paused', 'why')
  return {
    failures = tonumber(values[1] or '0'),
    ejections = tonumber(values[2] or '0'),
    ejected_until = tonumber(values[3] or '0'),
    back = tonumber(values[4] or '0'),
    probe = values[5] or '',
    paused = tonumber(values[6] or '0'),
    why = values[7] or '',
  }
end

local function write_circuit(key, circuit, now)
  redis.call('HSET', key, 'failures', int(circuit.failures), 'ejections', int(circuit.ejections),
    'until', int(circuit.ejected_until), 'back', int(circuit.back), 'probe', circuit.probe,
    'paused', int(circuit.paused), 'why', circuit.why)
  redis.call('PEXPIRE', key, int(math.max(circuit.ejected_until, circuit.paused, now) - now + KEPT_MS))
end

-- A probe lives as long as its lease, so that one whose gateway died is tried again.
local function probing(circuit, leases, now)
  local lease = circuit.probe ~= '' and redis.call('ZSCORE', leases, circuit.probe)
  return lease and tonumber(lease) > now
end

-- In the order of what matters: paused, ejected, probing, half_open, closed.
local function state_of(circuit, leases, now)
  if circuit.paused > now then
    return 'paused'
  elseif circuit.ejected_until > now then
    return 'ejected'
  elseif circuit.ejected_until > 0 then
    return probing(circuit, leases, now) and 'probing' or 'half_open'
  end
  return 'closed'
end

-- What a gateway is told of a deployment; "ejected for" is -1 for one that is not, 0 when its time is over.
local function row(circuit, state, in_use, now)
  local ejected_for = circuit.ejected_until > 0 and math.max(0, circuit.ejected_until - now) or -1
  return { state, in_use, circuit.failures, circuit.ejections, ejected_for,
    math.max(0, circuit.paused - now), circuit.why }
end
