-- Shared head of the stream scripts. All keys carry the hash tag {app:user}.
--   entries  sorted set: delivery key by position      pushes   hash: delivery key to encoded push
--   collapse hash: collapse key to delivery key        info     hash: p = last position, b = bytes of all pushes
--   current, previous  hashes: delivery key to mark, of this window and the one before
-- The encoding of a push is described in stored.rs: expires_ms at byte 2, returned at 10..34, flags at 55, texts from 68.
local entries, pushes, collapse, info = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local current, previous = KEYS[5], KEYS[6]

local function mark_of(key)
  return redis.call('HGET', current, key) or redis.call('HGET', previous, key)
end

local function set_mark(key, mark, keep_ms)
  redis.call('HSET', current, key, mark)
  if redis.call('PTTL', current) < 0 then redis.call('PEXPIRE', current, keep_ms) end
end

local function expires_ms(push)
  return (struct.unpack('<I8', push, 2))
end

local function collapse_of(push)
  local flags = push:byte(55)
  if flags % 4 < 2 then return nil end
  local at = 72 + struct.unpack('<I4', push, 68)
  if flags % 2 == 1 then at = at + 4 + struct.unpack('<I4', push, at) end
  local length = struct.unpack('<I4', push, at)
  return push:sub(at + 4, at + 3 + length)
end

local function remove(key, push)
  redis.call('ZREM', entries, key)
  redis.call('HDEL', pushes, key)
  redis.call('HINCRBY', info, 'b', -#push)
  local name = collapse_of(push)
  if name and redis.call('HGET', collapse, name) == key then redis.call('HDEL', collapse, name) end
end

local function replace_returned(key, push, returned)
  redis.call('HSET', pushes, key, push:sub(1, 9) .. returned .. push:sub(35))
end
