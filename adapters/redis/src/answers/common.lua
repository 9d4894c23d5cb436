-- What all scripts of kept answers have in common. KEYS[1] is the begin of all names, which are in one slot of a cluster.
--
-- totals          entries, bytes and evicted of all
-- owners, names   the number of each owner, and the owner of each number; keys: its key, sealed
-- meta            by answer: owner, bytes, expiry, group or '-', model
-- body:ID         the sealed answer, which the server removes by itself; meaning: the sealed questions
-- used, expires   all answers by last use and by expiry; of:OWNER: those of an owner by last use
-- in:OWNER:MODEL  the answers of a model; bytes:OWNER: the bytes by model, and of all under ''
-- group:OWNER:GROUP   answers with comparable questions by age
-- learned:OWNER, learned-of:OWNER, learned-at:OWNER   what was learned by group, its model, and when
local P = KEYS[1]
local call = redis.call

local function totals()
  local found = call('HMGET', P .. 'totals', 'entries', 'bytes', 'evicted')
  return { tonumber(found[1] or 0), tonumber(found[2] or 0), tonumber(found[3] or 0) }
end

local function facts(id)
  local meta = call('HGET', P .. 'meta', id)
  if not meta then
    return nil
  end
  local owner, size, expires, group, model = string.match(meta, '^(%d+) (%d+) (%d+) (%S+) (.*)$')
  return { owner = owner, size = tonumber(size), expires = tonumber(expires), group = group, model = model }
end

-- Removes an answer. Returns its bytes; nil if there is none.
local function remove(id)
  local of = facts(id)
  if not of then
    return nil
  end
  call('DEL', P .. 'body:' .. id)
  call('HDEL', P .. 'meta', id)
  call('HDEL', P .. 'meaning', id)
  for _, name in ipairs({ 'used', 'expires', 'of:' .. of.owner }) do
    call('ZREM', P .. name, id)
  end
  if of.group ~= '-' then
    call('ZREM', P .. 'group:' .. of.owner .. ':' .. of.group, id)
  end
  call('SREM', P .. 'in:' .. of.owner .. ':' .. of.model, id)
  for _, model in ipairs({ of.model, '' }) do
    if call('HINCRBY', P .. 'bytes:' .. of.owner, model, -of.size) <= 0 then
      call('HDEL', P .. 'bytes:' .. of.owner, model)
    end
  end
  call('HINCRBY', P .. 'totals', 'entries', -1)
  call('HINCRBY', P .. 'totals', 'bytes', -of.size)
  return of.size
end
