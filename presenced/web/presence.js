/**
 * A client of presenced for browsers and Node: who is online, told at once. `presence.d.ts` has every call.
 *
 *     import { connect } from "/client/presence.js";
 *     const presence = await connect({ token: fetchToken });
 *     for await (const { user, record } of presence.watch(["bob"])) show(user, record.status, record.text);
 *
 * Names and texts are what people wrote: show them as text, never as HTML. The sections: values, events and views, one
 * link after the other, records of users, contacts, channels, the person's device, the client. What is private is held
 * in closures: nothing outside can reach a token, and a minifier shortens the names.
 */

// --- values -----------------------------------------------------------------------------------------------------------

const NAMES_MAX = 256; // in one request
const LISTED_MAX = 1000; // members of a channel that are listed; of a larger one the total is exact
const BACKOFF_MS = 100;
const BACKOFF_MS_MAX = 20_000;
const LASTED_MS = 10_000; // a link that lasted this long makes the backoff begin anew
const PROBE_MS = 5000; // how long a ping may go unanswered where there is reason to doubt the connection

const page = globalThis.document; // undefined in Node
const words = (text) => text.split(" ");
// The goodbyes that time does not heal (protocol.md, section 8), by as much of each as tells it from the others there.
const FINAL = /^(bad_(frame|hello|version|token)|frame_too|hello_r|replaced|token_(ex|re))/;
const RECORD = words("user status text emoji sinceMs lastSeenMs device version");
const DEVICE = words("device kind name status state priority lastActiveMs lastSeenMs primary meta focus");
const CLAIM = words("claim source status sinceMs untilMs device");
const CONTACT = words("user subscription asked asks approved name groups note");

class PresenceError extends Error {
  constructor(code, message, temporary = false, retryMs = 0) {
    super(message);
    Object.assign(this, { name: "PresenceError", code, temporary, retryMs });
  }
}

const passing = (code, message) => new PresenceError(code, message, true);
const refusal = (message) => new PresenceError("bad_request", message);
const closedError = () => new PresenceError("closed", "it is closed");

const made = (fields, values) => Object.freeze(Object.fromEntries(fields.map((field, at) => [field, values[at]])));
const recordOf = (values) => made(RECORD, values);
const hidden = (user) => [user, "offline", "", "", 0, 0, "", 0];

/** The clock: milliseconds that never run backwards, and that go on while the machine sleeps. */
let wallAhead = Date.now() - performance.now();
let sleptMs = 0;
function now() {
  const monotonic = performance.now();
  const jump = Date.now() - monotonic - wallAhead;
  if (Math.abs(jump) > 1000) {
    wallAhead += jump;
    sleptMs += Math.max(0, jump);
  }
  return monotonic + sleptMs;
}

const bytesOf = (text) => new TextEncoder().encode(text);

/** The digest of a record's contents (protocol.md, 6.6): how the server is told what this client has. */
function digestOf(record) {
  if (!record?.version) return 0;
  const [user, status, ...others] = RECORD.slice(0, 7).map((field) => record[field]);
  if (status === "offline" && !others.some(Boolean)) return 0;
  let crc = -1;
  for (const byte of bytesOf([user, status, ...others].join("\0"))) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return ~crc >>> 0 || 1;
}

/** How two records of a user differ for who looks at them. Times alone are no difference. */
function kindOf(old, record) {
  if (!old) return "snapshot";
  if (old.status !== record.status)
    return record.status === "offline" ? "offline" : old.status === "offline" ? "online" : "status";
  if (old.text !== record.text || old.emoji !== record.emoji) return "text";
  return old.device !== record.device && "device";
}

/** A message as JSON. Refuses what the server could not read, so that a slip in one call harms no other. */
function written(message) {
  const text = JSON.stringify(message, (_, value) => {
    // A lone surrogate (Cs) is half of a character.
    const isText = typeof value === "string" && !/\p{Cs}/u.test(value);
    if (isText || Array.isArray(value) || Number.isSafeInteger(value) || [null, true, false].includes(value)) return value;
    throw refusal(`${String(value)} cannot be sent`);
  });
  if (bytesOf(text).length > 65_536) throw refusal("it is over 64 KiB");
  return text;
}

// Who names nobody is refused: it is a slip.
const listOf = (users) => [...new Set(typeof users === "string" ? [users] : (users ?? [users]))];

const chunks = (list, size) => (list.length ? [list.slice(0, size), ...chunks(list.slice(size), size)] : []);

// --- events and views -------------------------------------------------------------------------------------------------

/** What the application's own code throws must not stop what this client does. */
const report = (error) => (globalThis.reportError ?? console.error)(error);

function makeEvents() {
  const listeners = new Set();
  return {
    on(event, listener) {
      const entry = { event, listener };
      listeners.add(entry);
      return () => void listeners.delete(entry);
    },
    emit(event, value) {
      for (const entry of [...listeners]) {
        if (entry.event !== event || !listeners.has(entry)) continue;
        (async () => entry.listener(value))().catch(report);
      }
    },
    isHeard: () => listeners.size > 0,
  };
}

/** Records of some users and what happens to them. `changeOf` makes a change of a step, `released` is called at the end.
 *  A reader that falls behind is told the latest of each user, once. */
