"""The atomic steps of ``redis_limits.py``, as they run inside Redis, and the one of a post.

A limit is a hash: ``stamps`` (when each of those came in that still count, epoch ms, comma
separated, oldest first), ``held_until`` and ``slow_until``. It expires when it says nothing more.
"""

from worker.store.lua import PRELUDE

__all__ = ["ADMIT", "COUNT_UP", "HOLD_BACK", "RECALLED", "SENDING"]

# A clock that was set back makes stamps of the future: they count as of now, so that nobody waits
# for longer than a limit is long.
LIMITS = """
local function still_counting(stamps, per)
  local found = {}
  for each in string.gmatch(stamps or '', '%d+') do
    local stamp = math.min(tonumber(each), now)
    if stamp > now - per then table.insert(found, string.format('%.0f', stamp)) end
  end
  return found
end

-- Of the limits from KEYS[first] on, each told of by three ARGV from ARGV[at] on: for how many ms
-- nobody comes in, or 0 when one more is in now.
local function admit(first, at)
  local longest, open = 0, {}
  for i = first, #KEYS do
    local n = at + (i - first) * 3
    local count, per, is_dormant = tonumber(ARGV[n]), tonumber(ARGV[n + 1]), ARGV[n + 2] ~= ''
    local found = redis.call('HMGET', KEYS[i], 'held_until', 'slow_until', 'stamps')
    local held, slow = tonumber(found[1] or 0), tonumber(found[2] or 0)
    if not is_dormant or now < slow then
      local stamps = still_counting(found[3], per)
      longest = math.max(longest, held - now)
      if #stamps >= count then
        longest = math.max(longest, stamps[#stamps - count + 1] + per - now)
      end
      table.insert(open, {KEYS[i], stamps, math.max(per, held - now, slow - now)})
    end
  end
  if longest > 0 then return longest end
  for _, each in ipairs(open) do
    table.insert(each[2], string.format('%.0f', now))
    redis.call('HSET', each[1], 'stamps', table.concat(each[2], ','))
    redis.call('PEXPIRE', each[1], string.format('%.0f', each[3]))
  end
  return 0
end
"""

# KEYS: limits. ARGV: count, length in ms and '1' or '' (dormant) of each.
ADMIT = (
    PRELUDE
    + LIMITS
    + """
return admit(1, 3)
"""
)

# KEYS: limit. ARGV: for how many ms nobody comes in, for how many more it is no dormant one.
HOLD_BACK = (
    PRELUDE
    + """
local found = redis.call('HMGET', KEYS[1], 'held_until', 'slow_until')
local held = math.max(tonumber(found[1] or 0), now + ARGV[3])
local slow = math.max(tonumber(found[2] or 0), held + ARGV[4])
redis.call('HSET', KEYS[1], 'held_until', string.format('%.0f', held),
  'slow_until', string.format('%.0f', slow))
redis.call('PEXPIRE', KEYS[1],
  string.format('%.0f', math.max(slow - now, redis.call('PTTL', KEYS[1]))))
return 1
"""
)

# KEYS: count. ARGV: by how many, ttl ms.
COUNT_UP = (
    PRELUDE
    + """
if tonumber(ARGV[3]) == 0 then return tonumber(redis.call('GET', KEYS[1]) or 0) end
local count = redis.call('INCRBY', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return count
"""
)

# KEYS: note. Returns facts and age in ms.
RECALLED = (
    PRELUDE
    + """
local found = redis.call('HMGET', KEYS[1], 'facts', 'at')
if not found[1] then return false end
return {found[1], string.format('%.0f', now - found[2])}
"""
)

# KEYS: record, limits. ARGV: token, parts that arrived, steps, an answer that is to be kept or '',
# the first of the steps (those of that), what was said or '', where it goes, then of the limits as
# above. Returns whether it is ours, and for how many ms it has to wait: then only that is noted
# which has arrived, and the answer.
SENDING = (
    PRELUDE
    + LIMITS
    + """
local key, sent, answer = KEYS[1], ARGV[4], ARGV[6]
if not is_ours(key, ARGV[3]) then return {0, 0} end
local wait = admit(2, 10)
if answer ~= '' then
  redis.call('HSET', key, 'answer', answer, 'attempts', 0)
  if ARGV[8] ~= '' then redis.call('HSET', key, 'said', ARGV[8], 'said_in', ARGV[9]) end
end
if wait > 0 then
  if redis.call('HGET', key, 'sent') ~= sent then
    redis.call('HSET', key, 'sent', sent)
    redis.call('HDEL', key, 'in_doubt')
  end
  tell(key, ARGV[7])
  return {1, wait}
end
redis.call('HSET', key, 'sent', sent, 'in_doubt', 1)
tell(key, ARGV[5])
return {1, 0}
"""
)
