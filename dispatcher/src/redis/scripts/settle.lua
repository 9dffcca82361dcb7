-- ARGV: delivery key, mark, mark_keep_ms. Answers {mark before or 0, push that left or ''}.
local key, mark = ARGV[1], ARGV[2]
local was = mark_of(key)
local push = redis.call('HGET', pushes, key)
if push then remove(key, push) end
if was == '2' then mark = '2' end
set_mark(key, mark, tonumber(ARGV[3]))
return {tonumber(was or 0), push or ''}