function makeView(changeOf, released) {
  const { on, emit, isHeard } = makeEvents();
  const queues = new Set();
  const records = new Map();
  let settle, fail;
  const ready = new Promise((resolve, reject) => ([settle, fail] = [resolve, reject]));
  ready.catch(() => {});
  const inner = {
    records,
    settle,
    isOver: false,
    emit,
    step(user, old, record, isFirst) {
      for (const queue of queues) queue.put(user, old, record, isFirst);
      const change = changeOf(user, old, record, isFirst);
      if (change) emit("change", change);
    },
    finish(error) {
      if (inner.isOver) return;
      inner.isOver = true;
      view.error = error;
      fail(error ?? closedError());
      for (const queue of queues) queue.wake();
      released();
      emit("end", error);
    },
  };
  const view = (inner.view = {
    records,
    ready,
    error: null,
    on,
    get: (user) => records.get(user),
    close: () => inner.finish(null),
    async *[Symbol.asyncIterator]() {
      const steps = new Map();
      const queue = {
        wake() {},
        put(user, old, record, isFirst) {
          steps.set(user, [steps.has(user) ? steps.get(user)[0] : old, record, isFirst]);
          queue.wake();
        },
      };
      for (const [user, record] of records) queue.put(user, undefined, record, true);
      queues.add(queue);
      try {
        for (;;) {
          const [next] = steps;
          if (next) {
            steps.delete(next[0]);
            const change = changeOf(next[0], ...next[1]);
            if (change) yield change;
          } else if (inner.isOver) {
            if (view.error) throw view.error;
            return;
          } else await new Promise((wake) => (queue.wake = wake));
        }
      } finally {
        queues.delete(queue);
        if (!queues.size && !isHeard()) view.close();
      }
    },
  });
  return inner;
}

const userChange = (user, old, record) => {
  const kind = kindOf(old, record);
  return kind && { kind, user, record, old };
};

// --- one link after the other -----------------------------------------------------------------------------------------

/** Calls back after a time, also while the page is in the background: there a worker wakes it, whose timers are not
 *  throttled to one a minute. */
function makeAlarm(call) {
  let timer, worker;
  let at = Infinity;
  const ring = () => {
    at = Infinity;
    call();
  };
  return {
    set(when) {
      // What is due already has a timer that waits for longer: the clock went on while the machine slept.
      if (when >= at && at > now()) return;
      at = when;
      clearTimeout(timer);
      const ms = Math.min(at - now(), 1e9); // beyond 2^31 a timer fires at once
      timer = setTimeout(ring, ms);
      if (!page?.hidden) return;
      try {
        if (!worker) {
          const source = "onmessage=e=>setTimeout(postMessage,e.data,0)";
          worker = new Worker(URL.createObjectURL(new Blob([source])));
          worker.onmessage = ring;
        }
        worker.postMessage(ms);
      } catch {
        // The page's policy forbids it: the throttled timers have to do.
      }
    },
    stop() {
      clearTimeout(timer);
      worker?.terminate();
    },
    /** Call back now. The next timer is made anew: the page may have gone to the background. */
    ring,
  };
}

