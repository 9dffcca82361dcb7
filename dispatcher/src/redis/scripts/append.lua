-- ARGV: delivery key, push, returned or '', keep_ms, mark_keep_ms, entries_max, bytes_max, now_ms, episode_keep_ms, k,
-- '1' if it is to everyone and its place is asked, how many expired entries leave with such a one.
-- KEYS[7], if there: of one to everyone, the sorted set of delivery keys by expiry; else the set of deferred numbers of the episode. Answers {mark that ended it or 0, {pushes that left},
-- {position, the one before}}.
local key, push, returned, keep_ms, mark_keep_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local entries_max, bytes_max, now_ms = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local expiries = ARGV[11] == '1' and KEYS[7]
if KEYS[7] and not expiries then
  redis.call('SADD', KEYS[7], ARGV[10])
  redis.call('PEXPIRE', KEYS[7], ARGV[9])
end
local mark = mark_of(key)
if mark and mark ~= '1' then return {tonumber(mark), {}, {}} end
local function place()
  if ARGV[11] ~= '1' then return {} end
  local position = string.format('%.0f', redis.call('ZSCORE', entries, key))
  local before = redis.call('ZREVRANGEBYSCORE', entries, '(' .. position, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  return {position, string.format('%.0f', before or 0)}
end
set_mark(key, '1', mark_keep_ms)
local there = redis.call('HGET', pushes, key)
if there then
  if returned ~= '' then replace_returned(key, there, returned) end
  return {0, {}, place()}
end
local left = {}
local function leave(other, its_push)
  remove(other, its_push)
  if expiries then redis.call('ZREM', expiries, other) end
  set_mark(other, '3', mark_keep_ms)
  left[#left + 1] = its_push
end
if expiries then
  -- Behind an entry that lasts longer nothing else would let them leave.
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', expiries, '-inf', now_ms, 'LIMIT', 0, ARGV[12])) do
    redis.call('ZREM', expiries, other)
    local its_push = redis.call('HGET', pushes, other)
    if its_push and expires_ms(its_push) <= now_ms then leave(other, its_push) end
  end
  redis.call('ZADD', expiries, expires_ms(push), key)
end
local name = collapse_of(push)
if name then
  local older = redis.call('HGET', collapse, name)
  local its_push = older and redis.call('HGET', pushes, older)
  if its_push then leave(older, its_push) end
  redis.call('HSET', collapse, name, key)
end
local last = tonumber(redis.call('HGET', info, 'p') or 0)
local position = string.format('%.0f', math.max(last + 1, now_ms * 1024))
redis.call('HSET', info, 'p', position)
redis.call('ZADD', entries, position, key)
redis.call('HSET', pushes, key, push)
local bytes = redis.call('HINCRBY', info, 'b', #push)
local count = redis.call('ZCARD', entries)
while true do
  local oldest = redis.call('ZRANGE', entries, 0, 0)[1]
  if oldest == key then break end
  local its_push = redis.call('HGET', pushes, oldest)
  if its_push then
    if count <= entries_max and bytes <= bytes_max and expires_ms(its_push) > now_ms then break end
    bytes = bytes - #its_push
    leave(oldest, its_push)
  else
    redis.call('ZREM', entries, oldest)
  end
  count = count - 1
end
local keys = {KEYS[1], KEYS[2], KEYS[3], KEYS[4]}
if expiries then keys[5] = expiries end
for at = 1, #keys do
  local ttl = redis.call('PTTL', keys[at])
  if ttl ~= -2 and ttl < keep_ms then redis.call('PEXPIRE', keys[at], keep_ms) end
end
return {0, left, place()}
