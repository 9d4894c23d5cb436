-- Returns what was learned of the group ARGV[2] of the owner ARGV[1].
return { call('HGET', P .. 'learned:' .. ARGV[1], ARGV[2]) or '', totals() }
