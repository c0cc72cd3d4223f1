"""The atomic steps of ``redis.py``, as they run inside Redis; see also ``lua_operator.py``.

What limits all processes together is in ``lua_limits.py``, what was said in ``lua_memory.py``.

Each begins with :data:`PRELUDE`; ``ARGV[1]`` is the time in epoch ms, or empty for that of Redis,
``ARGV[2]`` the prefix of records.

A record is a hash: ``state`` (running, waiting, parked or missed), ``token``, ``owner``,
``lease_until``, ``not_before`` (of a waiting one), ``attempts``, ``takeovers``, ``message_id``,
``conversation``, ``envelope``, ``answer``, ``sent`` (parts that arrived), ``in_doubt`` (set while
the next part is posted), ``handed`` (how often it was handed out unclaimed), ``crowded`` (set when
its lane was full), ``steps`` (its story, see ``records.read_steps``), ``claimed_at`` and ``rerun``
(set when an operator had it run anew); when finished ``outcome`` (a done one keeps this and its
story), when missed ``facts`` and ``missed_at``, and ``handled_at`` when an operator has sent it.
``said`` and ``said_in`` are what is to be remembered, and where, when its answer has arrived.

A lane is a sorted set by the time of writing. One with the turn has the score -1, so that it is
the first whoever comes. Of what waits, its record knows ``lane``, ``place`` (its member in it),
``sender``, ``after`` and ``wait_until`` (for whom it waits, and how long), ``merged`` (envelopes of
those that became part of its turn). The hash ``sweep`` beside them says when somebody swept last
(``at``) and until when nothing is taken over (``grace_until``).

What is unfinished in a conversation and can be stopped is in a sorted set of its own, ``open``, by
the time of writing (the record's ``written``; ``open`` is its member there). The hash ``stop`` says
which of those that are not known yet are stopped: what was written before ``ms`` and ``us``.
"""

from worker.store.lua_memory import REMEMBERING
from worker.store.records import STORY_LIMIT

__all__ = [
    "CLAIM",
    "DUE",
    "FINISH",
    "KEEP_ANSWER",
    "LANES",
    "MISS",
    "PLACES",
    "PRELUDE",
    "RELEASE",
    "RENEW",
]

PRELUDE = """
local function read_clock()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local now = read_clock()
local records = ARGV[2]
local desk = string.sub(records, 1, -string.len('message:') - 1)
local function is_ours(key, token)
  local found = redis.call('HMGET', key, 'token', 'state')
  return found[1] == token and found[2] == 'running'
end

-- Goes on with a story; one that is too long only with its end.
local function tell(key, steps, is_last)
  if steps == '' then return end
  local told = redis.call('HGET', key, 'steps') or ''
  if is_last or #told < {story_limit} then
    redis.call('HSET', key, 'steps', told .. string.format('[%.0f,', now) .. steps .. '],')
  end
end
""".replace("{story_limit}", str(STORY_LIMIT))

# After an outage of the store all leases have run out, and their owners are about to renew them. So
# when nobody has swept for half a lease, nothing is taken over for the length of one.
GRACE = """
local function in_grace(hold, is_sweep)
  local found = redis.call('HMGET', desk .. 'sweep', 'at', 'grace_until')
  local at, grace_until = tonumber(found[1] or now), tonumber(found[2] or 0)
  local was_away = now - at > math.max(hold / 2, 1000)
  if was_away then
    grace_until = now + hold
    redis.call('HSET', desk .. 'sweep', 'grace_until', grace_until)
  end
  if was_away or is_sweep then redis.call('HSET', desk .. 'sweep', 'at', now) end
  return now < grace_until and grace_until
end
"""

