-- Claims due tasks of one shard: their score becomes the end of the lease, and a half.
-- KEYS: due, heads, bodies, leases (string: the latest lease given, and to how many tasks). ARGV: max, lease_ms, doubt_ms, bytes_max,
-- lease_ms_max. The lease that `leases` names was given by one claim alone.
-- Answers {now_ms, lease_ms, next_ms or -1, name, head or nil, first head and body or nil, ...}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local max, lease_ms, doubt, bytes_max = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local latest = tonumber((redis.call('GET', KEYS[4]) or '0'):match('^%d+'))
if latest > now + doubt then
  -- The clock was set back: nobody waits for leases that were given before. They are the scores with a fraction.
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
local lease, own = now + lease_ms, true
if lease <= latest then
  -- As long as the latest, if that is allowed: after a small step of the clock it may not be.
  own = latest < now + tonumber(ARGV[5])
  if own then lease = latest + 1 end
end
local none = redis.call('HLEN', KEYS[2]) == 0
local score = string.format('%.1f', lease + 0.5)
local out, told, scores, scored, gone, bytes, at = { now, lease, -1 }, 3, {}, 0, {}, 0, 1
while at <= #due and bytes < bytes_max do
  -- A few at a time: what is read is bounded.
  local last = math.min(at + 63, #due)
  local heads = none and {} or redis.call('HMGET', KEYS[2], unpack(due, at, last))
  local bodies = redis.call('HMGET', KEYS[3], unpack(due, at, last))
  for n = 1, last - at + 1 do
    local name, head, body = due[at + n - 1], heads[n] or false, bodies[n]
    if head or body then
      if body then bytes = bytes + #body end
      scores[scored + 1], scores[scored + 2], scored = score, name, scored + 2
      out[told + 1], out[told + 2], out[told + 3], told = name, head, body, told + 3
    else
      gone[#gone + 1] = name
    end
  end
  at = last + 1
end
if #gone > 0 then redis.call('ZREM', KEYS[1], unpack(gone)) end
if scored > 0 then
  redis.call('ZADD', KEYS[1], unpack(scores))
  redis.call('SET', KEYS[4], string.format('%.0f %d', math.max(lease, latest), own and scored / 2 or 0))
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if first[2] then out[3] = math.floor(tonumber(first[2])) end
return out
