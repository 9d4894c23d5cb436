-- Keeps an answer in the place of an older one. Returns 0 if its owner was erased meanwhile.
-- ARGV: answer, owner, bytes, expiry, group or '-', model, body, meaning, created, lifetime in ms,
-- and the bounds: bytes and answers of the owner, bytes and answers of all.
local id, owner, size, group, model = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[5], ARGV[6]
if call('HEXISTS', P .. 'names', owner) == 0 then
  return { 0, totals() }
end
remove(id)

-- Removes what was used least recently until there is room.
local function make_room(by_use, bytes, entries, bytes_max, entries_max)
  while bytes() + size > tonumber(bytes_max) or entries() >= tonumber(entries_max) do
    local oldest = call('ZRANGE', by_use, 0, 0)[1]
    if not oldest then
      return
    end
    if not remove(oldest) then
      call('ZREM', by_use, oldest)
    end
    call('HINCRBY', P .. 'totals', 'evicted', 1)
  end
end

local of_owner = P .. 'of:' .. owner
make_room(of_owner, function()
  return tonumber(call('HGET', P .. 'bytes:' .. owner, '') or 0)
end, function()
  return call('ZCARD', of_owner)
end, ARGV[11], ARGV[12])
make_room(P .. 'used', function()
  return totals()[2]
end, function()
  return totals()[1]
end, ARGV[13], ARGV[14])

local use = call('INCR', P .. 'uses')
call('HSET', P .. 'meta', id, table.concat({ owner, ARGV[3], ARGV[4], group, model }, ' '))
call('SET', P .. 'body:' .. id, ARGV[7], 'PX', ARGV[10])
call('ZADD', P .. 'used', use, id)
call('ZADD', of_owner, use, id)
call('ZADD', P .. 'expires', ARGV[4], id)
call('SADD', P .. 'in:' .. owner .. ':' .. model, id)
if group ~= '-' then
  call('HSET', P .. 'meaning', id, ARGV[8])
  call('ZADD', P .. 'group:' .. owner .. ':' .. group, ARGV[9], id)
end
for _, name in ipairs({ model, '' }) do
  call('HINCRBY', P .. 'bytes:' .. owner, name, size)
end
call('HINCRBY', P .. 'totals', 'entries', 1)
call('HINCRBY', P .. 'totals', 'bytes', size)
return { 1, totals() }
