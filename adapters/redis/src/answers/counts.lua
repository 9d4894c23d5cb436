-- Returns the answers and bytes by owner and model, of the owner ARGV[1] or, if it is '', of all.
local found = {}
local owners = { ARGV[1] }
if ARGV[1] == '' then
  owners = call('HKEYS', P .. 'names')
end
for _, number in ipairs(owners) do
  local name = call('HGET', P .. 'names', number)
  local bytes = call('HGETALL', P .. 'bytes:' .. number)
  for at = 1, #bytes, 2 do
    local entries = call('SCARD', P .. 'in:' .. number .. ':' .. bytes[at])
    if name and bytes[at] ~= '' and entries > 0 then
      found[#found + 1] = { name, bytes[at], entries, tonumber(bytes[at + 1]) }
    end
  end
end
return { found, totals() }
