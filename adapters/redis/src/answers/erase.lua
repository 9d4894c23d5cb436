-- Erases at most ARGV[3] answers of an owner and a model; '' stands for all of them. Returns the answers, their bytes, the keys of owners
-- of whom nothing is left, and 1 if there may be more.
local owner, model, left = ARGV[1], ARGV[2], tonumber(ARGV[3])
local erased, bytes, keys = 0, 0, 0
local owners = { owner }
if owner == '' then
  owners = call('HKEYS', P .. 'names')
end
for _, number in ipairs(owners) do
  local names = { P .. 'learned:' .. number, P .. 'learned-of:' .. number, P .. 'learned-at:' .. number }
  if model == '' then
    call('DEL', unpack(names))
  else
    local of = call('HGETALL', names[2])
    for at = 1, #of, 2 do
      if of[at + 1] == model then
        call('HDEL', names[1], of[at])
        call('HDEL', names[2], of[at])
        call('ZREM', names[3], of[at])
      end
    end
  end
  local ids
  if model == '' then
    ids = call('ZRANGE', P .. 'of:' .. number, 0, left - 1)
  else
    ids = call('SRANDMEMBER', P .. 'in:' .. number .. ':' .. model, left)
  end
  for _, id in ipairs(ids) do
    local size = remove(id)
    if size then
      erased, bytes = erased + 1, bytes + size
    end
  end
  left = left - #ids
  if call('EXISTS', P .. 'of:' .. number, names[1]) == 0 then
    local name = call('HGET', P .. 'names', number)
    if name then
      call('HDEL', P .. 'owners', name)
      call('HDEL', P .. 'names', number)
      keys = keys + call('HDEL', P .. 'keys', number)
    end
  end
  if left <= 0 then
    return { { erased, bytes, keys, 1 }, totals() }
  end
end
return { { erased, bytes, keys, 0 }, totals() }
