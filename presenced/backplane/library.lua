#!lua name=presenced_VERSION
-- The log of a cluster, as functions of the engine: what one of them does happens at once or not at all.
--
-- KEYS: 1 the state (hash), 2 the log (stream, of which the id of entry n is "n-TAG"), 3 the nodes that live (hash of
-- name to what they gave to join). The state holds the history, the counters (field "state"), the ids of the last
-- entries ("t0" to "t127"), and a record for each node that lives ("@NAME"). Counters and records are numbers of eight
-- bytes: what is written with every append is packed, since each number in text costs the engine half a microsecond.

-- Longer than 64 bytes, so that the state is a hash table from the start: no search through a list.
local FORMAT = 'the log of a presenced cluster, format 1; it is of one piece with the keys beside it'
local STEP_MS_MAX = 2000
local TAGS = 128
local LOG_BYTES_MAX = 268435456
local ENTRY_BYTES = 64

-- Fence, lease clock, wall clock at the last call, number and tag of the last entry, bytes appended and dropped.
local COUNTERS = '>i8i8i8i8i8i8i8'

-- Of a record: incarnation, lease clock at its last call, lease, last batch, number and tag of that one's entry, position
-- read, number and tag of its "joined" entry, nonce.
local RECORD = '>i8i8i8i8i8i8i8i8i8i8'
local INCARNATION, HEARD, LEASE, BATCH, BATCH_N, BATCH_TAG, READ_N, JOINED_N, JOINED_TAG, NONCE =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function id_of(n, tag)
  return string.format('%d-%d', n, tag)
end

-- The tag of an entry that no caller has chosen one for.
local function derived_tag(random, n)
  return tonumber(string.sub(redis.sha1hex(string.format('%s:%d', random, n)), 1, 13), 16)
end

-- The state as it is, the lease clock brought up to now, the record of a node, and one more field.
local function opened(keys, node, field)
  local found = redis.call('HMGET', keys[1], 'history', 'state', '@' .. node, field)
  local log = { history = found[2] and found[1], now = now_ms(), writes = {} }
  if not found[2] then return log end
  local before
  log.fence, log.clock, before, log.n, log.tag, log.bytes, log.dropped = struct.unpack(COUNTERS, found[2])
  local passed = log.now - before
  if passed > STEP_MS_MAX then passed = STEP_MS_MAX end
  if passed > 0 then log.clock = log.clock + passed end
  return log, found[3] and { struct.unpack(RECORD, found[3]) }, found[4]
end

local function saved(keys, log, node, record)
  local writes = log.writes
  local counters = struct.pack(COUNTERS, log.fence, log.clock, log.now, log.n, log.tag, log.bytes, log.dropped)
  if record then
    redis.call('HSET', keys[1], 'state', counters, '@' .. node, struct.pack(RECORD, unpack(record, 1, NONCE)),
      unpack(writes))
  else
    redis.call('HSET', keys[1], 'state', counters, unpack(writes))
  end
end

