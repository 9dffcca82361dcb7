-- Where tasks stand. KEYS: due, heads, bodies, ended (sorted set: name by the time of its end), names, leases.
-- ARGV begins with keep_ms, ended_max, trim_step.
-- A standing is 'd' and a time (due then), 'i' (idle), 'k' (ended, body kept), 'e' (ended, body gone) or 'g' (all of it gone).
local due, heads, bodies, ended, names = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Leaves nothing of these.
local function drop(list)
  redis.call('ZREM', names, unpack(list))
  if redis.call('HLEN', heads) > 0 then redis.call('HDEL', heads, unpack(list)) end
  redis.call('HDEL', bodies, unpack(list))
end

-- Removes the oldest of what ended, if it is too much or too old.
local function trim()
  local surplus = math.min(redis.call('ZCARD', ended) - tonumber(ARGV[2]), 2000)
  if surplus > 0 then
    drop(redis.call('ZRANGE', ended, 0, surplus - 1))
    redis.call('ZREMRANGEBYRANK', ended, 0, surplus - 1)
  end
  local old = redis.call('ZRANGEBYSCORE', ended, '-inf', now - tonumber(ARGV[1]), 'LIMIT', 0, ARGV[3])
  if #old > 0 then
    drop(old)
    redis.call('ZREM', ended, unpack(old))
  end
end
