-- Settles claimed tasks of one shard that have one lease.
-- ARGV: keep_ms, ended_max, trim_step, lease_ms, fired_ms, count, so many names of tasks whose one time was sent at fired_ms and that nobody
-- had changed, then per other task: name, standing, head. What was sent once is known from its first head and the time of its end.
-- A head holds its revision at 2..9 (schedule/head.rs). Answers 1 if all is done, else for each: 1 done, 0 lost, or
-- {head or nil, first head and body or nil} as somebody changed it.
local held, once = ARGV[4] .. '.5', tonumber(ARGV[6])
local total = once + (#ARGV - 6 - once) / 3
local lease, given = (redis.call('GET', KEYS[6]) or ''):match('^(%d+) (%d+)$')
local count = redis.call('ZCOUNT', due, held, held)
-- All that the claim gave is here, and all of it has the lease still.
local whole = lease == ARGV[4] and tonumber(given) == total and count == total

local states = {}
if not whole then
  local touched = ARGV[4] .. '.75'
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', due, held, held)) do states[name] = 1 end
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', due, touched, touched)) do states[name] = 2 end
end

local out, over, ends, ended_at = {}, {}, 0, {}
local news, times, gone, stripped = {}, {}, {}, {}
local now_text = string.format('%.0f', now)

for n = 1, once do
  local name = ARGV[6 + n]
  local state = whole and 1 or states[name]
  if state == 1 then
    ended_at[2 * ends + 1], ended_at[2 * ends + 2], ends = ARGV[5], name, ends + 1
    over[ends] = name
  end
  out[n] = state == 2 and { redis.call('HGET', heads, name), redis.call('HGET', bodies, name) } or state or 0
end
local plain = ends

for n = once + 1, total do
  local at = 4 + once + (n - once) * 3
  local name, standing, head = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local state, known = whole and 1 or states[name], nil
  if state == 2 then known = redis.call('HGET', heads, name) end
  if not state then
    out[n] = 0
  elseif known and known:sub(2, 9) ~= head:sub(2, 9) then
    out[n] = { known, redis.call('HGET', bodies, name) }
  else
    out[n] = 1
    local kind = standing:sub(1, 1)
    if kind == 'd' then
      times[#times + 1], times[#times + 2] = standing:sub(2), name
    else
      over[#over + 1] = name
    end
    if kind == 'g' then
      gone[#gone + 1] = name
    else
      news[#news + 1], news[#news + 2] = name, head
      if kind == 'k' or kind == 'e' then
        ended_at[2 * ends + 1], ended_at[2 * ends + 2], ends = now_text, name, ends + 1
      end
      if kind == 'e' then stripped[#stripped + 1] = name end
    end
  end
end

if whole and #over == total then
  -- All that has this lease leaves, which is one command.
  redis.call('ZREMRANGEBYSCORE', due, held, held)
elseif #over > 0 then
  redis.call('ZREM', due, unpack(over))
end
if #times > 0 then redis.call('ZADD', due, unpack(times)) end
if plain > 0 and redis.call('HLEN', heads) > 0 then redis.call('HDEL', heads, unpack(over, 1, plain)) end
if #news > 0 then redis.call('HSET', heads, unpack(news)) end
if #stripped > 0 then redis.call('HDEL', bodies, unpack(stripped)) end
if #gone > 0 then
  drop(gone)
  redis.call('ZREM', ended, unpack(gone))
end
if ends > 0 then
  redis.call('ZADD', ended, unpack(ended_at))
  trim()
end
return whole and 1 or out
