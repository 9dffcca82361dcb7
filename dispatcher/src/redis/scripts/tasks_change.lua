-- Changes one task.
-- ARGV: keep_ms, ended_max, trim_step, name, revision looked at, standing, head, first head and body or ''.
-- Answers 1 done, 2 it is another by now, 0 unknown.
local name, standing, head = ARGV[4], ARGV[6], ARGV[7]
local known = redis.call('HGET', heads, name)
if not known then
  known = redis.call('HGET', bodies, name)
  if not known then return 0 end
end
if known == head then return 1 end
if known:sub(2, 9) ~= ARGV[5] then return 2 end
redis.call('HSET', heads, name, head)
if ARGV[8] ~= '' then redis.call('HSET', bodies, name, ARGV[8]) end
local score = tonumber(redis.call('ZSCORE', due, name) or 0)
if score % 1 ~= 0 then
  -- Whoever holds it settles it, and has to look again.
  redis.call('ZADD', due, string.format('%.2f', math.floor(score) + 0.75), name)
  return 1
end
local kind = standing:sub(1, 1)
if kind == 'd' then
  redis.call('ZADD', due, standing:sub(2), name)
elseif score ~= 0 then
  redis.call('ZREM', due, name)
end
if kind == 'g' then
  drop({ name })
elseif kind == 'e' then
  redis.call('HDEL', bodies, name)
end
if kind == 'k' or kind == 'e' then
  redis.call('ZADD', ended, now, name)
  trim()
else
  redis.call('ZREM', ended, name)
end
return 1
