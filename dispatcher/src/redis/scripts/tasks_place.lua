-- Where tasks stand. KEYS: due, heads, bodies, ended (sorted set: name by the time of its end), names.
-- A standing is 'd' (due at a time), 'i' (idle), 'k' (ended, body kept), 'e' (ended, body gone) or 'g' (all of it gone).
local due, heads, bodies, ended, names = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function place(name, standing, at, was_ended)
  if standing == 'd' then
    redis.call('ZADD', due, at, name)
  else
    redis.call('ZREM', due, name)
  end
  if standing == 'g' then
    redis.call('ZREM', ended, name)
    redis.call('ZREM', names, name)
    redis.call('HDEL', heads, name)
    redis.call('HDEL', bodies, name)
  elseif standing == 'k' or standing == 'e' then
    redis.call('ZADD', ended, now, name)
    if standing == 'e' then redis.call('HDEL', bodies, name) end
  elseif was_ended then
    redis.call('ZREM', ended, name)
  end
end

-- Removes the oldest of what ended, if it is too much or too old.
local function trim(keep_ms, max, step)
  local surplus = redis.call('ZCARD', ended) - max
  local oldest = redis.call('ZRANGE', ended, 0, math.max(surplus, step) - 1, 'WITHSCORES')
  for at = 1, #oldest, 2 do
    if surplus <= 0 and tonumber(oldest[at + 1]) + keep_ms > now then break end
    surplus = surplus - 1
    local name = oldest[at]
    redis.call('ZREM', ended, name)
    redis.call('ZREM', names, name)
    redis.call('HDEL', heads, name)
    redis.call('HDEL', bodies, name)
  end
end
