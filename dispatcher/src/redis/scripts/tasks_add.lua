-- Adds tasks of one shard. A task is named `app 0 id`.
-- KEYS: due (sorted set: name by time; a lease ends in .5), heads (hash), bodies (hash), names (sorted set, for their order).
-- ARGV per task: name, due_ms, hash, head, body. A head holds its hash at 12..27 (schedule/head.rs).
-- Answers for each: 1 new, 2 known, 3 another message's.
local out = {}
for at = 1, #ARGV, 5 do
  local name, hash = ARGV[at], ARGV[at + 2]
  local known = redis.call('HGET', KEYS[2], name)
  if not known then
    redis.call('ZADD', KEYS[1], ARGV[at + 1], name)
    redis.call('HSET', KEYS[2], name, ARGV[at + 3])
    redis.call('HSET', KEYS[3], name, ARGV[at + 4])
    redis.call('ZADD', KEYS[4], 0, name)
    out[#out + 1] = 1
  elseif known:sub(12, 27) == hash then
    out[#out + 1] = 2
  else
    out[#out + 1] = 3
  end
end
return out