/** What one client says and hears over all its links: connects, beats, comes back, and matches replies to requests. */
function makeSession(options, device, input) {
  const { url, token, timeout } = options;
  const makesTokens = typeof token === "function";
  const instance = Math.floor(Math.random() * 2 ** 53) || 1;
  const pending = new Map();
  let welcome, socket, first, closed, shownToken, toldFocus;
  let resume = ""; // by it the server gives back what the last link watched
  let attempt = 0; // number of the attempt or link under way: what belongs to another is ignored
  let isEarly = false; // the server's clock will find the last token good
  let isAgain = false; // the device was connected before
  let failures = 0, lastId = 0, clockMs = 0, notBefore = 0, openedAt, toldInputAt;
  let heardAt = 0, beatenAt, beatAt, pingedUntil, attemptUntil, retryAt, renewAt;
  const rest = () => (beatAt = attemptUntil = retryAt = renewAt = pingedUntil = Infinity);
  rest();

  const session = {
    state: "connecting",
    error: null,
    link: 0, // its number
    parts: [], // called on each new link, to put in place again what they need there
    pushes: {}, // handlers by type of message
    told() {}, // called at each change of the state
    isQuiet: () => false, // whether the records of the contacts are known from an earlier link
    timeMs: () => clockMs + now(), // the server's, off by up to the network's delay
    user: () => welcome?.[2],
    parted: (users) => chunks(users, Math.min(welcome?.[11] || NAMES_MAX, NAMES_MAX)),
    ask,
    say,
    /** The same for what takes something back. Without a link the next one begins with nothing. */
    unsay: (...message) => (isOnline() ? say(message) : (resume = "")),
    send,
    setFocus,
    doubt,
    start: () => new Promise((resolve, reject) => (first = { resolve, reject }) && connectOnce()),
    close,
  };
  const isOnline = () => session.state === "online";
  const alarm = makeAlarm(tick);
  input.told = noticed;

  // --- requests

  /** A promise of the reply to a request, an array. `make` gives the message without its id: anew on each link. */
  function ask(make, onReply, waitMs = timeout) {
    return new Promise((resolve, reject) => {
      if (session.state === "closed") throw session.error ?? closedError();
      open({ make, onReply, resolve, reject, waitMs });
    });
  }

  /** A request that nobody waits for; without a link it is dropped. */
  function say(message, onReply) {
    if (isOnline()) open({ make: () => message, onReply, waitMs: Infinity });
  }

  /** A message that has no reply; without a link it is dropped. */
  function send(...message) {
    if (isOnline()) socket.send(written(message));
  }

  function open(request) {
    const [type, ...fields] = request.make();
    do lastId = (lastId % 0xffffffff) + 1;
    while (pending.has(lastId));
    request.text = written([+type, lastId, ...fields]); // what is no number would cost the link
    request.isLong = type === 59; // an await may be answered days later
    request.isSent = false;
    request.until = now() + request.waitMs;
    pending.set(lastId, request);
    alarm.set(request.until);
    flush();
  }

  /** Send what may leave: about half a second's worth is on its way. More would wait in the server's buffers, and the
   *  heartbeats behind it. */
  function flush() {
    let room = isOnline() ? Math.max(16, (welcome[15] || Infinity) / 2) : 0;
    for (const request of pending.values()) {
      if (!request.isLong && room-- < 1) return;
      if (request.isSent) continue;
      request.isSent = true;
      request.until = now() + request.waitMs;
      socket.send(request.text);
    }
  }

  function answered(reply) {
    const request = pending.get(reply[1]);
    if (!request) return;
    pending.delete(reply[1]);
    flush();
    if (reply[0] !== 66) {
      request.onReply?.(reply);
      request.resolve?.(reply);
    } else {
      const [, , code, message, retryMs = 0] = reply;
      // Of the errors of section 8, time heals those whose codes end so.
      const error = new PresenceError(code, message, /_(held|only|busy|low)$/.test(code), retryMs);
      request.onReply?.(null, error);
      request.reject?.(error);
    }
  }

  // --- connecting

  async function makeToken() {
    try {
      return makesTokens ? await token() : token;
    } catch (error) {
      throw passing("token_failed", String(error));
    }
  }

  async function connectOnce() {
    const mine = ++attempt;
    const isLive = () => mine === attempt;
    rest();
    heardAt = 0;
    alarm.set((attemptUntil = now() + timeout));
    try {
      const text = isEarly ? shownToken : await makeToken();
      if (!isLive()) return;
      shownToken = text;
      const greeting = hello();
      socket = new options.WebSocket(url, ["presence.v1.json"]);
      socket.onopen = () => isLive() && socket.send(greeting);
      socket.onmessage = ({ data }) => isLive() && receive(data);
      socket.onclose = () => {
        if (!isLive()) return;
        if (heardAt) lost(passing("link_lost", "link lost"));
        else lost(passing("unreachable", `no presenced at ${url} for this origin`));
      };
    } catch (error) {
      if (isLive()) lost(error instanceof PresenceError ? error : refusal(error.message));
    }
  }

  function hello() {
    return written([
      ...[1, [1], shownToken, options.user, device.id, options.kind, options.name, options.priority, options.status],
      ...[tell(), "user", "presenced-js", options.sync, isAgain, isAgain, instance, options.contacts],
      ...[session.isQuiet(), resume, options.meta, (toldFocus = options.focus)],
    ]);
  }

  function receive(data) {
    heardAt = now();
    pingedUntil = Infinity;
    try {
      const message = JSON.parse(data);
      const [type, id] = message;
      if (type === 64) welcomed(message);
      else if (type === 65) drop(new PresenceError(id, message[2], !FINAL.test(id), message[3] ?? 0));
      else if (session.pushes[type]) session.pushes[type](message);
      else if (type === 66 && !id) refused(message);
      else if (type > 65 && type < 96) answered(message);
    } catch (error) {
      drop(passing("garbled", error.message));
    }
  }

  /** A message without an id was refused: only the focus can be wrong, and it must not spoil the next hello. */
  function refused([, , code, message]) {
    options.focus = "";
    report(new PresenceError(code, message));
  }

  function welcomed(message) {
    welcome = message;
    openedAt = beatenAt = now();
    clockMs = welcome[13] - openedAt;
    rest();
    beatAt = openedAt + (welcome[5] * (1 + Math.random())) / 2;
    resume = welcome[17] ?? "";
    isAgain = true;
    session.link++;
    const waiting = [...pending.values()];
    pending.clear();
    session.state = "online";
    for (const part of session.parts) part(welcome[19]);
    for (const request of waiting) open(request);
    setFocus(options.focus);
    planRenewal();
    first?.resolve();
    first = null;
    tick();
    session.told("online", (session.error = null)); // last, since the application may close the client then
  }

  // --- losing and coming back

  /** End the link, or the attempt, for this reason. */
  function drop(error, isAtOnce) {
    const dropped = socket;
    lost(error, isAtOnce);
    dropped?.close();
  }

  function lost(error, isAtOnce) {
    const at = now();
    attempt++;
    socket = null;
    rest();
    if (isOnline()) {
      if (at - openedAt >= LASTED_MS) failures = 0;
      for (const [id, request] of pending) {
        if (request.resolve) request.until = at + request.waitMs;
        else pending.delete(id);
      }
    }
    isEarly = error.code === "token_early";
    // A page has another's id if it is a copy and the browser has no locks. This one takes a new id then.
    const isShared = error.code === "replaced" && device.isOwn;
    const mayHeal = error.temporary || isShared || (makesTokens && /token/.test(error.code));
    if (!mayHeal || (first && !options.retry)) return end(error);
    if (isShared) {
      device.change();
      isAgain = false;
      resume = "";
    }
    // All clients of a server that restarts lose their links in one instant: only a spread over all of the time keeps
    // them from returning together.
    isAtOnce ||= isShared;
    const ceiling = Math.min(BACKOFF_MS_MAX, Math.max(BACKOFF_MS * 2 ** failures++, error.retryMs));
    notBefore = at + error.retryMs;
    retryAt = isAtOnce ? at : notBefore + ceiling * Math.random();
    alarm.set(retryAt);
    set(welcome ? "reconnecting" : "connecting", error);
    if (isAtOnce) tick();
  }

  function set(state, error) {
    const isNews = state !== session.state || error?.code !== session.error?.code;
    Object.assign(session, { state, error });
    if (isNews) session.told(state, error);
  }

  /** No link will follow. */
  function end(error) {
    if (session.state === "closed") return;
    attempt++;
    alarm.stop();
    device.release();
    const waiting = [first, ...pending.values()];
    pending.clear();
    set("closed", error);
    for (const request of waiting) request?.reject?.(error ?? closedError());
  }

  /** Say bye and end. The promise is kept once the connection is closed. */
  function close() {
    const closing = socket;
    const wasOnline = isOnline();
    if (wasOnline) closing.send("[3]");
    end(null);
    return (closed ??= new Promise((resolve) => {
      if (!closing || closing.readyState > 1) return resolve();
      closing.onclose = resolve;
      const shut = () => closing.close();
      if (wasOnline) setTimeout(shut, 1000);
      else if (closing.readyState) shut();
      else closing.onopen = shut; // to close it before that is an error in a browser's console
    }));
  }

  // --- time

  /** Do what is due, whoever noticed that: a timer, the person, or the page as it comes back from being frozen. */
  function tick() {
    const at = now();
    if (session.state === "closed") return;
    if (isOnline()) beat(at);
    if (at >= attemptUntil) drop(passing("no_answer", "no answer"));
    if (at >= retryAt) connectOnce();
    if (at >= renewAt) renew();
    let next = Math.min(attemptUntil, retryAt, renewAt, beatAt, isOnline() ? silentAt() : Infinity);
    for (const [id, { until, reject, isSent }] of pending) {
      if (at < until || (isOnline() && !isSent)) next = Math.min(next, Math.max(until, at + 100));
      else {
        pending.delete(id);
        reject(passing(session.error?.code ?? "timeout", "timed out"));
      }
    }
    flush(); // what is given up makes room
    alarm.set(next);
  }

  const silentAt = () => (pingedUntil < Infinity ? pingedUntil : heardAt + 2 * welcome[5]);

  function beat(at) {
    const silent = passing("silent", "it fell silent");
    // If the page was frozen for longer than the server waits the connection is dead, whatever the browser says.
    if (at - beatenAt > welcome[6]) {
      input.slept();
      return drop(silent, true);
    }
    if (at >= silentAt()) {
      if (pingedUntil < Infinity) return drop(silent);
      ping(timeout);
    }
    if (at >= beatAt) {
      beatenAt = at;
      beatAt = at + Math.max(20, welcome[5]);
      send(2, tell());
    }
  }

  function ping(waitMs) {
    pingedUntil = now() + waitMs;
    say([4]);
  }

  /** There is reason to doubt the connection, or to hope for one: the network or the page has come or gone. */
  function doubt() {
    alarm.ring();
    if (isOnline() && pingedUntil === Infinity) ping(PROBE_MS);
    if (retryAt < Infinity) retryAt = Math.min(retryAt, Math.max(notBefore, now()));
    tick();
  }

  // --- the person

  function tell() {
    const idleMs = input.idleMs();
    toldInputAt = now() - idleMs; // NaN if nobody has said anything
    return isNaN(idleMs) ? null : Math.round(Math.min(Math.max(0, idleMs), 1e12));
  }

  /** The person has given input. The server is told at once if it would show them as away before the next heartbeat, and
      of the first input: until then it does not know whether anybody is there. */
  function noticed() {
    const away = welcome?.[8];
    // Without a threshold no comparison holds.
    const isLate = input.idleMs() < away && beatAt >= toldInputAt + away && now() - toldInputAt >= Math.min(1000, away / 4);
    if (isOnline() && (!toldInputAt || isLate)) send(2, tell());
  }

  function setFocus(focus) {
    written([focus]);
    options.focus = focus;
    if (focus !== toldFocus && isOnline()) send(63, 0, (toldFocus = focus));
  }

  // --- the token

  /** The next token is brought when most of the time that is left is over, and again in what is left then. */
  function planRenewal() {
    if (!makesTokens) return;
    try {
      const [, payload] = shownToken.split(".");
      const endsMs = JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/"))).exp * 1000;
      const leftMs = endsMs - session.timeMs();
      if (leftMs > 0) alarm.set((renewAt = now() + Math.max(1000, leftMs * (0.8 + 0.1 * Math.random()))));
    } catch {
      // No token that can be read: the server says when it ends.
    }
  }

  async function renew() {
    const mine = attempt;
    renewAt = Infinity;
    try {
      const text = await makeToken();
      if (mine !== attempt) return;
      if (text !== shownToken) await ask(() => [35, text]);
      shownToken = text;
    } catch {
      // The old token holds until its end, and after that the function is asked with each attempt to connect.
    }
    if (mine === attempt) planRenewal();
  }

  return session;
}

