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

local function first_of(keys)
  return redis.call('XRANGE', keys[2], '-', '+', 'COUNT', 1)[1]
end

local function rewound(keys, log)
  local first, last = first_of(keys), id_of(log.n, log.tag)
  return 'REWOUND ' .. (first and first[1] or last) .. ' ' .. last
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

-- The bytes of all entries before this one; nil or false = it is none of ours.
local function bytes_before(entry)
  return entry[2][1] == 'h' and tonumber(string.match(entry[2][2], '^[bjg] %d+ %d+ (%d+) %d+%-%d+ '))
end

local function dropped_up_to(keys, log, n)
  redis.call('XTRIM', keys[2], 'MINID', n)
  local first = first_of(keys)
  if first then log.dropped = bytes_before(first) end
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

-- Why a function does nothing: the first of these commands that the user of this node may not use; nil = it may go on.
-- It is asked before the first of several writes: what a function has written stays though its next step is refused.
local function denial(commands)
  for _, command in ipairs(commands) do
    if not redis.acl_check_cmd(unpack(command)) then return redis.error_reply('NOPERM ' .. command[1]) end
  end
end

-- That of what every node needs that lives. 10 us.
local function denied(keys)
  local state, log, nodes = keys[1], keys[2], keys[3]
  return denial({
    { 'TIME' }, { 'HMGET', state, 'x' }, { 'HSET', state, 'x', 'x' }, { 'HDEL', state, 'x' }, { 'HDEL', nodes, 'x' },
    { 'HGETALL', nodes }, { 'XADD', log, '*', 'x', 'x' }, { 'XRANGE', log, '-', '+' }, { 'XLEN', log },
    { 'XTRIM', log, 'MINID', '1' }, { 'XREVRANGE', log, '+', '-' },
  })
end

-- That of what a node needs besides that joins, or that finds a log of which something is missing.
local function denied_to_begin(keys)
  local state, log, nodes = keys[1], keys[2], keys[3]
  return denial({
    { 'TYPE', state }, { 'EXISTS', state }, { 'HGETALL', state }, { 'HGET', state, 'x' }, { 'HSET', nodes, 'x', 'x' },
    { 'UNLINK', state, log, nodes },
  })
end

-- Whether the keys are of one piece: the log has all that was not dropped and nothing else, and these nodes are among
-- those that live. Somebody may have deleted one of the keys, or written to the log.
local function is_whole(keys, log, names)
  local first, last = first_of(keys), redis.call('XREVRANGE', keys[2], '+', '-', 'COUNT', 1)[1]
  if not first or (bytes_before(first) or log.bytes) > log.dropped then return false end
  if last[1] ~= id_of(log.n, log.tag) then return false end
  local nodes, known = redis.call('HGETALL', keys[3]), {}
  for i = 1, #nodes, 2 do known[nodes[i]] = true end
  for _, name in ipairs(names) do
    if not known[name] then return false end
  end
  return true
end

-- The nodes of which the state has a record.
local function recorded(keys)
  local fields, names = redis.call('HGETALL', keys[1]), {}
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 1) == '@' then names[#names + 1] = string.sub(fields[i], 2) end
  end
  return names
end

-- Whether keys without a state are what is left of a log of ours. A node that has lived here knows that.
local function is_left_over(keys, least)
  local first = first_of(keys)
  if first then return bytes_before(first) and true end
  return least > 0
end

-- Of a log that is not of one piece any more nothing is kept: its nodes fill it again, as an engine that was emptied.
local function forgotten(keys)
  redis.call('UNLINK', keys[1], keys[2], keys[3])
  return redis.error_reply('EMPTIED')
end

-- Begin a history where there is none.
local function founded(keys, log, wall_epoch, random)
  log.history = string.sub(redis.sha1hex('history:' .. random), 1, 16)
  log.fence, log.clock, log.n, log.tag, log.bytes, log.dropped = 0, 0, 0, 0, 0, 0
  redis.call('HSET', keys[1], 'format', FORMAT, 'history', log.history, 'epoch', wall_epoch)
end

-- ARGS: node, nonce, least, wall epoch, lease, random, data
local function join(keys, args)
  local node, nonce, least, random = args[1], tonumber(args[2]), tonumber(args[3]), args[6]
  local why = denied(keys) or denied_to_begin(keys)
  if why then return why end
  if not (is_of(keys[1], 'hash') and is_of(keys[2], 'stream') and is_of(keys[3], 'hash')) then
    return redis.error_reply('FOREIGN')
  end
  local found = redis.call('HMGET', keys[1], 'format', 'state')
  local is_ours = found[1] == FORMAT and found[2]
  if not is_ours and redis.call('EXISTS', keys[1], keys[2], keys[3]) > 0 then
    if redis.call('EXISTS', keys[1]) > 0 or not is_left_over(keys, least) then return redis.error_reply('FOREIGN') end
    forgotten(keys)
  end
  local log, record = opened(keys, node, 'format')
  if log.history and not is_whole(keys, log, recorded(keys)) then
    forgotten(keys)
    log, record = opened(keys, node, 'format')
  end
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
  return told(living(keys), { record[INCARNATION], log.history, epoch, joined, log.clock })
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
  if not redis.acl_check_cmd('HSET', keys[1], 'x', 'x') then return redis.error_reply('NOPERM HSET') end
  if batch > record[BATCH] then
    add(keys, log, 'b', node, incarnation, tonumber(args[7]), args[8])
    record[BATCH], record[BATCH_N], record[BATCH_TAG] = batch, log.n, log.tag
    if log.bytes - log.dropped > LOG_BYTES_MAX and not denied(keys) then bounded(keys, log) end
  end
  saved(keys, log, node, record)
  return id_of(record[BATCH_N], record[BATCH_TAG])
end

-- ARGS: node, incarnation, history, n read, its id, random
local function renew(keys, args)
  local why = denied(keys)
  if why then return why end
  local node, incarnation, read_n = args[1], tonumber(args[2]), tonumber(args[4])
  local log, record, kept = opened(keys, node, 't' .. read_n % TAGS)
  if log.history == args[3] and not is_whole(keys, log, record and { node } or {}) then
    return denied_to_begin(keys) or forgotten(keys)
  end
  why = complaint(keys, log, args[3], record, incarnation, read_n, args[5], kept)
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
  return told(stay, { log.clock, log.now, id_of(log.n, log.tag) })
end

-- ARGS: node, incarnation, history, random
local function leave(keys, args)
  local why = denied(keys)
  if why then return why end
  local log, record = opened(keys, args[1], 'format')
  if log.history == args[3] and record and record[INCARNATION] == tonumber(args[2]) then
    record[HEARD] = log.clock
    bury(keys, log, args[1], record, args[4], true)
    saved(keys, log)
  end
  return 'OK'
end

-- An append looks at the right to its second step alone, 1 us, and costs 0.2 us more, so that a refused first step is
-- named. That step also fails where somebody else has written to the log.
local function append_or_why(keys, args)
  local is_done, reply = pcall(append, keys, args)
  if is_done then return reply end
  local why = type(reply) == 'table' and reply.err or reply
  if string.find(why, 'equal or smaller', 1, true) then return denied_to_begin(keys) or forgotten(keys) end
  return denied(keys) or redis.error_reply(why)
end

redis.register_function('presenced_VERSION_join', join)
redis.register_function('presenced_VERSION_append', append_or_why)
redis.register_function('presenced_VERSION_renew', renew)
redis.register_function('presenced_VERSION_leave', leave)
