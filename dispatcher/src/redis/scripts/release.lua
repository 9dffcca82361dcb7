-- Takes reasons from an address of an app; keys as in suppress.lua.
-- ARGV: its name; the reasons.
-- Answers 1 if it had one of them.
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not known then
    return 0
end
local had = string.byte(known)
local left = bit.band(had, bit.bnot(string.byte(ARGV[2])))
if left == had then
    return 0
end
if left == 0 then
    redis.call('HDEL', KEYS[1], ARGV[1])
    redis.call('ZREM', KEYS[2], ARGV[1])
else
    redis.call('HSET', KEYS[1], ARGV[1], string.char(left) .. string.sub(known, 2))
end
return 1