// --- records of users -------------------------------------------------------------------------------------------------

/** The newest record of each user who is wanted, by name or as a contact. On a new link the server is told what is held,
 *  in digests, and tells what differs (protocol.md, chapter 22): so nobody is shown what has not changed. */
function makeHoldings(session) {
  const held = new Map();
  const asked = new Set(); // users whom a request under way names for the first time: it is repeated by itself
  const contacts = new Set(); // whom the user sees as contacts
  let contactsView;
  let areContactsKnown = false; // their records have come, on this link or an earlier one
  session.isQuiet = () => areContactsKnown;
  session.pushes[71] = ([, record]) => take(record);
  session.pushes[87] = contactRecords;
  session.parts.push(comeBack);

  function hold(user) {
    // `link`: the one that brought the record or confirmed it; `told`: what the version of its next one must exceed.
    if (!held.has(user)) held.set(user, { link: 0, told: 0, views: new Set() });
    return held.get(user);
  }

  /** The view wants these users, too. The promise is kept when the server has answered, on whichever link that is. */
  async function want(view, users) {
    const more = users.filter((user) => !view.names.has(user));
    for (const user of more) {
      view.names.add(user);
      hold(user).views.add(view);
    }
    await null; // listeners that are added in this turn hear of what is known already, too
    for (const user of more) {
      const one = held.get(user);
      if (one?.record && view.names.has(user)) show(view, user, one.record);
    }
    const ask = (names) => {
      const [make, told] = asking(9, names);
      for (const user of names) asked.add(user);
      return session.ask(
        make,
        (reply) => {
          for (const user of names) asked.delete(user);
          told(reply);
        },
        Infinity,
      );
    };
    try {
      await Promise.all(session.parted(more.filter(isNamed)).map(ask));
    } catch (error) {
      drop(view, more);
      throw error;
    }
  }

  /** The view does not want these users any longer. */
  function drop(view, users = [...view.names]) {
    const left = users.filter((user) => {
      view.records.delete(user);
      return view.names.delete(user) && held.get(user).views.delete(view) && !isNamed(user);
    });
    forget(left);
    for (const names of session.parted(left)) session.unsay(10, names);
  }

  const isNamed = (user) => held.get(user)?.views.size > 0;

  function forget(users) {
    for (const user of users) if (!isNamed(user) && !contacts.has(user)) held.delete(user);
  }

  /** A question about users which says what is held of them, and what is to be done with the answer. */
  function asking(type, users, ...more) {
    let question;
    const make = () => {
      question = ask(users.filter((user) => held.has(user))); // some may be wanted no longer by the time of a link
      return [type, question.users, question.have, ...more];
    };
    return [make, (reply) => reply && answer(question, reply[4])];
  }

  function show(view, user, record) {
    const old = view.records.get(user);
    if (view.isOver || old === record) return;
    view.records.set(user, record);
    view.step(user, old, record);
  }

  function take(values) {
    const record = recordOf(values);
    const { user, version } = record;
    const one = held.get(user);
    if (!one || (one.link === session.link && version && version <= one.told)) return;
    Object.assign(one, { record, link: session.link, told: version });
    for (const view of [...one.views]) show(view, user, record);
    if (contacts.has(user)) show(contactsView, user, record);
  }

  function ask(users) {
    const records = users.map((user) => held.get(user)?.record);
    return { users, records, have: records.map(digestOf) };
  }

  /** These records differ from what the server was told. What it is silent about still holds. */
  function answer({ users, records, have }, differing) {
    const answered = new Set(differing.map(([user]) => user));
    differing.forEach(take);
    users.forEach((user, at) => {
      const one = held.get(user);
      if (!one || answered.has(user)) return;
      const isSame = digestOf(one.record) === have[at];
      if (one.link !== session.link) {
        if (isSame) Object.assign(one, { link: session.link, told: 0 });
      } else if (one.told || isSame) return;
      else if (records[at]) {
        // Sight was lost, which has no version, and is back as it was, so that nothing was told.
        take(Object.values(records[at]));
        one.told = 0;
      }
      if (!one.record && !have[at]) take(hidden(user));
    });
  }

  function comeBack(isResumed) {
    const named = [...held.keys()].filter((user) => isNamed(user) && !asked.has(user));
    const all = [...new Set([...named, ...contacts])];
    const again = () => {
      const say = ([make, told]) => session.say(make(), told);
      for (const names of session.parted([...contacts])) say(asking(56, names, true)); // the list tells of other contacts
      for (const names of session.parted(named)) say(asking(9, names));
    };
    if (!isResumed || !all.length) return again();
    // Mostly nothing has changed while the link was away, and a checksum says so.
    session.say([57], (reply) => {
      const question = ask(all);
      const checksum = question.have.reduce((sum, digest) => (sum + digest) % 2 ** 32, 0);
      if (reply?.[4] === all.length && reply[5] === checksum) answer(question, []);
      else again();
    });
  }

  function contactRecords([, , , records, more]) {
    for (const record of records) gain(record[0], record);
    areContactsKnown ||= !more;
    if (!more) contactsView.settle();
  }

  /** The user sees this contact. */
  function gain(user, record) {
    const isNew = !contacts.has(user);
    const one = hold(user);
    contacts.add(user);
    if (record) take(record);
    if (!isNew) return;
    if (one.record) show(contactsView, user, one.record);
    else session.say([7, [user]], (reply) => reply?.[4].forEach(take));
  }

  /** The user does not see this contact any longer. */
  function lose(user) {
    if (!contacts.delete(user)) return;
    show(contactsView, user, recordOf(hidden(user)));
    contactsView.records.delete(user);
    forget([user]);
  }

  return { want, drop, gain, lose, show: (view) => (contactsView = view) };
}

