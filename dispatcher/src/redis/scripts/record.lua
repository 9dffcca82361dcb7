-- States of one message.
-- KEYS[1]: hash: n = rows, a state's number = its count, i<recipient> = its row, <row>k = recipient, <row>s = history in steps of 9
-- bytes, state first, <row>y = reason, r = when the message was taken back.
-- Above it stand ends (a digit per state), follows (state by state), starts (a digit per state).
-- ARGV: keep_ms, rows_max, then per change: recipient, state, step,
-- reason ('1' and the text, or ''). Answers whether the message was taken back.
local message = KEYS[1]
local rows_max = tonumber(ARGV[2])

local function enters(history, to)
  for at = 1, #history, 9 do
    if history:byte(at) == to then return false end
  end
  local from = history:byte(#history - 8)
  local at = (from - 1) * #ends + to
  return follows:sub(at, at) == '1'
end

local taken_back
for at = 3, #ARGV, 4 do
  local recipient, to, step, reason = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
  local known = redis.call('HMGET', message, 'n', 'i' .. recipient, 'r')
  taken_back = known[3]
  local row = known[2]
  if row then
    local history = redis.call('HGET', message, row .. 's')
    if enters(history, to) then
      redis.call('HINCRBY', message, history:byte(#history - 8), -1)
      redis.call('HINCRBY', message, to, 1)
      redis.call('HSET', message, row .. 's', history .. step)
      redis.call('HDEL', message, row .. 'y')
      if reason ~= '' then redis.call('HSET', message, row .. 'y', reason:sub(2)) end
    end
  elseif starts:sub(to, to) ~= '1' then
    -- Of a message that never came here nothing is kept.
  elseif not known[1] and rows_max > 0 then
    redis.call('HSET', message, 'n', 1, to, 1, 'i' .. recipient, 0, '0k', recipient, '0s', step)
    if reason ~= '' then redis.call('HSET', message, '0y', reason:sub(2)) end
  else
    row = tonumber(known[1] or 0)
    if row < rows_max then
      redis.call('HSET', message, 'n', row + 1, 'i' .. recipient, row, row .. 'k', recipient, row .. 's', step)
      if reason ~= '' then redis.call('HSET', message, row .. 'y', reason:sub(2)) end
      redis.call('HINCRBY', message, to, 1)
    elseif ends:sub(to, to) == '1' then
      redis.call('HINCRBY', message, to, 1)
    end
  end
end
redis.call('PEXPIRE', message, ARGV[1])
return taken_back and 1 or 0
