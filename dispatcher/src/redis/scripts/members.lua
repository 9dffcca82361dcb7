-- The member list of gateways: expires, changes and tells it in one step, so that nobody ever reads half of a change.
-- KEYS[1]: sorted set, node -> end of its lease, Unix ms of this server; KEYS[2]: hash, node -> record;
-- KEYS[3]: hash, node -> who put it there; KEYS[4]: hash: number of the epoch, began, seen (Unix ms);
-- KEYS[5]: stream, an entry for each epoch, whose id is its number.
-- ARGV: `renew`, `leave` or `read`; lease in ms; members at most; then node, who, record, and 1 if the name is to be taken.
-- Answers number, 1 if the list is younger than a lease, then all records; or one word: `displaced`, `full`.
local leases, records, holders, epoch, changes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local action, lease, max = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local node, who, record, takes = ARGV[4], ARGV[5], ARGV[6], ARGV[7] == '1'
local time = redis.call('TIME')
local us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(us / 1000)
local at = redis.call('HMGET', epoch, 'number', 'began', 'seen')
local number, began, seen = tonumber(at[1] or '0'), tonumber(at[2] or now), tonumber(at[3] or now)
local changed = false

-- Nobody could renew while nobody reached this server: what the members had left then, they have now.
local away = now - seen
if away > lease / 2 then
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', leases, seen, '+inf')) do
        redis.call('ZINCRBY', leases, away, name)
    end
end
-- A clock that was set back does not hold the dead.
for _, name in ipairs(redis.call('ZRANGEBYSCORE', leases, '(' .. string.format('%.0f', now + 2 * lease), '+inf')) do
    redis.call('ZADD', leases, now + lease, name)
end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do
    redis.call('ZREM', leases, name)
    redis.call('HDEL', records, name)
    redis.call('HDEL', holders, name)
    changed = true
end

local word
local holder = redis.call('HGET', holders, node)
if action == 'renew' then
    if holder and holder ~= who and not takes then
        word = 'displaced'
    elseif not holder and redis.call('HLEN', records) >= max then
        word = 'full'
    else
        redis.call('ZADD', leases, now + lease, node)
        redis.call('HSET', holders, node, who)
        if redis.call('HGET', records, node) ~= record then
            redis.call('HSET', records, node, record)
            changed = true
        end
    end
elseif action == 'leave' and holder == who then
    redis.call('ZREM', leases, node)
    redis.call('HDEL', records, node)
    redis.call('HDEL', holders, node)
    changed = true
end

if changed then
    number = math.max(number + 1, us)
    local id = string.format('%.0f', number)
    redis.call('HSET', epoch, 'number', id)
    -- An id that is not above the last one is refused: then readers find the change by asking.
    redis.pcall('XADD', changes, 'MAXLEN', 16, id .. '-0', 'epoch', id)
end
redis.call('HSET', epoch, 'seen', string.format('%.0f', now), 'began', string.format('%.0f', began))
if word then
    return { word }
end
local answer = redis.call('HVALS', records)
table.insert(answer, 1, now - began < lease and '1' or '0')
table.insert(answer, 1, string.format('%.0f', number))
return answer