/** Some users who are watched by name. */
function makeWatch(holdings, users) {
  const inner = makeView(userChange, () => holdings.drop(inner));
  const { view } = inner;
  inner.names = new Set();
  view.add = async (users) => {
    if (inner.isOver) throw view.error ?? closedError();
    await holdings.want(inner, listOf(users));
  };
  view.remove = (users) => holdings.drop(inner, listOf(users));
  view.add(users).then(inner.settle, inner.finish);
  return inner;
}

// --- contacts ---------------------------------------------------------------------------------------------------------

/** All contacts whom the user sees, and the list itself: who stands in it, and who asks. */
function makeContacts(session, holdings) {
  const entries = new Map();
  let version = 0;
  let named; // contacts that the listing under way has told of
  let isListed = false;
  const inner = makeView(userChange, () => {});
  Object.assign(inner.view, { list: entries, close() {} });
  holdings.show(inner);
  session.pushes[86] = ([, , , contact, isRemoved]) => apply(contact[0], isRemoved ? null : contact);
  session.parts.push(() => list(version, "", (named = new Set())));

  function list(since, after, mine) {
    session.say([42, since, after], (reply) => {
      if (!reply || mine !== named) return;
      const [, , , at, isWhole, next, contacts, removed] = reply;
      for (const contact of contacts) apply(contact[0], contact);
      for (const user of removed) apply(user, null);
      if (next) return list(isWhole ? 0 : since, next, mine);
      for (const user of isWhole ? [...entries.keys()] : []) if (!named.has(user)) apply(user, null);
      version = at;
      isListed = true;
    });
  }

  function apply(user, values) {
    const old = entries.get(user);
    const contact = values && made(CONTACT, values);
    named.add(user);
    if (contact) entries.set(user, contact);
    else entries.delete(user);
    if (/to|both/.test(contact?.subscription)) holdings.gain(user);
    else holdings.lose(user);
    if (JSON.stringify(old ?? null) === JSON.stringify(contact)) return;
    const kind = !contact ? "removed" : contact.asks && !old?.asks ? "request" : isListed ? "change" : "snapshot";
    inner.emit("list", { kind, user, contact, old });
  }

  return inner;
}

