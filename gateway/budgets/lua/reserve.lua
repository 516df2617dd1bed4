#!lua
-- reserve: hold an amount against every counter for the first candidate that fits, or against none.
-- KEYS  1 meta   2 hold   3 open holds   4.. counters: per counter the trail of its current bucket, oldest first,
--       its current bucket, and its next; last the claim, if there is one
-- ARGV  1 hold id   2 lease (ms)   3 how long a counter outlives its bucket (ms)   4 fingerprint of the request
-- ARGV  5 record   6 for how long a server that is new to the org admits nothing (ms)
-- ARGV  7 version of the policies, or ""   8 their number: the later written, the higher
-- ARGV  9 JSON {"counters": [{"id", "bound", "enforced", "buckets": [[start, end], [start, end]], "limits": [six],
--       "trail": how many earlier buckets count with it, "marks": [[dimension, name, limit as text, amount]...]}],
--       "candidates": [{"central": [six], "high": [six]}],
--       "claim": {"fingerprint", "binding", "lives_ms", "over": hold whose claim may be taken}}; a limit of -1 is none.
--       Where cost is limited, so is the number of charges of unknown cost, to 0; such a shortfall is one of cost, with
--       -1 as requested
-- Returns {"held" | "replay", candidate, room of each counter and dimension ("-" = no limit), the hold's counters,
--          the candidate's shortfalls in counters that are not enforced (like those of "denied"; none in a replay),
--          the hold that had the claim before, or ""}
--       | {"denied", {holds that are due, {candidate, counter, bucket, dimension, limit, spent, held, requested,
--         when that much will have left the window}...}}
--       | {"window", now} | {"clock", now, highest} | {"gone", state} | {"conflict"} | {"no_ledger"} | {"grace", ms left, turn}
--       | {"stale", newer version} | {"claimed", hold that has the claim, fingerprint of its request}
-- Invariant: spent + held + requested <= limit in every enforced counter and dimension that is asked for; nothing
--       changes unless the verdict is "held", but for the name of a new server. The verdict counts from 1.

local hold = redis.call('HMGET', KEYS[2], 'state', 'fingerprint', 'candidate', 'room', 'counters')
if hold[1] == 'P' then
  if hold[2] ~= ARGV[4] then
    return { 'conflict' }
  end
  return { 'replay', tonumber(hold[3]), hold[4], hold[5], {}, '' }
elseif hold[1] then
  return { 'gone', hold[1] }
end

local meta = redis.call('HMGET', KEYS[1], 'epoch', 't')
if not meta[1] then
  return { 'no_ledger' }
end
local now = now_ms()
local highest = tonumber(meta[2] or '0')
if now < highest - CLOCK_SLACK_MS then
  return { 'clock', now, highest }
end
now = math.max(now, highest) -- buckets never go back
local grace, turn = grace_left(KEYS[1], tonumber(ARGV[6]), now)
if grace > 0 then
  return { 'grace', grace, turn }
end

local policy = redis.call('HMGET', KEYS[1], 'policy', 'policy_number')
if ARGV[7] ~= '' and tonumber(ARGV[8]) < tonumber(policy[2] or '0') then
  return { 'stale', policy[1] }
end

