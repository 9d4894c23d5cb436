-- Returns the number of the owner ARGV[1] and its sealed key; 0 if it has none and ARGV[2] is '0', else it gets one.
local number = call('HGET', P .. 'owners', ARGV[1])
if not number then
  if ARGV[2] == '0' then
    return { 0, '' }
  end
  -- The server's time in microseconds, so that no number comes back, also after the server has lost everything.
  local time = call('TIME')
  local next = tonumber(time[1]) * 1000000 + tonumber(time[2])
  while call('HEXISTS', P .. 'names', string.format('%.0f', next)) == 1 do
    next = next + 1
  end
  number = string.format('%.0f', next)
  call('HSET', P .. 'owners', ARGV[1], number)
  call('HSET', P .. 'names', number, ARGV[1])
end
return { tonumber(number), call('HGET', P .. 'keys', number) or '' }