// --- channels ---------------------------------------------------------------------------------------------------------

/** The channels that a client watches, and those that its device is in. What the server says of a channel on a link is
 *  applied in the order in which it comes. */
function makeRooms(session) {
  const rooms = new Map();
  const joined = new Set();
  const ofRoom = (type, handle) =>
    (session.pushes[type] = ([, name, ...fields]) => {
      const room = rooms.get(name);
      if (room) handle(room, ...fields);
    });
  ofRoom(76, (room, kind, total, record) => {
    room.view.total = total;
    put(room, record[0], kind === "leave" ? undefined : recordOf(record), true);
  });
  ofRoom(77, (room, total, _, records, left, isWhole) => {
    room.view.total = total;
    for (const record of records) put(room, record[0], recordOf(record), true);
    for (const user of left) put(room, user);
    room.step("");
    if (!isWhole && total <= LISTED_MAX) list(room);
  });
  session.parts.push(() => {
    for (const name of joined) session.say([23, name, "", "", true]);
    for (const room of rooms.values()) list(room);
  });

  /** Ask for the members, page by page; the first page begins the watch. Only what differs from what is held is told. */
  function list(room, after = "", listed = (room.listed = new Set())) {
    const { records, view, name } = room;
    session.say(after ? [25, name, after, NAMES_MAX] : [26, name, NAMES_MAX], (reply, error) => {
      if (error) return room.finish(error);
      if (room.listed !== listed) return;
      const next = reply[6];
      view.total = reply[4];
      for (const record of reply[7]) put(room, record[0], recordOf(record));
      if (next && listed.size < LISTED_MAX) return list(room, next, listed);
      // Whoever came or changed meanwhile is listed, too.
      for (const user of next ? [] : [...records.keys()]) if (!listed.has(user)) put(room, user);
      room.isKnown = true;
      room.settle();
    });
  }

  function put(room, user, record, isPush) {
    const old = room.records.get(user);
    if (isPush && old?.version > record?.version && record.version) return; // a page has passed it
    if (record) room.records.set(user, record);
    else room.records.delete(user);
    room.listed.add(user);
    room.step(user, old, record, !room.isKnown);
  }

  return {
    joined,
    /** The view of one channel: the same for all who ask for it. */
    watch(name) {
      if (rooms.has(name)) return rooms.get(name);
      const change = (user, old, record, isFirst) => {
        const here = () => (old ? kindOf(old, record) && "change" : isFirst ? "snapshot" : "join");
        const kind = !user ? "counts" : record ? here() : old && "leave";
        return kind && { kind, user, record: record ?? old, old, total: room.view.total };
      };
      const room = makeView(change, () => {
        rooms.delete(name);
        session.unsay(27, name);
      });
      room.name = name;
      room.view.total = 0;
      rooms.set(name, room);
      list(room);
      return room;
    },
  };
}