# A member is 17 digits, a colon and the task id.
LANES = """
local function id_of(member) return string.sub(member, 19) end

-- The first of a lane, and whether it has the turn. What was finished past this code goes.
local function first_of(lane)
  while true do
    local first = redis.call('ZRANGE', lane, 0, 0, 'WITHSCORES')
    if not first[1] then return nil end
    local found = redis.call('HMGET', records .. id_of(first[1]), 'state', 'outcome')
    if found[1] and not found[2] then return id_of(first[1]), tonumber(first[2]) == -1 end
    redis.call('ZREM', lane, first[1])
  end
end

-- Whether somebody who was written before it is still to come.
local function is_early(id)
  local found = redis.call('HMGET', records .. id, 'after', 'wait_until')
  return found[1] and found[1] ~= '' and tonumber(found[2]) > now
    and redis.call('EXISTS', records .. found[1]) == 0
end

-- Hands the turn to the next: returns what its caller publishes.
local function hand_over(lane, due, hold)
  if not lane then return false end
  local id, has_turn = first_of(lane)
  if not id or has_turn or is_early(id) then return false end
  local key = records .. id
  redis.call('HSET', key, 'handed', 1)
  redis.call('ZADD', due, now + hold, id)
  return {id, redis.call('HGET', key, 'envelope')}
end

local function leave(lane, place, due, id)
  if lane then redis.call('ZREM', lane, place) end
  redis.call('ZREM', due, id)
  local found = redis.call('HMGET', records .. id, 'conversation', 'open')
  if found[2] then redis.call('ZREM', desk .. 'open:' .. found[1], found[2]) end
end

local function finish(key, outcome, ttl)
  local steps = redis.call('HGET', key, 'steps') or ''
  redis.call('DEL', key)
  redis.call('HSET', key, 'outcome', outcome, 'steps', steps)
  redis.call('PEXPIRE', key, ttl)
end

local function count_finished(claimed_at)
  local pace = desk .. 'pace:' .. math.floor(now / 10000)
  redis.call('HINCRBY', pace, 'n', 1)
  redis.call('HINCRBY', pace, 'ms', string.format('%.0f', now - (claimed_at or now)))
  redis.call('PEXPIRE', pace, 3700000)
end
"""

# Whether one place comes before another: numbers of ms, then 17 digits of us.
PLACES = """
local function is_before(ms, us, other_ms, other_us)
  return ms < other_ms or (ms == other_ms and us < other_us)
end
"""

