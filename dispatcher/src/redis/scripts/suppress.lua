-- Adds reasons to addresses of an app.
-- KEYS[1]: hash, address -> a byte of reasons and eight of the time; KEYS[2]: the addresses in order.
-- ARGV: how many there may be; then of each its name, reasons, time.
-- Answers of each 1 if there was room.
local max = tonumber(ARGV[1])
local answers = {}
for at = 2, #ARGV, 3 do
    local name, reasons, time = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local known = redis.call('HGET', KEYS[1], name)
    if known then
        local all = bit.bor(string.byte(known), string.byte(reasons))
        redis.call('HSET', KEYS[1], name, string.char(all) .. string.sub(known, 2))
        answers[#answers + 1] = 1
    elseif redis.call('HLEN', KEYS[1]) < max then
        redis.call('HSET', KEYS[1], name, reasons .. time)
        redis.call('ZADD', KEYS[2], 0, name)
        answers[#answers + 1] = 1
    else
        answers[#answers + 1] = 0
    end
end
return answers
