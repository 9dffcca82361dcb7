-- KEYS[1]: reservation (hash: b = body, l = lane, t = time, c = confirmed). KEYS[2]: hash (as in record.lua): an id that is
-- free again is not taken back. ARGV: body, lane, now_ms, window_ms.
-- Answers {1} new, {2} pending, {3, lane} accepted, {4} another body.
local now_ms, window_ms = tonumber(ARGV[3]), tonumber(ARGV[4])
local known = redis.call('HMGET', KEYS[1], 'b', 'l', 't', 'c')
if known[1] and now_ms < tonumber(known[3]) + window_ms then
  if known[1] ~= ARGV[1] then return {4} end
  if known[4] then return {3, tonumber(known[2])} end
  redis.call('HSET', KEYS[1], 'l', ARGV[2])
  return {2}
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'b', ARGV[1], 'l', ARGV[2], 't', ARGV[3])
redis.call('PEXPIRE', KEYS[1], window_ms)
redis.call('HDEL', KEYS[2], 'r')
return {1}
