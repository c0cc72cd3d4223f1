"""What was said, as the atomic steps of ``redis.py`` and ``redis_memory.py`` remember it.

Nothing here stands alone: ``lua.py`` has what comes before.

A memory is a sorted set ``memory:<scope>`` by the time of asking, of members as in a lane. Each of
them is a hash ``said:<conversation>:<task id>`` that expires by itself: ``said``, ``person`` (key
of who asked), ``at`` and ``until``. The set ``memories:<conversation>`` has the scopes of one. A
key ``forgotten:<mark>`` says that what was asked before that time is not remembered any more.

Until its answer has arrived, a record has what was said, and in ``said_in`` where it goes; see
``memory_records.py``.
"""

__all__ = ["EXCHANGES", "FORGET", "MARK_FORGOTTEN", "REMEMBERING"]

# What cannot be read, as of a later release, is left out: no message may end otherwise by it.
REMEMBERING = """
local function remember(id, said, said_in)
  if not said or said == '' then return end
  local is_read, into = pcall(cjson.decode, said_in or '')
  if not is_read or type(into) ~= 'table' then return end
  local ms, ttl, turns = tonumber(into.ms), tonumber(into.ttl), tonumber(into.turns)
  if not (ms and ttl and turns and into.us and into.scope and into.conversation) then return end
  for _, mark in ipairs(into.marks or {}) do
    if tonumber(redis.call('GET', desk .. 'forgotten:' .. mark) or 0) > ms then return end
  end
  local memory, scopes = desk .. 'memory:' .. into.scope, desk .. 'memories:' .. into.conversation
  local entries = desk .. 'said:' .. into.conversation .. ':'
  redis.call('HSET', entries .. id, 'said', said, 'person', into.person or '',
    'at', string.format('%.0f', now), 'until', string.format('%.0f', now + ttl))
  redis.call('PEXPIRE', entries .. id, ttl)
  redis.call('ZADD', memory, into.ms, into.us .. ':' .. id)
  redis.call('SADD', scopes, into.scope)
  for _, key in ipairs({memory, scopes}) do
    redis.call('PEXPIRE', key, math.max(ttl, redis.call('PTTL', key)))
  end
  local surplus = redis.call('ZCARD', memory) - turns
  if surplus < 1 then return end
  for _, member in ipairs(redis.call('ZRANGE', memory, 0, surplus - 1)) do
    redis.call('DEL', entries .. string.sub(member, 19))
    redis.call('ZREM', memory, member)
  end
end
"""

# KEYS: memory. ARGV: prefix of its entries, how many, within how many ms, before which time and
# which place in it. Returns the newest first.
EXCHANGES = """
local found = {}
local members = redis.call('ZREVRANGEBYSCORE', KEYS[1], ARGV[6], '-inf', 'WITHSCORES')
for n = 1, #members, 2 do
  if #found == tonumber(ARGV[4]) then break end
  local member, ms = members[n], tonumber(members[n + 1])
  if ms < tonumber(ARGV[6]) or string.sub(member, 1, 17) < ARGV[7] then
    local entry = redis.call('HMGET', ARGV[3] .. string.sub(member, 19), 'said', 'at', 'until')
    if entry[1] and now - entry[2] < tonumber(ARGV[5]) and now < tonumber(entry[3]) then
      table.insert(found, entry[1])
    end
  end
end
return found
"""

# KEYS: mark. ARGV: since when it is forgotten, ttl ms. What was forgotten stays so, also when it is
# asked for once more as of a time before.
MARK_FORGOTTEN = """
if tonumber(redis.call('GET', KEYS[1]) or 0) < tonumber(ARGV[3]) then
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
end
return 1
"""

# KEYS: scopes of a conversation. ARGV: prefix of its entries, key of who asked or '', before which
# time or '+inf'. Returns how many there were.
FORGET = """
local gone = 0
for _, scope in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local memory = desk .. 'memory:' .. scope
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', memory, '-inf', '(' .. ARGV[5])) do
    local entry = ARGV[3] .. string.sub(member, 19)
    local found = redis.call('HMGET', entry, 'person', 'until')
    if not found[1] or ARGV[4] == '' or found[1] == ARGV[4] then
      if found[1] and now < tonumber(found[2]) then gone = gone + 1 end
      redis.call('DEL', entry)
      redis.call('ZREM', memory, member)
    end
  end
end
return gone
"""
