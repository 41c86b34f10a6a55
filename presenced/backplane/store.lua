#!lua name=presenced_VERSION
-- The store of one daemon, as functions of the engine: a log, and snapshots that take the place of its beginning.
--
-- KEYS: 1 the state (hash), 2 the log (stream, of which entry n has the id "n-0"), and where it is about one, 3 a
-- snapshot (list of its pieces) and 4 the one before it. Every call but claim names the fence of the daemon that holds
-- the store, and nothing of another one is written.
--
-- The keys are of one piece: the log has each entry behind the snapshot, and the snapshot each of its pieces. Where
-- somebody has deleted or added some of that, a call does nothing and answers BROKEN, with what is wrong. The daemon then
-- claims the store again, and saves all that it knows.

local FORMAT = 'the store of a presenced daemon, format 1; it is of one piece with the keys beside it'
local STEP_MS_MAX = 2000

-- Fence, lease clock, wall clock at the last call, last entry, last batch, bytes of the log ever, lease clock when the
-- holder was last heard of, the holder's lease, version counter, holder's wall clock at the last write, whether the
-- store is whole, whether the holder left it in order.
local COUNTERS = '>i8i8i8i8i8i8i8i8i8i8i8i8'
local FENCE, CLOCK, TIME, N, BATCH, BYTES, HEARD, LEASE, COUNTER, WALL, WHOLE, CLEAN = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The state, the lease clock brought up to now, with the entry behind which the log goes on, and the snapshot.
local function opened(keys)
  local found = redis.call('HMGET', keys[1], 'state', 'from', 'snapshot', 'pieces')
  if not found[1] then return nil end
  local state = { struct.unpack(COUNTERS, found[1]) }
  local now = now_ms()
  state[CLOCK] = state[CLOCK] + math.max(0, math.min(now - state[TIME], STEP_MS_MAX))
  state[TIME] = now
  state.from, state.snapshot, state.pieces = tonumber(found[2] or 0), found[3] or '0', tonumber(found[4] or 0)
  return state
end

local function saved(keys, state, ...)
  redis.call('HSET', keys[1], 'state', struct.pack(COUNTERS, unpack(state, 1, CLEAN)), ...)
end

