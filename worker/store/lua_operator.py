"""The atomic steps of ``redis_operator.py``; keys and records are described in ``lua.py``."""

from worker.store.lua import LANES, PRELUDE
from worker.store.lua_memory import REMEMBERING

__all__ = [
    "DISCARD",
    "OF_MISSED",
    "PRUNE",
    "REMEMBER",
    "REMEMBERED",
    "RERUN",
    "SETTLE",
    "TAKE_MISSED",
    "TAKE_MISSED_ONE",
]

# As ``redis_operator.py`` reads it.
OF_MISSED = (
    *("outcome", "facts", "missed_at", "envelope", "answer", "merged", "sent", "in_doubt"),
    *("handled_at", "state"),
)

TAKE = """
local function take(id, due, owner, lease_until)
  local key = records .. id
  if redis.call('HGET', key, 'state') ~= 'missed' then return nil end
  local row = redis.call('HMGET', key, {fields})
  local token = redis.call('HINCRBY', key, 'token', 1)
  redis.call('ZREM', KEYS[3], id)
  redis.call('ZREM', KEYS[4], id)
  redis.call('ZREM', ARGV[3] .. redis.call('HGET', key, 'conversation'), id)
  redis.call('HDEL', key, 'outcome')
  redis.call('HSET', key, 'state', 'running', 'owner', owner, 'lease_until', lease_until,
    'claimed_at', now, 'was', row[1])
  redis.call('PERSIST', key)
  redis.call('ZADD', due, lease_until, id)
  return {id, token, row}
end
""".replace("{fields}", ", ".join(f"'{name}'" for name in OF_MISSED))

# KEYS: answers of the conversation, due, missed, handled. ARGV: prefix of conversations' answers,
# owner, lease ms, limit.
TAKE_MISSED = (
    PRELUDE
    + TAKE
    + """
local taken = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, ARGV[6] - 1)) do
  local it = take(id, KEYS[2], ARGV[4], now + ARGV[5])
  if it then table.insert(taken, it) end
  redis.call('ZREM', KEYS[1], id)
end
return taken
"""
)

# KEYS: record, due, missed, handled. ARGV: prefix of conversations' answers, owner, lease ms, task
# id.
TAKE_MISSED_ONE = (
    PRELUDE
    + TAKE
    + """
local it = take(ARGV[6], KEYS[2], ARGV[4], now + ARGV[5])
return it and {it} or {}
"""
)

# KEYS: record, due, handled. ARGV: token, task id, outcome, ttl ms, steps, whether the answer has
# arrived or ''.
SETTLE = (
    PRELUDE
    + REMEMBERING
    + """
if not is_ours(KEYS[1], ARGV[3]) then return {0} end
if ARGV[8] ~= '' then
  local found = redis.call('HMGET', KEYS[1], 'said', 'said_in')
  redis.call('HDEL', KEYS[1], 'said', 'said_in')
  remember(ARGV[4], found[1], found[2])
end
redis.call('ZREM', KEYS[2], ARGV[4])
redis.call('HDEL', KEYS[1], 'owner', 'lease_until', 'in_doubt', 'rerun', 'was')
redis.call('HSET', KEYS[1], 'state', 'missed', 'outcome', ARGV[5], 'handled_at', now)
redis.call('HSETNX', KEYS[1], 'missed_at', now)
tell(KEYS[1], ARGV[7], true)
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('ZADD', KEYS[3], now, ARGV[4])
return {1}
"""
)

# KEYS: record, due, missed. ARGV: task id, hold ms, prefix of conversations' answers, missed ttl
# ms. Returns the envelope.
RERUN = (
    PRELUDE
    + """
local found = redis.call('HMGET', KEYS[1],
  'state', 'answer', 'handled_at', 'conversation', 'envelope', 'open', 'written')
if found[1] ~= 'missed' or found[2] or found[3] then return false end
if found[6] then
  local open = desk .. 'open:' .. found[4]
  redis.call('ZADD', open, found[7], found[6])
  redis.call('PEXPIRE', open, ARGV[6])
end
redis.call('ZREM', KEYS[3], ARGV[3])
redis.call('ZREM', ARGV[5] .. found[4], ARGV[3])
redis.call('HDEL', KEYS[1], 'outcome', 'missed_at', 'crowded', 'lane', 'place', 'after')
redis.call('HINCRBY', KEYS[1], 'token', 1)
redis.call('HSET', KEYS[1], 'state', 'waiting', 'not_before', now, 'rerun', 1, 'attempts', 0,
  'takeovers', 0)
tell(KEYS[1], '[[0,"rerun",{}]]', true)
redis.call('PERSIST', KEYS[1])
redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[3])
return found[5]
"""
)

# KEYS: record, missed, handled. ARGV: task id, ttl ms, prefix of conversations' answers.
DISCARD = (
    PRELUDE
    + LANES
    + """
local found = redis.call('HMGET', KEYS[1], 'state', 'conversation')
if found[1] ~= 'missed' then return 0 end
redis.call('ZREM', KEYS[2], ARGV[3])
redis.call('ZREM', KEYS[3], ARGV[3])
redis.call('ZREM', ARGV[5] .. found[2], ARGV[3])
tell(KEYS[1], '[[0,"discarded",{}]]', true)
finish(KEYS[1], 'DROPPED', ARGV[4])
return 1
"""
)

# KEYS: sorted sets by time. ARGV: ttl ms. The records have expired; what is left are their ids.
PRUNE = (
    PRELUDE
    + """
local gone = 0
for _, key in ipairs(KEYS) do
  gone = gone + redis.call('ZREMRANGEBYSCORE', key, '-inf', now - ARGV[3])
end
return gone
"""
)

# KEYS: note, kind. ARGV: key, facts, ttl ms.
REMEMBER = (
    PRELUDE
    + """
redis.call('HSET', KEYS[1], 'facts', ARGV[4], 'at', now)
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('SADD', KEYS[2], ARGV[3])
-- Some kinds are never listed, which is where names are forgotten otherwise.
for _, name in ipairs(redis.call('SRANDMEMBER', KEYS[2], 3)) do
  if redis.call('EXISTS', KEYS[2] .. ':' .. name) == 0 then
    redis.call('SREM', KEYS[2], name)
  end
end
return 1
"""
)

# KEYS: kind. ARGV: prefix of its notes. Returns key, facts and age in ms of each.
REMEMBERED = (
    PRELUDE
    + """
local notes = {}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local found = redis.call('HMGET', ARGV[3] .. name, 'facts', 'at')
  if found[1] then
    table.insert(notes, {name, found[1], string.format('%.0f', now - found[2])})
  else
    redis.call('SREM', KEYS[1], name)
  end
end
return notes
"""
)
