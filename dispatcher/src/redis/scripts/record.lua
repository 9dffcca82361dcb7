-- States of one message. All keys carry the hash tag {app:id}.
-- KEYS: head (hash: n = rows, a state's number = its count), index (hash: recipient to row), rows (hash: <row>k = recipient,
-- <row>s = history in steps of 9 bytes, state first, <row>y = reason).
-- ARGV: keep_ms, rows_max, ends (a character per state), follows (state by state), then per change: recipient, state, step,
-- reason ('1' and the text, or '').
local head, index, rows = KEYS[1], KEYS[2], KEYS[3]
local rows_max, ends, follows = tonumber(ARGV[2]), ARGV[3], ARGV[4]

local function enters(history, to)
  for at = 1, #history, 9 do
    if history:byte(at) == to then return false end
  end
  local from = history:byte(#history - 8)
  local at = (from - 1) * #ends + to
  return follows:sub(at, at) == '1'
end

for at = 5, #ARGV, 4 do
  local recipient, to, step, reason = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
  local row = redis.call('HGET', index, recipient)
  local history = row and redis.call('HGET', rows, row .. 's')
  if history then
    if enters(history, to) then
      redis.call('HINCRBY', head, history:byte(#history - 8), -1)
      redis.call('HINCRBY', head, to, 1)
      redis.call('HSET', rows, row .. 's', history .. step)
      redis.call('HDEL', rows, row .. 'y')
      if reason ~= '' then redis.call('HSET', rows, row .. 'y', reason:sub(2)) end
    end
  else
    row = tonumber(redis.call('HGET', head, 'n') or 0)
    if row < rows_max then
      redis.call('HSET', index, recipient, row)
      redis.call('HSET', rows, row .. 'k', recipient, row .. 's', step)
      if reason ~= '' then redis.call('HSET', rows, row .. 'y', reason:sub(2)) end
      redis.call('HSET', head, 'n', row + 1)
      redis.call('HINCRBY', head, to, 1)
    elseif ends:sub(to, to) == '1' then
      redis.call('HINCRBY', head, to, 1)
    end
  end
end
for at = 1, 3 do redis.call('PEXPIRE', KEYS[at], ARGV[1]) end
return 1
