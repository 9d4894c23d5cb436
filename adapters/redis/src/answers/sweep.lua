-- Removes at most ARGV[2] answers that have expired at the time ARGV[1]. Returns their number.
local removed = 0
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'expires', 0, ARGV[1], 'LIMIT', 0, ARGV[2])) do
  if not remove(id) then
    call('ZREM', P .. 'expires', id)
  end
  removed = removed + 1
end
return { removed, totals() }
