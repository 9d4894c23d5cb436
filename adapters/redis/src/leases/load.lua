-- Returns the state of a lane and the server's time.
local time = redis.call('TIME')
return { redis.call('GET', KEYS[1]) or '', time[1], time[2] }