-- The head of an entry: kind, incarnation, lease clock, bytes of all entries before it, the id of the one before it,
-- node.
local function add(keys, log, kind, node, incarnation, tag, data)
  local head = string.format('%s %d %d %d %d-%d %s', kind, incarnation, log.clock, log.bytes, log.n, log.tag, node)
  log.n, log.tag = log.n + 1, tag
  local id = id_of(log.n, tag)
  redis.call('XADD', keys[2], id, 'h', head, 'd', data)
  log.bytes = log.bytes + #head + #data + ENTRY_BYTES
  log.writes[#log.writes + 1] = 't' .. log.n % TAGS
  log.writes[#log.writes + 1] = id
end

local function bury(keys, log, node, record, random, voluntary)
  log.fence = log.fence + 1
  local data = cmsgpack.pack({ log.fence, record[HEARD], voluntary })
  add(keys, log, 'g', node, record[INCARNATION], derived_tag(random, log.n + 1), data)
  redis.call('HDEL', keys[1], '@' .. node)
  redis.call('HDEL', keys[3], node)
end

-- Whether the log holds this entry; nil = it may have, and dropped it.
local function holds(keys, log, n, id, kept)
  if kept == id then return true end
  if n > log.n then return false end
  local found = redis.call('XRANGE', keys[2], n, n, 'COUNT', 1)
  if found[1] then return found[1][1] == id end
  -- Dropped, but its id is kept still, and is another one.
  local prefix = string.format('%d-', n)
  if kept and string.sub(kept, 1, #prefix) == prefix then return false end
  return nil
end

local function rewound(keys, log)
  local first = redis.call('XRANGE', keys[2], '-', '+', 'COUNT', 1)
  local last = id_of(log.n, log.tag)
  return 'REWOUND ' .. (first[1] and first[1][1] or last) .. ' ' .. last
end

-- Why a call of this incarnation, which has seen this entry, is not executed.
local function complaint(keys, log, history, record, incarnation, seen_n, seen, kept)
  if log.history ~= history then return 'EMPTIED' end
  local held = holds(keys, log, seen_n, seen, kept)
  if held == false then return rewound(keys, log) end
  if not record or record[INCARNATION] ~= incarnation then
    return string.format('FENCED %d', record and record[INCARNATION] or 0)
  end
  if held == nil then return rewound(keys, log) end
end

local function dropped_up_to(keys, log, n)
  redis.call('XTRIM', keys[2], 'MINID', n)
  local first = redis.call('XRANGE', keys[2], '-', '+', 'COUNT', 1)
  if first[1] then log.dropped = tonumber(string.match(first[1][2][2], '^%a %d+ %d+ (%d+) ')) end
end

-- A quarter at a time, of what even nobody has read.
local function bounded(keys, log)
  while log.bytes - log.dropped > LOG_BYTES_MAX do
    local length = redis.call('XLEN', keys[2])
    if length < 2 then return end
    dropped_up_to(keys, log, log.n - length + 1 + math.max(1, math.floor(length / 4)))
  end
end

-- Names and records of those who live, by incarnation.
local function living(keys)
  local nodes = redis.call('HGETALL', keys[3])
  local fields, found = {}, {}
  for i = 1, #nodes, 2 do fields[#fields + 1] = '@' .. nodes[i] end
  if #fields == 0 then return found end
  local records = redis.call('HMGET', keys[1], unpack(fields))
  for i = 1, #records do
    if records[i] then
      found[#found + 1] = { name = nodes[2 * i - 1], data = nodes[2 * i], record = { struct.unpack(RECORD, records[i]) } }
    end
  end
  table.sort(found, function(one, other) return one.record[INCARNATION] < other.record[INCARNATION] end)
  return found
end

local function told(nodes, reply)
  for _, node in ipairs(nodes) do
    local record = node.record
    reply[#reply + 1] = { node.name, record[INCARNATION], record[HEARD] + record[LEASE], record[READ_N], node.data }
  end
  return reply
end

local function is_of(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == 'none' or found == kind
end

-- The first command that the user of this node may not use on our keys, lest a function ends half way.
local function forbidden(keys)
  local state, log, nodes = keys[1], keys[2], keys[3]
  local commands = {
    { 'TIME' }, { 'TYPE', state }, { 'HMGET', state, 'x' }, { 'HSET', state, 'x', 'x' }, { 'HDEL', state, 'x' },
    { 'HGETALL', nodes }, { 'HSET', nodes, 'x', 'x' }, { 'HDEL', nodes, 'x' }, { 'EXISTS', state },
    { 'XADD', log, '*', 'x', 'x' }, { 'XRANGE', log, '-', '+' }, { 'XLEN', log }, { 'XTRIM', log, 'MINID', '1' },
  }
  for _, command in ipairs(commands) do
    if not redis.acl_check_cmd(unpack(command)) then return command[1] end
  end
end

-- Begin a history where there is none. Whatever else there may be is somebody's: it is left alone.
local function founded(keys, log, wall_epoch, random)
  log.history = string.sub(redis.sha1hex('history:' .. random), 1, 16)
  log.fence, log.clock, log.n, log.tag, log.bytes, log.dropped = 0, 0, 0, 0, 0, 0
  redis.call('HSET', keys[1], 'format', FORMAT, 'history', log.history, 'epoch', wall_epoch)
end

-- ARGS: node, nonce, least, wall epoch, lease, random, data
local function join(keys, args)
  local node, nonce, least, random = args[1], tonumber(args[2]), tonumber(args[3]), args[6]
  local command = forbidden(keys)
  if command then return redis.error_reply('NOPERM ' .. command) end
  if not (is_of(keys[1], 'hash') and is_of(keys[2], 'stream') and is_of(keys[3], 'hash')) then
    return redis.error_reply('FOREIGN')
  end
  local format = redis.call('HMGET', keys[1], 'format', 'state')
  if format[1] ~= FORMAT or not format[2] then
    if redis.call('EXISTS', keys[1], keys[2], keys[3]) > 0 then return redis.error_reply('FOREIGN') end
  end
  local log, record = opened(keys, node, 'format')
  if not log.history then founded(keys, log, args[4], random) end
  if record and record[NONCE] == nonce then
    record[HEARD] = log.clock
  else
    if record then bury(keys, log, node, record, random, false) end
    log.fence = math.max(log.fence, least) + 1
    add(keys, log, 'j', node, log.fence, derived_tag(random, log.n + 1), args[7])
    record = { log.fence, log.clock, tonumber(args[5]), -1, 0, 0, log.n, log.n, log.tag, nonce }
    redis.call('HSET', keys[3], node, args[7])
    bounded(keys, log)
  end
  saved(keys, log, node, record)
  local epoch, joined = tonumber(redis.call('HMGET', keys[1], 'epoch')[1]), id_of(record[JOINED_N], record[JOINED_TAG])
  return told(living(keys), { record[INCARNATION], log.history, epoch, joined, log.clock, log.now })
end

-- ARGS: node, incarnation, history, batch, n seen, its id, tag, data
local function append(keys, args)
  local node, incarnation, batch, seen_n = args[1], tonumber(args[2]), tonumber(args[4]), tonumber(args[5])
  local log, record, kept = opened(keys, node, 't' .. seen_n % TAGS)
  local why = complaint(keys, log, args[3], record, incarnation, seen_n, args[6], kept)
  if why then return redis.error_reply(why) end
  -- The log has lost the one before it, which its node may have been told is in it.
  if record[BATCH] >= 0 and batch > record[BATCH] + 1 then return redis.error_reply(rewound(keys, log)) end
  record[HEARD] = log.clock
  if batch > record[BATCH] then
    add(keys, log, 'b', node, incarnation, tonumber(args[7]), args[8])
    record[BATCH], record[BATCH_N], record[BATCH_TAG] = batch, log.n, log.tag
    if log.bytes - log.dropped > LOG_BYTES_MAX then bounded(keys, log) end
  end
  saved(keys, log, node, record)
  return id_of(record[BATCH_N], record[BATCH_TAG])
end

-- ARGS: node, incarnation, history, n read, its id, random
local function renew(keys, args)
  local node, incarnation, read_n = args[1], tonumber(args[2]), tonumber(args[4])
  local log, record, kept = opened(keys, node, 't' .. read_n % TAGS)
  local why = complaint(keys, log, args[3], record, incarnation, read_n, args[5], kept)
  if why then return redis.error_reply(why) end
  record[HEARD], record[READ_N] = log.clock, read_n
  local least, stay = read_n, {}
  for _, other in ipairs(living(keys)) do
    if other.name == node then other.record = record end
    if log.clock - other.record[HEARD] > other.record[LEASE] then
      bury(keys, log, other.name, other.record, args[6], false)
    else
      least = math.min(least, other.record[READ_N])
      stay[#stay + 1] = other
    end
  end
  dropped_up_to(keys, log, least)
  bounded(keys, log)
  saved(keys, log, node, record)
  return told(stay, { record[LEASE], log.clock, log.now, id_of(log.n, log.tag) })
end

-- ARGS: node, incarnation, history, random
local function leave(keys, args)
  local log, record = opened(keys, args[1], 'format')
  if log.history == args[3] and record and record[INCARNATION] == tonumber(args[2]) then
    record[HEARD] = log.clock
    bury(keys, log, args[1], record, args[4], true)
    saved(keys, log)
  end
  return 'OK'
end

redis.register_function('presenced_VERSION_join', join)
redis.register_function('presenced_VERSION_append', append)
redis.register_function('presenced_VERSION_renew', renew)
redis.register_function('presenced_VERSION_leave', leave)
