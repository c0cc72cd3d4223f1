"""The atomic steps of ``redis.py``, as they run inside Redis.

Each begins with :data:`PRELUDE`; ``ARGV[1]`` is the time in epoch ms, or empty for that of Redis.
A record is a hash: ``state`` (running, waiting or missed), ``token``, ``owner``, ``lease_until``,
``not_before`` (of a waiting one), ``attempts``, ``takeovers``, ``message_id``, ``envelope``,
``answer``; when finished ``outcome`` (a done one has nothing else), when missed ``facts`` and
``missed_at``.
"""

__all__ = ["CLAIM", "DUE", "FINISH", "KEEP_ANSWER", "MISS", "PRUNE", "RELEASE", "RENEW"]

PRELUDE = """
local function read_clock()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function is_ours(key, token)
  local found = redis.call('HMGET', key, 'token', 'state')
  return found[1] == token and found[2] == 'running'
end
local now = read_clock()
"""

# KEYS: record, due. ARGV: task id, owner, lease ms, envelope or '', message id.
# Tokens start at the time, so that they grow even over a forgotten record.
CLAIM = (
    PRELUDE
    + """
local found = redis.call(
  'HMGET', KEYS[1], 'state', 'lease_until', 'owner', 'outcome', 'not_before')
if found[4] then return {'finished', found[4]} end
if found[1] == 'running' and tonumber(found[2]) > now then return {'held', found[3]} end
if found[1] == 'waiting' and tonumber(found[5]) > now then return {'held', ''} end
if found[1] then
  redis.call('HINCRBY', KEYS[1], 'token', 1)
  if found[1] == 'running' then redis.call('HINCRBY', KEYS[1], 'takeovers', 1) end
elseif ARGV[5] == '' then
  return {'finished', false}
else
  redis.call('HSET', KEYS[1], 'token', now, 'attempts', 0, 'takeovers', 0,
    'envelope', ARGV[5], 'message_id', ARGV[6])
end
local lease_until = now + ARGV[4]
redis.call('HSET', KEYS[1], 'state', 'running', 'owner', ARGV[3], 'lease_until', lease_until)
redis.call('ZADD', KEYS[2], lease_until, ARGV[2])
return {'claimed', redis.call(
  'HMGET', KEYS[1], 'token', 'envelope', 'answer', 'attempts', 'takeovers')}
"""
)

# KEYS: due, records. ARGV: lease ms, then task id and token of each. Returns the lost ones' places.
RENEW = (
    PRELUDE
    + """
local lost = {}
local lease_until = now + ARGV[2]
for place = 1, #KEYS - 1 do
  local id, token = ARGV[2 * place + 1], ARGV[2 * place + 2]
  if is_ours(KEYS[place + 1], token) then
    redis.call('HSET', KEYS[place + 1], 'lease_until', lease_until)
    redis.call('ZADD', KEYS[1], lease_until, id)
  else
    table.insert(lost, place - 1)
  end
end
return lost
"""
)

# KEYS: record. ARGV: token, answer.
KEEP_ANSWER = (
    PRELUDE
    + """
if not is_ours(KEYS[1], ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'answer', ARGV[3])
return 1
"""
)

# KEYS: record, due. ARGV: token, task id, due in ms, attempts or ''.
RELEASE = (
    PRELUDE
    + """
if not is_ours(KEYS[1], ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'state', 'waiting', 'not_before', now + ARGV[4])
redis.call('HDEL', KEYS[1], 'owner', 'lease_until')
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'attempts', ARGV[5]) end
redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[3])
return 1
"""
)

# KEYS: record, due. ARGV: token, task id, outcome, ttl ms.
FINISH = (
    PRELUDE
    + """
if not is_ours(KEYS[1], ARGV[2]) then return 0 end
redis.call('ZREM', KEYS[2], ARGV[3])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'outcome', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
"""
)

# KEYS: record, due, missed. ARGV: token, task id, state, ttl ms, facts, prefix of the id index.
MISS = (
    PRELUDE
    + """
if not is_ours(KEYS[1], ARGV[2]) then return 0 end
redis.call('ZREM', KEYS[2], ARGV[3])
redis.call('HDEL', KEYS[1], 'owner', 'lease_until')
redis.call('HSET', KEYS[1], 'state', 'missed', 'outcome', ARGV[4], 'facts', ARGV[6],
  'missed_at', now)
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('ZADD', KEYS[3], now, ARGV[3])
local message_id = redis.call('HGET', KEYS[1], 'message_id')
redis.call('SET', ARGV[7] .. message_id, ARGV[3], 'PX', ARGV[5])
return 1
"""
)

# KEYS: due. ARGV: limit, hold ms, prefix of records. An id without a record was removed by hand.
DUE = (
    PRELUDE
    + """
local taken = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local found = redis.call('HMGET', ARGV[4] .. id, 'envelope', 'answer')
  if found[1] then
    redis.call('ZADD', KEYS[1], now + ARGV[3], id)
    table.insert(taken, {id, found[1], found[2] and 1 or 0})
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
return taken
"""
)

# KEYS: missed. ARGV: ttl ms. The records have expired; what is left are their ids.
PRUNE = (
    PRELUDE
    + """
return redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
"""
)
