-- Claims due tasks of one shard: their score becomes the end of the lease, and a half.
-- KEYS: due, heads, bodies, leases (string: the latest lease given). ARGV: max, lease_ms, doubt_ms, bytes_max.
-- Answers {now_ms, lease_ms, next_ms or -1, name, head, body, ...}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local max, lease_ms, doubt, bytes_max = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local latest = tonumber(redis.call('GET', KEYS[4]) or 0)
if latest > now + doubt then
  -- The clock was set back: nobody waits for leases that were given before. They are the scores with a half.
  local from = '(' .. (now + doubt)
  repeat
    local far = redis.call('ZRANGEBYSCORE', KEYS[1], from, latest + 1, 'WITHSCORES', 'LIMIT', 0, 1000)
    for at = 1, #far, 2 do
      if tonumber(far[at + 1]) % 1 ~= 0 then redis.call('ZADD', KEYS[1], now, far[at]) end
    end
    from = '(' .. (far[#far] or '')
  until #far < 2000
  redis.call('SET', KEYS[4], now)
  latest = now
end

local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, max)
local lease = now + lease_ms
local out = { now, lease, -1 }
local scores, bytes, at = {}, 0, 1
while at <= #due and bytes < bytes_max do
  local names = {}
  for n = at, math.min(at + 24, #due) do names[#names + 1] = due[n] end
  local heads = redis.call('HMGET', KEYS[2], unpack(names))
  local bodies = redis.call('HMGET', KEYS[3], unpack(names))
  for n, name in ipairs(names) do
    if heads[n] then
      local body = bodies[n] or ''
      bytes = bytes + #body
      scores[#scores + 1] = string.format('%.1f', lease + 0.5)
      scores[#scores + 1] = name
      out[#out + 1] = name
      out[#out + 1] = heads[n]
      out[#out + 1] = body
    else
      redis.call('ZREM', KEYS[1], name)
    end
  end
  at = at + #names
end
if #scores > 0 then
  redis.call('ZADD', KEYS[1], unpack(scores))
  if lease > latest then redis.call('SET', KEYS[4], lease) end
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if first[2] then out[3] = math.floor(tonumber(first[2])) end
return out
