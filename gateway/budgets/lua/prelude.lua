-- prelude: integers, amounts and counters, placed in front of every verb; it touches no key on its own.
-- Amounts are vectors of six integers in the order energy (uWh), water (uL), carbon (ug CO2e), images, cost
-- (micro-USD), and 1 instead of 0 where the cost is not known: sums tell in how many charges it is missing.
-- A counter is a hash: s1..s6 spent, h1..h6 held by open holds, o1..o6 settled beyond what was held. Where its
-- budget alerts: `marks`, <dimension>:<name>:<limit>:<amount>:<spent before this bucket>:<length of a rolling window,
-- else 0> of the last reserve, and what was alerted of them. Of rolling windows, `alerted` says until when it is not again.
-- A rolling window is a trail of earlier buckets that count in full, and the one in force, which takes the charge.
-- A hold's `counters` are JSON: one {key, counter id, bucket start, until when it counts, bound} of strings for each.

local DIMENSIONS = 6
local COST, UNPRICED = 5, 6
local MAX_STORED = 9007199254740991 -- 2^53 - 1: Lua's numbers are doubles
local CLOCK_SLACK_MS = 2000
local ALERTS_KEPT_MS = 86400000 -- longer than anybody tries to deliver one

local function int(number)
  return string.format('%.0f', number) -- tostring() would say 9.007199254741e+15
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function vector(text)
  local amounts = {}
  for word in string.gmatch(text, '%S+') do
    amounts[#amounts + 1] = tonumber(word)
  end
  return amounts
end

local function words(amounts)
  local texts = {}
  for d = 1, DIMENSIONS do
    texts[d] = int(amounts[d])
  end
  return table.concat(texts, ' ')
end

local function less(amounts, others)
  local rest = {}
  for d = 1, DIMENSIONS do
    rest[d] = amounts[d] - others[d]
  end
  return rest
end

local FIELDS = {} -- s1..s6, then h1..h6
for d = 1, DIMENSIONS do
  FIELDS[d], FIELDS[DIMENSIONS + d] = 's' .. d, 'h' .. d
end

local function read_counter(key)
  local values = redis.call('HMGET', key, unpack(FIELDS))
  local counter = { spent = {}, held = {} }
  for d = 1, DIMENSIONS do
    counter.spent[d] = tonumber(values[d] or '0')
    counter.held[d] = tonumber(values[DIMENSIONS + d] or '0')
  end
  return counter
end

-- The bucket in force of a counter, with what its trail adds to it; its keys stand behind `at`: the trail of the
-- current bucket, oldest first, then the current and the next bucket. nil when neither of these is now.
local function in_force(keys, at, trail, buckets, now)
  for b = 1, 2 do
    local starts, ends = tonumber(buckets[b][1]), tonumber(buckets[b][2])
    if starts <= now and now < ends then
      local counter = read_counter(keys[at + trail + b])
      counter.key, counter.bucket, counter.starts, counter.ends = keys[at + trail + b], b, starts, ends
      counter.lasts = ends + trail * (ends - starts)
      counter.trail, counter.before = {}, { spent = {}, held = {} }
      for d = 1, DIMENSIONS do
        counter.before.spent[d], counter.before.held[d] = 0, 0
      end
      for k = 1, trail do
        local earlier = read_counter(keys[at + b - 1 + k])
        counter.trail[k] = earlier
        for d = 1, DIMENSIONS do
          counter.before.spent[d] = counter.before.spent[d] + earlier.spent[d]
          counter.before.held[d] = counter.before.held[d] + earlier.held[d]
        end
      end
      return counter
    end
  end
end

-- Lives at least until `lives_until` (ms): a counter that vanished early would admit its limit twice.
local function write_counter(key, counter, lives_until)
  local row = {}
  for d = 1, DIMENSIONS do
    row[4 * d - 3], row[4 * d - 2] = FIELDS[d], int(counter.spent[d])
    row[4 * d - 1], row[4 * d] = FIELDS[DIMENSIONS + d], int(counter.held[d])
  end
  redis.call('HSET', key, unpack(row))
  if redis.call('PEXPIRETIME', key) < lives_until then
    redis.call('PEXPIREAT', key, int(lives_until))
  end
end

-- Whether a rolling window had this alert within its length, in whichever bucket; else it has it from now on.
local function had_within(alerted, one, length_ms, now)
  if tonumber(redis.call('ZSCORE', alerted, one) or '0') > now then
    return true
  end
  redis.call('ZREMRANGEBYSCORE', alerted, '-inf', int(now))
  redis.call('ZADD', alerted, int(now + length_ms), one)
  if redis.call('PEXPIRETIME', alerted) < now + length_ms then
    redis.call('PEXPIREAT', alerted, int(now + length_ms))
  end
  return false
end

-- Queues an alert unless the counter's bucket has had this one: the same dimension, name and limit. `to` has the keys
-- `queue` and `alerted`; `length_ms` is that of a rolling window, else 0.
local function alert(to, key, mark, length_ms, about)
  local now = now_ms()
  if redis.call('HEXISTS', key, 'alerted:' .. mark) == 1
    or (length_ms > 0 and had_within(to.alerted, about[1] .. mark .. ':' .. int(length_ms), length_ms, now)) then
    return
  end
  redis.call('HSET', key, 'alerted:' .. mark, int(now))
  about[#about + 1] = int(now)
  redis.call('ZADD', to.queue, int(now), cjson.encode(about))
  redis.call('PEXPIRE', to.queue, int(ALERTS_KEPT_MS))
end

local function alert_at_marks(to, key, row, counter)
  local marks = redis.call('HGET', key, 'marks') or ''
  for d, name, limit, amount, before, length in string.gmatch(marks, '(%d+):(%w+):(%d+):(%d+):(%d+):(%d+)') do
    local spent, held = counter.spent[tonumber(d)] + tonumber(before), counter.held[tonumber(d)]
    if spent >= tonumber(amount) then
      alert(to, key, d .. ':' .. name .. ':' .. limit, tonumber(length),
        { row[2], row[3], row[4], d, name, limit, int(spent), int(held) })
    end
  end
end

-- Moves every counter of a hold: `freed` leaves what is held, `spent` (signed) joins what is spent, both by
-- the bound that the counter counts. What goes beyond `foreseen` is noted as overrun; marks that are reached are
-- alerted, where the caller says to which keys.
local function move(counters, keys, freed, spent, foreseen, outlives_ms, to)
  local now = now_ms()
  for i, row in ipairs(counters) do
    local bound = row[5]
    local counter = read_counter(keys[i])
    for d = 1, DIMENSIONS do
      counter.held[d] = math.max(0, counter.held[d] - freed[bound][d])
      counter.spent[d] = math.max(0, counter.spent[d] + spent[bound][d])
      local overrun = spent[bound][d] - foreseen[bound][d]
      if overrun > 0 then
        redis.call('HINCRBY', keys[i], 'o' .. d, int(overrun))
      end
    end
    write_counter(keys[i], counter, math.max(tonumber(row[4]), now) + outlives_ms)
    if to then
      alert_at_marks(to, keys[i], row, counter)
    end
  end
end

-- The counters of a hold are known to it alone, while keys must be named by the caller: nil when they differ.
local function named(counters, keys)
  if #counters ~= #keys then
    return nil
  end
  for i, row in ipairs(counters) do
    if row[1] ~= keys[i] then
      return nil
    end
  end
  return keys
end

local function tail(list, first)
  local rest = {}
  for i = first, #list do
    rest[#rest + 1] = list[i]
  end
  return rest
end

-- One entry: `counters` as a JSON list of [counter id, bucket start, bound].
local function post(journal, kind, hold, central, high, counters, record)
  local lines = {}
  for i, row in ipairs(counters) do
    lines[i] = '[' .. cjson.encode(row[2]) .. ',' .. row[3] .. ',"' .. row[5] .. '"]'
  end
  redis.call('XADD', journal, '*', 'kind', kind, 'hold', hold, 'at', int(now_ms()),
    'central', words(central), 'high', words(high),
    'counters', '[' .. table.concat(lines, ',') .. ']', 'record', record)
end

local function this_run()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end

-- How long (ms) nothing may be admitted yet, because another server than last time runs this script: a replica
-- that took over may lack holds and charges, which their gateways bring again meanwhile. 0 when all is well.
-- Second, the turn that began when this server took over: a text that sorts behind those of earlier servers.
local function grace_left(meta, grace_ms, now)
  local run = this_run()
  local known = redis.call('HMGET', meta, 'run', 'grace', 'turn', 't')
  if known[1] ~= run or not known[3] then
    local before = tonumber(string.match(known[3] or '', '^%d+') or '0')
    local turn = string.format('%016.0f-%s', math.max(now, tonumber(known[4] or '0'), before + 1), run)
    redis.call('HSET', meta, 'run', run, 'before', known[1] or '', 'grace', int(now + grace_ms), 'turn', turn)
    return grace_ms, turn
  end
  return math.max(0, tonumber(known[2] or '0') - now), known[3]
end

local ZERO = { central = { 0, 0, 0, 0, 0, 0 }, high = { 0, 0, 0, 0, 0, 0 } }
