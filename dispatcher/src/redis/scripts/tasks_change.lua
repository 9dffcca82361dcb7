-- Changes one task.
-- ARGV: keep_ms, ended_max, trim_step, name, revision looked at, head, standing, at, '1' and the body or ''.
-- Answers 1 done, 2 it is another by now, 0 unknown.
local name, head, standing = ARGV[4], ARGV[6], ARGV[7]
local known = redis.call('HGET', heads, name)
if not known then return 0 end
if known == head then return 1 end
if known:sub(2, 9) ~= ARGV[5] then return 2 end
redis.call('HSET', heads, name, head)
if ARGV[9] ~= '' then redis.call('HSET', bodies, name, ARGV[9]:sub(2)) end
local score = redis.call('ZSCORE', due, name)
-- Whoever holds it settles it.
if score and tonumber(score) % 1 ~= 0 then return 1 end
place(name, standing, ARGV[8], true)
if standing == 'k' or standing == 'e' then trim(tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])) end
return 1
