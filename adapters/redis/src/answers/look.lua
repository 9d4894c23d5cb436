-- Returns the answer ARGV[1] with its expiry and model at the time ARGV[2], and notes that it was used.
local of = facts(ARGV[1])
if of and of.expires <= tonumber(ARGV[2]) then
  remove(ARGV[1])
  of = nil
end
local body = of and call('GET', P .. 'body:' .. ARGV[1])
if body then
  local use = call('INCR', P .. 'uses')
  call('ZADD', P .. 'used', 'XX', use, ARGV[1])
  call('ZADD', P .. 'of:' .. of.owner, 'XX', use, ARGV[1])
end
return { body and { body, of.expires, of.model } or { '', 0, '' }, totals() }
