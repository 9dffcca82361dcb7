-- ARGV: delivery key, returned. Answers whether there was an entry.
local push = redis.call('HGET', pushes, ARGV[1])
if push then replace_returned(ARGV[1], push, ARGV[2]) end
return push and 1 or 0
