-- Adds tasks of one shard. A task is named `app 0 id`.
-- KEYS: due (sorted set: name by time; a lease ends in .5, or in .75 once somebody changed the task beside it), heads (hash: what a head has
-- become since the task was added), bodies (hash: the head as it was added and the body), names (sorted set, for their order).
-- ARGV per task: name, due_ms, head and body. A head holds its hash at 12..27 (schedule/head.rs).
-- Answers for each: 1 new, 2 known, 3 another message's.
local asked, out, hashes = {}, {}, {}
for at = 1, #ARGV, 3 do asked[#asked + 1] = ARGV[at] end
local heads = redis.call('HMGET', KEYS[2], unpack(asked))
local bodies = redis.call('HMGET', KEYS[3], unpack(asked))
local times, contents, names = {}, {}, {}
for n, name in ipairs(asked) do
  local content = ARGV[n * 3]
  local hash, known = content:sub(12, 27), hashes[name]
  if not known and (heads[n] or bodies[n]) then known = (heads[n] or bodies[n]):sub(12, 27) end
  if not known then
    hashes[name] = hash
    local at = #times
    times[at + 1], times[at + 2] = ARGV[n * 3 - 1], name
    contents[at + 1], contents[at + 2] = name, content
    names[at + 1], names[at + 2] = '0', name
    out[n] = 1
  else
    out[n] = known == hash and 2 or 3
  end
end
if #times > 0 then
  redis.call('ZADD', KEYS[1], unpack(times))
  redis.call('HSET', KEYS[3], unpack(contents))
  redis.call('ZADD', KEYS[4], unpack(names))
end
return out