local function is_of(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == 'none' or found == kind
end

-- The snapshot that counts. Who claims a store does not know its number yet, and cannot name it among the keys.
local function snapshot_of(keys, state)
  return string.format('%s:snapshot:%s', keys[1], state.snapshot)
end

-- What is missing, or too much: nil, or the words behind "the store". O(1).
local function lack(keys, state)
  local entries, due = redis.call('XLEN', keys[2]), state[N] - state.from
  if entries ~= due then return string.format('has %d entries in its log, where %d belong', entries, due) end
  if state.pieces == 0 then return end
  local pieces = redis.call('LLEN', snapshot_of(keys, state))
  if pieces ~= state.pieces then
    return string.format('has %d of the %d pieces of its snapshot', pieces, state.pieces)
  end
end

-- The same, with what costs more to see: the last entry may not be ours, and fields of the state may be gone. O(1).
local function whole_lack(keys, state)
  local found = redis.call('HMGET', keys[1], 'format', 'id', 'epoch')
  if found[1] ~= FORMAT or not found[2] or not found[3] then return 'lacks some of its state' end
  local why = lack(keys, state)
  if why or state[N] == state.from then return why end
  local last = redis.call('XREVRANGE', keys[2], '+', '-', 'COUNT', 1)[1][1]
  if last ~= string.format('%d-0', state[N]) then return 'has an entry of somebody else in its log: ' .. last end
end

-- Whether keys without a state are what is left of a store.
local function is_left_over(keys)
  if redis.call('EXISTS', keys[1]) > 0 and redis.call('HGET', keys[1], 'format') ~= FORMAT then return false end
  local first = redis.call('XRANGE', keys[2], '-', '+', 'COUNT', 1)[1]
  return not first or (string.match(first[1], '^%d+%-0$') and first[2][1] == 'w')
end

-- Why a function does nothing: the first command that the user of this daemon may not use on our keys; nil = it may go
-- on. It is asked before the first of several writes: what a function has written stays though its next step is refused.
local function denied(keys)
  local state, log, snapshot = keys[1], keys[2], keys[3] or keys[1]
  local commands = {
    { 'TIME' }, { 'TYPE', state }, { 'HGET', state, 'x' }, { 'HMGET', state, 'x' }, { 'HGETALL', state },
    { 'HSET', state, 'x', 'x' }, { 'EXISTS', state }, { 'XADD', log, '*', 'x', 'x' }, { 'XLEN', log },
    { 'XRANGE', log, '-', '+' }, { 'XREVRANGE', log, '+', '-' }, { 'XTRIM', log, 'MINID', '1' },
    { 'RPUSH', snapshot, 'x' }, { 'LLEN', snapshot }, { 'UNLINK', state, log, snapshot },
  }
  for _, command in ipairs(commands) do
    if not redis.acl_check_cmd(unpack(command)) then return redis.error_reply('NOPERM ' .. command[1]) end
  end
end

-- Whether this call may go on: nil, or the error.
local function complaint(keys, state, fence)
  if not state then return 'EMPTIED' end
  -- The engine has lost what came behind an earlier claim.
  if state[FENCE] < fence then return 'REWOUND ' .. state[N] end
  if state[FENCE] ~= fence then return 'FENCED ' .. (redis.call('HGET', keys[1], 'holder') or '') end
end

-- Drop what is not of one piece, and keep the rest, so that a daemon that ends before its next snapshot has that. The
-- log is dropped in any case: one that was added to behind its end takes no entry of ours, whatever it looks like.
local function mended(keys, state)
  local here = snapshot_of(keys, state)
  if redis.call('LLEN', here) ~= state.pieces then
    redis.call('UNLINK', here)
    redis.call('HSET', keys[1], 'pieces', 0, 'snapshot_bytes', 0)
  end
  if keys[3] ~= here then redis.call('UNLINK', keys[3]) end
  redis.call('UNLINK', keys[2])
  redis.call('HSET', keys[1], 'from', state[N], 'from_bytes', state[BYTES])
end

-- A store that is there already: why it cannot be had, or nil.
local function refusal(keys, state, args)
  local format = redis.call('HGET', keys[1], 'format')
  if format ~= FORMAT and (format or args[8] ~= 'broken') then return redis.error_reply('FOREIGN') end
  local other = redis.call('HGET', keys[1], 'holder') or ''
  local mine = redis.call('HGET', keys[1], 'nonce') == args[1]
  if other ~= '' and not mine and args[4] ~= '1' and state[CLOCK] - state[HEARD] <= state[LEASE] then
    saved(keys, state)
    return { 'held', other, state[HEARD] }
  end
  if args[8] == 'broken' then
    mended(keys, state)
  elseif args[8] == '' then
    -- Whoever lost it may be about to mend it, and an operator may have what is missing: all stays as it is.
    local why = whole_lack(keys, state)
    if why then return redis.error_reply('BROKEN ' .. why) end
  end
end

-- The state of a new store, in the place of what is left of one; or why not.
local function founded(keys, args)
  if redis.call('EXISTS', keys[1], keys[2]) > 0 then
    if not is_left_over(keys) then return nil, redis.error_reply('FOREIGN') end
    if args[8] == '' then return nil, redis.error_reply('BROKEN lacks its state, and has some of its log') end
  end
  redis.call('UNLINK', keys[1], keys[2], keys[3])
  redis.call('HSET', keys[1], 'format', FORMAT, 'id', args[6], 'epoch', args[7])
  return { 0, 0, now_ms(), 0, 0, 0, 0, 0, 0, 0, 1, 1 }
end

-- KEYS: 3 the snapshot that the caller takes for the one that counts.
-- ARGS: nonce, holder, lease, "1" to take it over, least fence, id, epoch, and what of all that the caller has saved is
-- missing: "" (nothing that it knows of), "end" (the engine has lost the newest, or all) or "broken" (BROKEN was answered)
local function claim(keys, args)
  if not (is_of(keys[1], 'hash') and is_of(keys[2], 'stream')) then return redis.error_reply('FOREIGN') end
  local state, why = opened(keys), nil
  if state then why = refusal(keys, state, args) else state, why = founded(keys, args) end
  if why then return why end
  if args[8] ~= '' then
    state[WHOLE] = 0
    redis.call('HSET', keys[1], 'format', FORMAT, 'id', args[6], 'epoch', args[7])
  end
  local clean = state[CLEAN]
  state[FENCE] = math.max(state[FENCE], tonumber(args[5])) + 1
  state[HEARD], state[LEASE], state[CLEAN], state[BATCH] = state[CLOCK], tonumber(args[3]), 0, 0
  saved(keys, state, 'holder', args[2], 'nonce', args[1])
  return { 'yours', state[FENCE], state[N], state[BYTES], state[COUNTER], state[WALL], state[WHOLE], clean,
    redis.call('HGETALL', keys[1]) }
end

-- ARGS: fence, batch, last entry as the caller knows it, wall clock, data
local function write(keys, args)
  local state, batch = opened(keys), tonumber(args[2])
  local why = complaint(keys, state, tonumber(args[1]))
  if why then return redis.error_reply(why) end
  if batch <= state[BATCH] then return state[N] end
  if state[N] ~= tonumber(args[3]) then return redis.error_reply('REWOUND ' .. state[N]) end
  why = lack(keys, state)
  if why then return redis.error_reply('BROKEN ' .. why) end
  -- The entry stays though its number cannot be saved, and no other could take its place.
  if not redis.acl_check_cmd('HSET', keys[1], 'x', 'x') then return redis.error_reply('NOPERM HSET') end
  local n = state[N] + 1
  redis.call('XADD', keys[2], string.format('%d-0', n), 'w', args[4], 'd', args[5])
  state[N], state[BATCH], state[BYTES] = n, batch, state[BYTES] + #args[5]
  state[HEARD], state[WALL] = state[CLOCK], tonumber(args[4])
  saved(keys, state)
  return n
end

-- ARGS: fence, last entry as the caller knows it, version (0 = as it is), times of the last starts ("" = as they are)
local function renew(keys, args)
  local state = opened(keys)
  local why = complaint(keys, state, tonumber(args[1]))
  if why then return redis.error_reply(why) end
  if state[N] ~= tonumber(args[2]) then return redis.error_reply('REWOUND ' .. state[N]) end
  why = whole_lack(keys, state)
  if why then return redis.error_reply('BROKEN ' .. why) end
  state[HEARD] = state[CLOCK]
  if args[3] ~= '0' then state[COUNTER] = tonumber(args[3]) end
  if args[4] ~= '' then saved(keys, state, 'starts', args[4]) else saved(keys, state) end
  return 'OK'
end

-- ARGS: fence, number of the piece, data
local function piece(keys, args)
  local state, number = opened(keys), tonumber(args[2])
  local why = complaint(keys, state, tonumber(args[1]))
  if why then return redis.error_reply(why) end
  -- What a daemon has left there that ended before its end.
  if number == 0 then redis.call('UNLINK', keys[3]) end
  local there = redis.call('LLEN', keys[3])
  if there == number then
    redis.call('RPUSH', keys[3], args[3])
  elseif there ~= number + 1 then
    return redis.error_reply('REWOUND ' .. state[N])
  end
  state[HEARD] = state[CLOCK]
  saved(keys, state)
  return 'OK'
end

-- ARGS: fence, number of the snapshot, its pieces, its bytes, the entry behind which the log goes on, bytes of the log
-- ever up to there, version, wall clock
local function finish(keys, args)
  local state = opened(keys)
  local why = complaint(keys, state, tonumber(args[1]))
  if why then return redis.error_reply(why) end
  if state.snapshot == args[2] then return 'OK' end
  local from = tonumber(args[5])
  -- Some of the log that goes with it is lost, or some of itself.
  if from < state.from or from > state[N] or redis.call('LLEN', keys[3]) ~= tonumber(args[3]) then
    return redis.error_reply('REWOUND ' .. state[N])
  end
  state[HEARD], state[WHOLE], state[COUNTER] = state[CLOCK], 1, math.max(state[COUNTER], tonumber(args[7]))
  saved(keys, state, 'snapshot', args[2], 'pieces', args[3], 'snapshot_bytes', args[4], 'from', args[5],
    'from_bytes', args[6], 'snapshot_ms', args[8])
  redis.call('XTRIM', keys[2], 'MINID', string.format('%d-0', from + 1))
  redis.call('UNLINK', keys[4])
  return 'OK'
end

-- ARGS: fence
local function drop(keys, args)
  local state = opened(keys)
  local why = complaint(keys, state, tonumber(args[1]))
  if why then return redis.error_reply(why) end
  if keys[3] ~= snapshot_of(keys, state) then redis.call('UNLINK', keys[3]) end
  return 'OK'
end

-- ARGS: fence, version
local function release(keys, args)
  local state = opened(keys)
  local why = complaint(keys, state, tonumber(args[1]))
  if why then return redis.error_reply(why) end
  state[COUNTER], state[CLEAN] = tonumber(args[2]), 1
  saved(keys, state, 'holder', '')
  return 'OK'
end

-- A function with several writes that cannot be done twice, asked for seldom. 11 us.
local function allowed(act)
  return function(keys, args) return denied(keys) or act(keys, args) end
end

-- Any other one. It is only told which right was lacking, or that its entry has no place behind the last. 0.2 us.
local function explained(act)
  return function(keys, args)
    local is_done, reply = pcall(act, keys, args)
    if is_done then return reply end
    local why = type(reply) == 'table' and reply.err or reply
    if string.find(why, 'equal or smaller', 1, true) or string.find(why, 'exhausted', 1, true) then
      return redis.error_reply('BROKEN takes no entry behind the last of its log')
    end
    return denied(keys) or redis.error_reply(why)
  end
end

redis.register_function('presenced_VERSION_claim', allowed(claim))
redis.register_function('presenced_VERSION_write', explained(write))
redis.register_function('presenced_VERSION_renew', explained(renew))
redis.register_function('presenced_VERSION_piece', explained(piece))
-- These two free memory, and are executed where there is none.
redis.register_function{
  function_name = 'presenced_VERSION_finish', callback = allowed(finish), flags = { 'allow-oom' },
}
redis.register_function{
  function_name = 'presenced_VERSION_drop', callback = explained(drop), flags = { 'allow-oom' },
}
redis.register_function('presenced_VERSION_release', explained(release))