// --- the person's device ----------------------------------------------------------------------------------------------

let isTaken = false; // a client of this page has the id that survives a reload

const storage = (id) => {
  try {
    return id ? (sessionStorage.presence = id) : sessionStorage.presence;
  } catch {
    // A person may forbid it: then a reload makes another device.
  }
};

/** The id of this device: the given one, or this tab's own. That survives a reload. A lock that the page holds for as long
 *  as it is open tells a duplicated tab, which begins with a copy of the storage, that the id is in use. */
function makeDevice(id) {
  let isFirst = false;
  let release = () => {};
  const device = {
    id,
    isOwn: !id,
    async claim() {
      if (id) return;
      device.id = (page && !isTaken && storage()) || fresh();
      if (!page || isTaken) return;
      isTaken = isFirst = true;
      if (!(await lock())) {
        device.id = fresh();
        await lock();
      }
      storage(device.id);
    },
    /** Another has this id: take a new one. */
    change() {
      device.release();
      device.id = fresh();
      if (page) storage(device.id);
    },
    release() {
      release();
      if (isFirst) isTaken = false;
    },
  };
  const fresh = () => (page ? "tab-" : "node-") + crypto.getRandomValues(new Uint32Array(3)).join("-");
  const lock = () =>
    new Promise((resolve) => {
      // Without locks, as on a page without TLS, the server tells when two pages have one id.
      if (!navigator.locks) return resolve(true);
      const hold = () => new Promise((done) => resolve((release = done)));
      // A page that is reloaded finds the lock of the page before for a moment, on a busy machine for a second or two.
      navigator.locks.request(`presence ${device.id}`, { signal: AbortSignal.timeout(2000) }, hold).catch(() => resolve());
    });
  return device;
}

/** How long ago the person gave input; undefined: nobody has said so, and the server takes nobody for idle. */
function makeInput() {
  let at;
  let isAtMachine = false; // the browser's own detector says so
  const input = {
    told() {},
    idleMs: () => (isAtMachine ? 0 : at && now() - at),
    report(idleMs) {
      at = now() - idleMs;
      input.told();
    },
    /** The machine was asleep: who was at it then is not known to be now. */
    slept: () => (isAtMachine = false),
    /** From now on ask the browser whether somebody is at the machine, if the person has allowed it. */
    async detect(signal) {
      const threshold = 60_000;
      const detector = new IdleDetector();
      detector.onchange = () => {
        const isThere = detector.userState + detector.screenState === "activeunlocked";
        if (isThere || isAtMachine) input.report(detector.userState === "idle" ? threshold : 0);
        isAtMachine = isThere;
      };
      await detector.start({ threshold, signal });
    },
  };
  return input;
}

/** Take what the browser knows of the page and the network, and of the person's input if that is wanted. */
function watchPage(session, input, isTracking, signal) {
  const listen = (types, listener) => {
    for (const type of words(types)) addEventListener(type, listener, { signal, capture: true, passive: true });
  };
  listen("online offline pageshow resume visibilitychange", ({ type }) => {
    // Who brings a page to the fore looks at it.
    if (isTracking && type[0] === "v" && !page.hidden) input.report(0);
    session.doubt();
  });
  if (!isTracking) return;
  input.report(0);
  // A script's events are no input, nor is a pointer that rests while the page moves under it.
  listen("pointerdown pointermove keydown wheel touchstart", ({ isTrusted, type, movementX, movementY }) => {
    if (isTrusted && (type !== "pointermove" || movementX || movementY)) input.report(0);
  });
  input.detect(signal).catch(() => {});
}

// --- the client -------------------------------------------------------------------------------------------------------

// Requests about one user, or a channel, that are only done.
const ACTS = {
  ...{ approve: 37, cancel: 38, unsubscribe: 39, removeContact: 41, block: 44, unblock: 45, endClaim: 18 },
};

const DEFAULTS = {
  ...{ token: "", user: "", device: "", kind: page ? "web" : "", name: "", priority: 0, status: "online", sync: true },
  ...{ contacts: false, meta: null, focus: "", idle: true, retry: false, timeout: 10_000, url: "/ws" },
  WebSocket: globalThis.WebSocket,
};

