-- KEYS[7]: what the user has had of the messages to everyone: runs of positions (after, up to), 16 bytes each, ascending.
-- ARGV: position, the one before, keep_ms, runs_max. Answers 0 if it was noted before, 1, or 2
-- if the bound was passed.
local runs = KEYS[7]
local upto, from, keep_ms, runs_max = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local value = redis.call('GET', runs) or ''
local kept, position = {}, upto
for at = 1, #value, 16 do
  local a, b = struct.unpack('<I8I8', value, at)
  if a < position and position <= b then return 0 end
  if b >= from and a <= upto then
    from, upto = math.min(from, a), math.max(upto, b)
  else
    kept[#kept + 1] = {a, b}
  end
end
local place = 1
while kept[place] and kept[place][1] < from do place = place + 1 end
table.insert(kept, place, {from, upto})
local noted = 1
if #kept > runs_max then
  noted = 2
  kept[1][2] = kept[2][2]
  table.remove(kept, 2)
end
for at = 1, #kept do kept[at] = struct.pack('<I8I8', kept[at][1], kept[at][2]) end
local ttl = redis.call('PTTL', runs)
redis.call('SET', runs, table.concat(kept), 'PX', string.format('%.0f', math.max(ttl, keep_ms)))
return noted
