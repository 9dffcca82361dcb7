-- ARGV: delivery key, mark, mark_keep_ms. KEYS[7], if there: of one to everyone, the sorted set of delivery keys by expiry.
-- Answers {mark before or 0, push that left or ''}.
local key, mark = ARGV[1], ARGV[2]
local was = mark_of(key)
local push = redis.call('HGET', pushes, key)
if push then remove(key, push) end
if KEYS[7] then redis.call('ZREM', KEYS[7], key) end
if was == '2' then mark = '2' end
set_mark(key, mark, tonumber(ARGV[3]))
return {tonumber(was or 0), push or ''}