function makePresence(options) {
  const { on, emit } = makeEvents();
  const device = makeDevice(options.device);
  const input = makeInput();
  const aborter = new AbortController();
  const session = makeSession(options, device, input);
  const holdings = makeHoldings(session);
  const rooms = makeRooms(session);
  const contacts = options.contacts ? makeContacts(session, holdings) : undefined;
  const views = new Set(contacts && [contacts]);
  session.told = (state, error) => {
    Object.assign(presence, { state, error, user: session.user() ?? options.user, device: device.id });
    if (state === "closed") {
      aborter.abort();
      for (const view of views) view.finish(error);
    }
    emit("state", { state, error });
  };
  session.pushes[78] = ([, user, version, values, claims, textUntilMs, devices, text, emoji]) => {
    const old = presence.own?.record;
    const record = recordOf(values);
    const own = {
      ...{ record, text, emoji, textUntilMs },
      claims: claims.map((claim) => made(CLAIM, claim)),
      devices: devices.map((one) => made(DEVICE, one)),
    };
    // It may have been renamed elsewhere, and the next hello must not take that back.
    options.name = own.devices.find((one) => one.device === device.id)?.name ?? options.name;
    Object.assign(presence, { own, status: record.status });
    emit("own", own);
    const change = userChange(user, old, record);
    if (change) emit("status", change);
    session.send(28, version);
  };

  const { ask, timeMs } = session;
  const done = async (...message) => void (await ask(() => message));
  /** The duration that a call's options give, counted from the call, however long it waits for a link. */
  const lasting = ({ for: ms = 0, until = ms > 0 ? timeMs() + ms : ms }) => {
    // What is no time is sent as it is, and the server says what is wrong with it.
    return () => (until > 0 ? Math.max(1, Math.ceil(until - timeMs())) : until);
  };
  const show = (inner, listener) => {
    const { view } = inner;
    if (session.state === "closed") inner.finish(session.error ?? closedError());
    if (listener) view.on("change", listener);
    views.add(inner);
    view.on("end", () => views.delete(inner));
    return view;
  };
  const presence = {
    on,
    state: session.state,
    error: null,
    user: options.user,
    device: "",
    own: null,
    status: "offline",
    contacts: contacts?.view,
    get serverTimeMs() {
      return Math.round(timeMs());
    },
    async setStatus(status, { text = null, emoji = null, ...ends } = {}) {
      const forMs = lasting(ends);
      await ask(() => [5, status, text, emoji, forMs()]);
    },
    setText: (text, more) => presence.setStatus(null, { ...more, text }),
    getDevices: async () => (await ask(() => [15]))[3].map((values) => made(DEVICE, values)),
    async addClaim(claim, source, status, { device = "", ...ends } = {}) {
      const forMs = lasting(ends);
      await ask(() => [17, claim, source, status, forMs(), 0, "", device]);
    },
    idle: input.report,
    setFocus: session.setFocus,
    getStatus: async (user) => (await presence.getStatuses(user)).get(user),
    async getStatuses(users) {
      const pages = await Promise.all(session.parted(listOf(users)).map((names) => ask(() => [7, names])));
      return new Map(pages.flatMap((page) => page[4].map((values) => [values[0], recordOf(values)])));
    },
    async who({ after = "", limit = 100 } = {}) {
      const [, , , , total, next, records] = await ask(() => [8, after, limit]);
      return { total, next, records: records.map(recordOf) };
    },
    watch: (users, listener) => show(makeWatch(holdings, users), listener),
    channel: (name, listener) => show(rooms.watch(name), listener),
    async join(channel) {
      await done(23, channel);
      rooms.joined.add(channel);
    },
    async leave(channel) {
      await done(24, channel);
      rooms.joined.delete(channel);
    },
    subscribe: (user, note = "") => done(36, user, note),
    setContact: (user, { name = null, groups = null } = {}) => done(40, user, name, groups),
    getBlocked: async () => (await ask(() => [46]))[3],
    request: (...message) => ask(() => message),
    close: session.close,
  };
  for (const [name, type] of Object.entries(ACTS)) presence[name] = (user) => done(type, user);

  return async () => {
    await device.claim();
    presence.device = device.id;
    if (page) watchPage(session, input, options.idle, aborter.signal);
    const first = session.start();
    if (options.retry) first.catch(() => {}); // the state tells
    else await first;
    return presence;
  };
}

/** Connect a device of a user. Rejects with a `PresenceError` if the first attempt fails; later it comes back by itself. */
async function connect(values = {}) {
  const options = { ...DEFAULTS };
  let url;
  for (const key in values) options[key] = values[key] ?? options[key];
  try {
    if (!/[?#@]/.test(options.url)) url = new URL(options.url, globalThis.location?.href).href.replace(/^http/, "ws");
  } catch {
    // It is none.
  }
  // It is not repeated: there may be a token in it.
  if (!(options.url = url)) throw refusal("the url must be like wss://HOST/ws, without user and query");
  options.WebSocket ??= (await import("./node-websocket.js")).NodeWebSocket;
  return makePresence(options)();
}

export { connect, PresenceError };
