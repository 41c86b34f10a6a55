#!lua name=presenced_VERSION
-- The store of one daemon, as functions of the engine: a log, and snapshots that take the place of its beginning.
--
-- KEYS: 1 the state (hash), 2 the log (stream, of which entry n has the id "n-0"), and where it is about one, 3 a
-- snapshot (list of its pieces) and 4 the one before it. Every call but claim names the fence of the daemon that holds
-- the store, and nothing of another one is written.

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

local function opened(keys)
  local packed = redis.call('HGET', keys[1], 'state')
  if not packed then return nil end
  local state = { struct.unpack(COUNTERS, packed) }
  local now = now_ms()
  state[CLOCK] = state[CLOCK] + math.max(0, math.min(now - state[TIME], STEP_MS_MAX))
  state[TIME] = now
  return state
end

local function saved(keys, state, ...)
  redis.call('HSET', keys[1], 'state', struct.pack(COUNTERS, unpack(state, 1, CLEAN)), ...)
end

local function is_of(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == 'none' or found == kind
end

-- Why a function does nothing: the first command that the user of this daemon may not use on our keys; nil = it may go
-- on. It is asked before the first of several writes: what a function has written stays though its next step is refused.
local function denied(keys)
  local state, log, snapshot = keys[1], keys[2], keys[3] or keys[1]
  local commands = {
    { 'TIME' }, { 'TYPE', state }, { 'HGET', state, 'x' }, { 'HGETALL', state }, { 'HSET', state, 'x', 'x' },
    { 'EXISTS', state }, { 'XADD', log, '*', 'x', 'x' }, { 'XTRIM', log, 'MINID', '1' }, { 'RPUSH', snapshot, 'x' },
    { 'LLEN', snapshot }, { 'UNLINK', snapshot },
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

-- ARGS: nonce, holder, lease, "1" to take it over, least fence, id, epoch, "0" if what the engine had is missing in it
local function claim(keys, args)
  local nonce, holder, lease, least = args[1], args[2], tonumber(args[3]), tonumber(args[5])
  if not (is_of(keys[1], 'hash') and is_of(keys[2], 'stream')) then return redis.error_reply('FOREIGN') end
  local state = opened(keys)
  if state then
    if redis.call('HGET', keys[1], 'format') ~= FORMAT then return redis.error_reply('FOREIGN') end
    local other = redis.call('HGET', keys[1], 'holder')
    local mine = redis.call('HGET', keys[1], 'nonce') == nonce
    if other ~= '' and not mine and args[4] ~= '1' and state[CLOCK] - state[HEARD] <= state[LEASE] then
      saved(keys, state)
      return { 'held', other, state[HEARD] }
    end
  else
    if redis.call('EXISTS', keys[1], keys[2]) > 0 then return redis.error_reply('FOREIGN') end
    state = { 0, 0, now_ms(), 0, 0, 0, 0, 0, 0, 0, 1, 1 }
    redis.call('HSET', keys[1], 'format', FORMAT, 'id', args[6], 'epoch', args[7])
  end
  if args[8] == '0' then state[WHOLE] = 0 end
  local clean = state[CLEAN]
  state[FENCE] = math.max(state[FENCE], least) + 1
  state[HEARD], state[LEASE], state[CLEAN], state[BATCH] = state[CLOCK], lease, 0, 0
  saved(keys, state, 'holder', holder, 'nonce', nonce)
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
  if redis.call('HGET', keys[1], 'snapshot') == args[2] then return 'OK' end
  if redis.call('LLEN', keys[3]) ~= tonumber(args[3]) then return redis.error_reply('REWOUND ' .. state[N]) end
  state[HEARD], state[WHOLE], state[COUNTER] = state[CLOCK], 1, math.max(state[COUNTER], tonumber(args[7]))
  saved(keys, state, 'snapshot', args[2], 'pieces', args[3], 'snapshot_bytes', args[4], 'from', args[5],
    'from_bytes', args[6], 'snapshot_ms', args[8])
  redis.call('XTRIM', keys[2], 'MINID', string.format('%d-0', tonumber(args[5]) + 1))
  redis.call('UNLINK', keys[4])
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

-- Any other one. It is only told which right was lacking. 0.2 us.
local function explained(act)
  return function(keys, args)
    local is_done, reply = pcall(act, keys, args)
    if is_done then return reply end
    return denied(keys) or redis.error_reply(type(reply) == 'table' and reply.err or reply)
  end
end

redis.register_function('presenced_VERSION_claim', allowed(claim))
redis.register_function('presenced_VERSION_write', explained(write))
redis.register_function('presenced_VERSION_renew', explained(renew))
redis.register_function('presenced_VERSION_piece', explained(piece))
redis.register_function('presenced_VERSION_finish', allowed(finish))
redis.register_function('presenced_VERSION_release', explained(release))
