-- Returns the newest ARGV[4] answers of the group ARGV[2] of the owner ARGV[1] that have not expired at ARGV[3], each with its question.
local found = {}
local group = P .. 'group:' .. ARGV[1] .. ':' .. ARGV[2]
for _, id in ipairs(call('ZREVRANGE', group, 0, tonumber(ARGV[4]) - 1)) do
  local of = facts(id)
  local meaning = of and of.expires > tonumber(ARGV[3]) and call('HGET', P .. 'meaning', id)
  if meaning then
    found[#found + 1] = { id, meaning }
  end
end
return { found, totals() }
