-- KEYS[1]: hash (as in record.lua; r = when the message was taken back). KEYS[2]: its reservation. ARGV: now_ms, keep_ms.
-- Answers whether the message is known.
local known = redis.call('HEXISTS', KEYS[1], 'n') == 1 or redis.call('HEXISTS', KEYS[2], 'c') == 1
if not known then return 0 end
redis.call('HSETNX', KEYS[1], 'r', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
