-- KEYS[1]: reservation. One that has gone stays gone: a key without an expiry would stay for ever.
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'c', '1') end
return 1
