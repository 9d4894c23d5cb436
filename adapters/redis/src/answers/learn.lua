-- Keeps what was learned of a group. Returns 0 if its owner was erased meanwhile.
-- ARGV: owner, group, model, what was learned, now, how many groups may be kept.
local owner = ARGV[1]
if call('HEXISTS', P .. 'names', owner) == 0 then
  return { 0, totals() }
end
local names = { P .. 'learned:' .. owner, P .. 'learned-of:' .. owner, P .. 'learned-at:' .. owner }
call('HSET', names[1], ARGV[2], ARGV[4])
call('HSET', names[2], ARGV[2], ARGV[3])
call('ZADD', names[3], ARGV[5], ARGV[2])
local surplus = call('ZCARD', names[3]) - tonumber(ARGV[6])
if surplus > 0 then
  for _, group in ipairs(call('ZRANGE', names[3], 0, surplus - 1)) do
    call('HDEL', names[1], group)
    call('HDEL', names[2], group)
    call('ZREM', names[3], group)
  end
end
return { 1, totals() }