local request = cjson.decode(ARGV[9])
local claim = request.claim
local earlier = claim and redis.call('HMGET', KEYS[#KEYS], 'hold', 'fingerprint') or {}
if claim and claim.binding and earlier[1] and earlier[1] ~= claim.over then
  return { 'claimed', earlier[1], earlier[2] }
end
local counters, at = {}, 3
for i, wanted in ipairs(request.counters) do
  local counter = in_force(KEYS, at, wanted.trail, wanted.buckets, now)
  if not counter then
    return { 'window', now }
  end
  at = at + wanted.trail + 2
  counters[i] = counter
end

-- When what is spent will have left the window as far as it stands in the way, if nothing is added to it.
local function frees_at(counter, d, over)
  for k, earlier in ipairs(counter.trail) do
    over = over - earlier.spent[d]
    if over <= 0 then
      return counter.starts + k * (counter.ends - counter.starts)
    end
  end
  return counter.lasts
end

local shortfalls = {}
local chosen, unenforced
for c, candidate in ipairs(request.candidates) do
  local before = #shortfalls
  unenforced = {}
  for i, wanted in ipairs(request.counters) do
    local counter, amounts = counters[i], candidate[wanted.bound]
    for d = 1, DIMENSIONS do
      local limit = wanted.limits[d] < 0 and MAX_STORED or wanted.limits[d]
      local spent, held = counter.before.spent[d] + counter.spent[d], counter.before.held[d] + counter.held[d]
      if amounts[d] > 0 and spent + held + amounts[d] > limit then
        local rows = wanted.enforced and shortfalls or unenforced
        if d == UNPRICED then
          rows[#rows + 1] = { c, i, counter.bucket, COST, wanted.limits[COST],
            counter.before.spent[COST] + counter.spent[COST], counter.before.held[COST] + counter.held[COST],
            -1, counter.lasts }
        else
          rows[#rows + 1] = { c, i, counter.bucket, d, limit, spent, held, amounts[d],
            frees_at(counter, d, spent + amounts[d] - limit) }
        end
      end
    end
  end
  if #shortfalls == before then
    chosen = c
    break
  end
end
if not chosen then
  table.insert(shortfalls, 1, redis.call('ZCOUNT', KEYS[3], '-inf', int(now)))
  return { 'denied', shortfalls }
end

local taken = request.candidates[chosen]
local room, rows = {}, {}
for i, wanted in ipairs(request.counters) do
  local counter, amounts = counters[i], taken[wanted.bound]
  for d = 1, DIMENSIONS do
    counter.held[d] = counter.held[d] + amounts[d]
    room[#room + 1] = wanted.limits[d] < 0 and '-'
      or int(wanted.limits[d] - counter.before.spent[d] - counter.before.held[d] - counter.spent[d]
        - counter.held[d])
  end
  write_counter(counter.key, counter, counter.lasts + tonumber(ARGV[3]))
  local marks = {}
  for _, mark in ipairs(wanted.marks) do
    marks[#marks + 1] = int(mark[1]) .. ':' .. mark[2] .. ':' .. mark[3] .. ':' .. int(mark[4]) .. ':'
      .. int(counter.before.spent[mark[1]]) .. ':' .. int(counter.lasts - counter.ends)
  end
  if #marks > 0 then
    redis.call('HSET', counter.key, 'marks', table.concat(marks, ' '))
  end
  rows[i] = { counter.key, wanted.id, int(counter.starts), int(counter.lasts), wanted.bound }
end
local room_text = table.concat(room, ' ')
local rows_text = #rows > 0 and cjson.encode(rows) or '[]' -- an empty table would become {}
redis.call('HSET', KEYS[2], 'state', 'P', 'sent', '0', 'fingerprint', ARGV[4], 'candidate', int(chosen),
  'room', room_text, 'counters', rows_text, 'central', words(taken.central), 'high', words(taken.high),
  'record', ARGV[5])
redis.call('ZADD', KEYS[3], int(now + tonumber(ARGV[2])), ARGV[1])
redis.call('HSET', KEYS[1], 't', int(now))
if ARGV[7] ~= '' then
  redis.call('HSET', KEYS[1], 'policy', ARGV[7], 'policy_number', ARGV[8])
end
if claim then
  redis.call('HSET', KEYS[#KEYS], 'hold', ARGV[1], 'fingerprint', claim.fingerprint)
  redis.call('PEXPIRE', KEYS[#KEYS], int(claim.lives_ms))
end
return { 'held', chosen, room_text, rows_text, unenforced, earlier[1] or '' }
