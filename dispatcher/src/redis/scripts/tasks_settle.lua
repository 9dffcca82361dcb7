-- Settles claimed tasks of one shard.
-- ARGV: keep_ms, ended_max, trim_step, then per task: name, lease_ms, revision, standing, at, head.
-- A head holds its revision at 2..9 (schedule/head.rs). Answers for each: 1 done, 0 lost, or {head, body} as somebody changed them.
local asked = {}
for at = 4, #ARGV, 6 do asked[#asked + 1] = ARGV[at] end
local scores = redis.call('ZMSCORE', due, unpack(asked))
local known = redis.call('HMGET', heads, unpack(asked))
local out, ends = {}, false
for n, name in ipairs(asked) do
  local at = 4 + (n - 1) * 6
  local standing = ARGV[at + 3]
  if not scores[n] or not known[n] or tonumber(scores[n]) ~= tonumber(ARGV[at + 1]) + 0.5 then
    out[n] = 0
  elseif known[n]:sub(2, 9) ~= ARGV[at + 2] then
    out[n] = { known[n], redis.call('HGET', bodies, name) or '' }
  else
    redis.call('HSET', heads, name, ARGV[at + 5])
    place(name, standing, ARGV[at + 4], false)
    ends = ends or standing == 'k' or standing == 'e'
    out[n] = 1
  end
end
if ends then trim(tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])) end
return out
