"""The atomic steps of ``redis_stopping.py``; keys and records are described in ``lua.py``."""

from worker.store.lua import LANES, PLACES, PRELUDE

__all__ = ["OPEN_IN", "STOP"]

# What is open in a conversation. Ids of records that are finished, which a release that knows no
# stopping has left there, go. One that somebody took to send it after all is his.
OPEN = """
local function open_in(open, fields)
  local found = {}
  local members = redis.call('ZRANGE', open, 0, -1, 'WITHSCORES')
  for i = 1, #members, 2 do
    local id = string.sub(members[i], 19)
    local it = redis.call('HMGET', records .. id, 'outcome', 'was', unpack(fields))
    if it[1] or not it[3] then
      redis.call('ZREM', open, members[i])
    elseif not it[2] then
      table.insert(found, {
        id = id, ms = tonumber(members[i + 1]), us = string.sub(members[i], 1, 17),
        it = {select(3, unpack(it, 1, #fields + 2))}})
    end
  end
  return found
end
"""

# KEYS: open, stop, stops, due. ARGV: ms and us before which it is stopped, task id or '' for all,
# packed facts, done ttl ms, hold ms. Returns those that are stopped, and who is next in each lane.
STOP = (
    PRELUDE
    + LANES
    + PLACES
    + OPEN
    + """
local ms, us = tonumber(ARGV[3]), ARGV[4]
if ARGV[5] == '' then
  local before = redis.call('HMGET', KEYS[2], 'ms', 'us')
  if not before[1] or is_before(tonumber(before[1]), before[2], ms, us) then
    redis.call('HSET', KEYS[2], 'ms', ARGV[3], 'us', us, 'facts', ARGV[6])
    redis.call('PEXPIRE', KEYS[2], ARGV[7])
  end
end

local stopped, lanes, is_any_at_work = {}, {}, false
local fields = {'state', 'lane', 'place', 'message_id', 'lease_until', 'envelope',
  'in_doubt', 'sent'}
for _, each in ipairs(open_in(KEYS[1], fields)) do
  local is_meant = ARGV[5] == '' or ARGV[5] == each.id
  if is_meant and is_before(each.ms, each.us, ms, us) then
    local key = records .. each.id
    local state, lane, place, message_id, lease_until, envelope, in_doubt, sent =
      unpack(each.it, 1, #fields)
    local is_alive = state == 'running' and tonumber(lease_until) > now
    is_any_at_work = is_any_at_work or state == 'running'
    local was = '{"was":"' .. state .. '",' .. (in_doubt and '"in_doubt":true,' or '')
    tell(key, '[[0,"stopped",' .. was .. string.sub(ARGV[6], 2) .. ']]', true)
    leave(lane, place, KEYS[4], each.id)
    finish(key, 'CANCELLED', ARGV[7])
    table.insert(stopped, {each.id, message_id, state, is_alive and 1 or 0, sent, envelope})
    if lane then table.insert(lanes, lane) end
  end
end
if is_any_at_work then
  local last = tonumber(redis.call('GET', KEYS[3]) or 0)
  redis.call('SET', KEYS[3], string.format('%.0f', math.max(now, last + 1)))
end

local next = {}
for n, lane in ipairs(lanes) do
  local is_first = true
  for before = 1, n - 1 do is_first = is_first and lanes[before] ~= lane end
  local it = is_first and hand_over(lane, KEYS[4], ARGV[8])
  if it then table.insert(next, it) end
end
return {stopped, next}
"""
)

# KEYS: open. Returns task id, state, for how many ms it has been worked on (-1 when it is not), and
# envelope of each, in the order they were written.
OPEN_IN = (
    PRELUDE
    + OPEN
    + """
local found = {}
for _, each in ipairs(open_in(KEYS[1], {'state', 'claimed_at', 'envelope'})) do
  local state, claimed_at, envelope = unpack(each.it, 1, 3)
  local ran = state == 'running' and now - claimed_at or -1
  table.insert(found, {each.id, state, string.format('%.0f', ran), envelope})
end
return found
"""
)
