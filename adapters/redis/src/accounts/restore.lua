-- Replaces keys and groups by those of a gateway if the revision is smaller than ARGV[1]. Returns 1 if it did.
-- ARGV[2] is the number of keys; their fields and records follow, and then those of the groups.
local known = tonumber(ARGV[1])
if tonumber(redis.call('GET', KEYS[3]) or '0') >= known then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2])
local groups = 3 + 2 * tonumber(ARGV[2])
for at = 3, #ARGV, 2 do
  local hash = at < groups and KEYS[1] or KEYS[2]
  redis.call('HSET', hash, ARGV[at], ARGV[at + 1])
end
redis.call('SET', KEYS[3], string.format('%.0f', known + 1))
return 1
