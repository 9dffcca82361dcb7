-- KEYS[7]: the set of deferred numbers of the episode. ARGV: after, limit, now_ms, rows of one step.
-- Answers {deferred, 1 at the end, {position, push, …}, {expired pushes}}.
local from, limit, now_ms, step = '(' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local deferred = redis.call('SCARD', KEYS[7])
local found, expired = {}, {}
while true do
  local rows = redis.call('ZRANGEBYSCORE', entries, from, '+inf', 'WITHSCORES', 'LIMIT', 0, step)
  if #rows == 0 then return {deferred, 1, found, expired} end
  for at = 1, #rows, 2 do
    local push = redis.call('HGET', pushes, rows[at])
    if push then
      if expires_ms(push) <= now_ms then
        expired[#expired + 1] = push
      elseif #found < 2 * limit then
        found[#found + 1] = string.format('%.0f', tonumber(rows[at + 1]))
        found[#found + 1] = push
      else
        return {deferred, 0, found, expired}
      end
    end
  end
  from = '(' .. rows[#rows]
end