# KEYS: record, due. ARGV: task id, owner, lease ms, envelope or '', message id, conversation,
# lane or '', written ms, received us in 17 digits, sender, after or '', wait ms, max waiting or
# '', merge or '', done ttl ms, park ms, steps or '', packed owner, bot, route or '', until when it
# leads there, missed ttl ms, written ms or '' when nobody can stop it, received us as above. Tokens
# start at the time, so that they grow even over a forgotten record.
CLAIM = (
    PRELUDE
    + GRACE
    + LANES
    + PLACES
    + """
local key, due = KEYS[1], KEYS[2]
local id, owner, lease_ms, envelope = ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local found = redis.call('HMGET', key,
  'state', 'lease_until', 'owner', 'outcome', 'not_before', 'lane', 'place')
local state, lane, place = found[1], found[6], found[7]
if found[4] then return {'finished', found[4]} end
if state == 'running' and tonumber(found[2]) > now then return {'held', found[3]} end
if state == 'running' and in_grace(lease_ms, false) then return {'held', found[3]} end
if state == 'waiting' and tonumber(found[5]) > now then return {'held', ''} end

if state then
  redis.call('HINCRBY', key, 'token', 1)
  if state == 'running' then redis.call('HINCRBY', key, 'takeovers', 1) end
elseif envelope == '' then
  return {'finished', false}
else
  redis.call('HSET', key, 'token', now, 'attempts', 0, 'takeovers', 0, 'sent', 0, 'handed', 0,
    'envelope', envelope, 'message_id', ARGV[7], 'conversation', ARGV[8])
  tell(key, ARGV[19], true)
  redis.call('SADD', desk .. 'bots', ARGV[21])
  if ARGV[8] ~= '' then
    local last = desk .. 'conversation:' .. ARGV[8]
    redis.call('ZADD', last, now, id)
    redis.call('ZREMRANGEBYRANK', last, 0, -51)
    redis.call('PEXPIRE', last, math.max(ARGV[17], ARGV[24]))
    local route = desk .. 'route:' .. ARGV[8]
    local known_until = tonumber(redis.call('HGET', route, 'until') or 0)
    if tonumber(ARGV[23]) > math.max(now, known_until) then
      redis.call('HSET', route, 'route', ARGV[22], 'until', ARGV[23])
      redis.call('PEXPIRE', route, string.format('%.0f', ARGV[23] - now))
    end
  end
  lane = ARGV[9] ~= '' and ARGV[9]
  if ARGV[25] ~= '' and ARGV[8] ~= '' then
    local stop = redis.call('HMGET', desk .. 'stop:' .. ARGV[8], 'ms', 'us', 'facts')
    if stop[1] and is_before(tonumber(ARGV[25]), ARGV[26], tonumber(stop[1]), stop[2]) then
      tell(key, '[[0,"stopped",{"was":"queued",' .. string.sub(stop[3], 2) .. ']]', true)
      finish(key, 'CANCELLED', ARGV[17])
      local first, next = lane and first_of(lane), false
      if first and redis.call('HGET', records .. first, 'after') == id then
        next = hand_over(lane, due, lease_ms)
      end
      return {'stopped', stop[3], next}
    end
    local open = desk .. 'open:' .. ARGV[8]
    redis.call('ZADD', open, ARGV[25], ARGV[26] .. ':' .. id)
    redis.call('PEXPIRE', open, ARGV[24])
    redis.call('HSET', key, 'open', ARGV[26] .. ':' .. id, 'written', ARGV[25])
  end
  if lane and ARGV[15] ~= '' then
    local first, has_turn = first_of(lane)
    local waiting = redis.call('ZCARD', lane) - (has_turn and 1 or 0)
    if first and waiting >= tonumber(ARGV[15]) then
      lane = false
      redis.call('HSET', key, 'crowded', 1)
      if not has_turn and redis.call('HGET', records .. first, 'after') == id then
        redis.call('ZADD', due, now, first)
      end
    end
  end
  if lane then
    place = ARGV[11] .. ':' .. id
    redis.call('ZADD', lane, ARGV[10], place)
    redis.call('HSET', key, 'state', 'parked', 'lane', lane, 'place', place, 'sender', ARGV[12],
      'after', ARGV[13], 'wait_until', now + ARGV[14])
  end
end

local score = lane and redis.call('ZSCORE', lane, place)
if score and tonumber(score) ~= -1 then
  local first = first_of(lane)
  if first ~= id or is_early(id) then
    redis.call('HSET', key, 'state', 'parked')
    if not state then tell(key, '[[0,"parked",{}]]') end
    local next = false
    if first == id then
      redis.call('ZADD', due, redis.call('HGET', key, 'wait_until'), id)
    else
      local handed = redis.call('HGET', key, 'handed')
      redis.call('ZADD', due, now + ARGV[18] * (1 + handed * handed), id)
      if redis.call('HGET', records .. first, 'after') == id then
        next = hand_over(lane, due, lease_ms)
      end
    end
    return {'parked', next}
  end

  local run = {place}
  if ARGV[16] ~= '' then
    local sender = redis.call('HGET', key, 'sender')
    for _, member in ipairs(redis.call('ZRANGE', lane, 1, 100)) do
      local other = redis.call('HMGET', records .. id_of(member), 'state', 'sender')
      if other[1] ~= 'parked' or other[2] ~= sender or is_early(id_of(member)) then break end
      table.insert(run, member)
    end
  end
  if #run > 1 then
    local texts, done = {}, {}
    for n, member in ipairs(run) do
      local other = id_of(member)
      local parts = redis.call('HMGET', records .. other, 'merged', 'envelope', 'message_id')
      if parts[1] then table.insert(texts, parts[1]) end
      if n < #run then
        table.insert(texts, parts[2])
        table.insert(done, {other, parts[3]})
        local into = redis.call('HGET', records .. id_of(run[#run]), 'message_id')
        tell(records .. other, '[[0,"merged",' .. cjson.encode({into = into}) .. ']]', true)
        leave(lane, member, due, other)
        finish(records .. other, 'CANCELLED', ARGV[17])
      end
    end
    redis.call('HSET', records .. id_of(run[#run]), 'merged', table.concat(texts, ','), 'after', '')
    return {'merged', hand_over(lane, due, lease_ms), done}
  end
  redis.call('ZADD', lane, -1, place)
end

local lease_until = now + lease_ms
redis.call('HSET', key, 'state', 'running', 'owner', owner, 'lease_until', lease_until,
  'handed', 0, 'claimed_at', now)
redis.call('ZADD', due, lease_until, id)
local how = state == 'running' and 'taken_over' or 'taken'
tell(key, '[[0,"' .. how .. '",' .. ARGV[20] .. ']]')
local mine = redis.call('HMGET', key,
  'token', 'envelope', 'answer', 'attempts', 'takeovers', 'sent', 'in_doubt', 'merged',
  'crowded', 'rerun', 'was', 'facts', 'handled_at', 'conversation')
if not state then mine[2] = false end  -- its caller has just told it
return {'claimed', mine, redis.call('EXISTS', desk .. 'kept:' .. (mine[14] or ''))}
"""
)

# KEYS: due, records. ARGV: lease ms, then task id and token of each. Returns the lost ones' places.
RENEW = (
    PRELUDE
    + """
local lost = {}
local lease_until = now + ARGV[3]
for place = 1, #KEYS - 1 do
  local id, token = ARGV[2 * place + 2], ARGV[2 * place + 3]
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

# KEYS: record. ARGV: token, answer, steps, what was said or '', where it goes.
KEEP_ANSWER = (
    PRELUDE
    + """
if not is_ours(KEYS[1], ARGV[3]) then return {0} end
redis.call('HSET', KEYS[1], 'answer', ARGV[4], 'attempts', 0)
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'said', ARGV[6], 'said_in', ARGV[7]) end
tell(KEYS[1], ARGV[5])
return {1}
"""
)

# KEYS: record, due. ARGV: token, task id, due in ms, then attempts, sent and in doubt, each or '',
# steps.
RELEASE = (
    PRELUDE
    + """
