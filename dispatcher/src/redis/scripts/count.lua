-- KEYS[1]: hash (as in record.lua). ARGV: keep_ms, state, how many more.
redis.call('HSETNX', KEYS[1], 'n', 0)
redis.call('HINCRBY', KEYS[1], ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
