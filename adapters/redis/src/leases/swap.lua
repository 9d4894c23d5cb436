-- Replaces the state of a lane if it is still ARGV[1]. Returns 1, or 0 with the present state and the server's time.
local found = redis.call('GET', KEYS[1]) or ''
if found == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return { 1, '', '0', '0' }
end
local time = redis.call('TIME')
return { 0, found, time[1], time[2] }
