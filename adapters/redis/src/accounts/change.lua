-- Sets the field ARGV[1] of a hash to ARGV[2], or removes it if that is empty. Returns the new revision.
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return redis.call('INCR', KEYS[2])