if not is_ours(KEYS[1], ARGV[3]) then return {0} end
redis.call('HSET', KEYS[1], 'state', 'waiting', 'not_before', now + ARGV[5])
redis.call('HDEL', KEYS[1], 'owner', 'lease_until')
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'attempts', ARGV[6]) end
if ARGV[7] ~= '' then redis.call('HSET', KEYS[1], 'sent', ARGV[7]) end
if ARGV[8] == '1' then redis.call('HSET', KEYS[1], 'in_doubt', 1) end
if ARGV[8] == '0' then redis.call('HDEL', KEYS[1], 'in_doubt') end
redis.call('ZADD', KEYS[2], now + ARGV[5], ARGV[4])
tell(KEYS[1], ARGV[9])
return {1}
"""
)

# KEYS: record, due. ARGV: token, task id, outcome, ttl ms, hold ms, steps, whether it counts for
# the pace or '', whether the answer has arrived or '', what was said without one or '', where that
# goes.
FINISH = (
    PRELUDE
    + LANES
    + REMEMBERING
    + """
if not is_ours(KEYS[1], ARGV[3]) then return {0} end
local found = redis.call('HMGET', KEYS[1], 'lane', 'place', 'claimed_at', 'said', 'said_in')
leave(found[1], found[2], KEYS[2], ARGV[4])
tell(KEYS[1], ARGV[8], true)
finish(KEYS[1], ARGV[5], ARGV[6])
if ARGV[10] ~= '' and ARGV[11] ~= '' then
  remember(ARGV[4], ARGV[11], ARGV[12])
elseif ARGV[10] ~= '' then
  remember(ARGV[4], found[4], found[5])
end
if ARGV[9] ~= '' then count_finished(found[3]) end
return {1, hand_over(found[1], KEYS[2], ARGV[7])}
"""
)

# KEYS: record, due, missed. ARGV: token, task id, state, ttl ms, hold ms, facts, prefix of
# conversations' answers or '' when this one must not be sent later, doubt or '', steps. One that
# was missed before, and was tried to be sent since, is as old as it was.
MISS = (
    PRELUDE
    + LANES
    + """
if not is_ours(KEYS[1], ARGV[3]) then return {0} end
local found = redis.call('HMGET', KEYS[1],
  'lane', 'place', 'conversation', 'answer', 'missed_at', 'claimed_at')
leave(found[1], found[2], KEYS[2], ARGV[4])
local missed_at = found[5] or string.format('%.0f', now)
redis.call('HDEL', KEYS[1], 'owner', 'lease_until', 'rerun', 'in_doubt', 'was', 'handled_at')
if ARGV[10] ~= '' then redis.call('HSET', KEYS[1], 'in_doubt', 1) end
redis.call('HSET', KEYS[1], 'state', 'missed', 'outcome', ARGV[5], 'facts', ARGV[8],
  'missed_at', missed_at)
tell(KEYS[1], ARGV[11], true)
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', missed_at + ARGV[6]))
redis.call('ZADD', KEYS[3], missed_at, ARGV[4])
if ARGV[9] ~= '' and found[4] and found[3] and found[3] ~= '' then
  local kept = ARGV[9] .. found[3]
  redis.call('ZADD', kept, missed_at, ARGV[4])
  redis.call('PEXPIRE', kept, ARGV[6])
end
count_finished(found[6])
return {1, hand_over(found[1], KEYS[2], ARGV[7])}
"""
)

# KEYS: due. ARGV: limit, hold ms, park ms. An id without a record was removed by hand. What waits
# behind another one need not be published to learn that.
DUE = (
    PRELUDE
    + GRACE
    + LANES
    + """
local taken = {}
local grace_until = in_grace(tonumber(ARGV[4]), true)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[3] * 10)) do
  if #taken == tonumber(ARGV[3]) then break end
  local found = redis.call('HMGET', records .. id,
    'envelope', 'answer', 'handed', 'state', 'lane', 'attempts')
  if grace_until and found[4] == 'running' then
    redis.call('ZADD', KEYS[1], grace_until, id)
  elseif found[4] == 'parked' and first_of(found[5]) ~= id then
    redis.call('ZADD', KEYS[1], now + ARGV[5], id)
  elseif found[1] then
    local handed = tonumber(found[3] or 0)
    redis.call('HSET', records .. id, 'handed', handed + 1)
    redis.call('ZADD', KEYS[1], now + ARGV[4] * (1 + handed * handed), id)
    table.insert(taken, {id, found[1], found[2] and 1 or 0, found[6]})
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
return taken
"""
)
