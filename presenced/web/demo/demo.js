// A whole presence page on one import: what it asks of the server stands here, how it looks in look.js.
import { connect } from "/client/presence.js";
import * as look from "/demo/look.js";

// The page's policy lets no script be made of text. This lets the client start its worker, and nothing else.
globalThis.trustedTypes?.createPolicy("default", { createScriptURL: (url) => (url.startsWith("blob:") ? url : null) });

const SAMPLES = ["anna", "ben", "carla"];
const ROOM = "lobby";
const NEWS_MAX = 30;
const FOUND_MAX = 50;
const TIMES_MS = 15_000;

const { part } = look;
const me = new URLSearchParams(location.search).get("as") || SAMPLES[0];
const added = new Set(JSON.parse(sessionStorage.getItem("watched") ?? "[]"));
added.delete(me);

let presence;
let watch;
let room;
let own;

const form = part("set");
/** The form holds what the person has begun to say, and not what holds. */
let isTyped = false;
let isInRoom = true;
let isMoving = false;

const now = () => presence?.serverTimeMs ?? Date.now();
const nobody = (user) => ({ user, status: "offline", text: "", emoji: "", sinceMs: 0, lastSeenMs: 0 });
const byName = new Intl.Collator(undefined, { numeric: true }).compare;
const watched = () => [...new Set([...SAMPLES, ...added])].filter((user) => user !== me).sort(byName);

// --- what is shown ------------------------------------------------------------------------------------------------

const people = new look.Rows(part("others"), (user) =>
  look.personRow(user, { now, onRemove: SAMPLES.includes(user) ? null : () => stopWatching(user) }),
);
const inRoom = new look.Rows(part("members"), (user) => look.memberRow(user, me));
const devices = new look.Rows(part("devices"), (device) => look.deviceRow(device, presence.device));
const selfDot = look.newDot();

function showPeople() {
  const users = watched();
  people.show(users, new Map(users.map((user) => [user, watch?.get(user) ?? nobody(user)])));
}

function showRoom() {
  const members = room?.records ?? new Map();
  const users = [...members.keys()].sort(byName);
  inRoom.show(users, members);
  look.put(part("count"), users.length ? `${users.length} here` : "Nobody is here.");
}

function showOwn() {
  const { record } = own;
  const manual = own.claims.find((claim) => claim.source === "manual");
  const ends = [manual?.untilMs, own.textUntilMs].filter(Boolean).map(look.moment);
  const words = [record.status === "offline" ? "Offline to others" : look.WORDS[record.status], look.quoted(own)];
  if (ends.length) words.push(`until ${[...new Set(ends)].join(", text until ")}`);
  look.showDot(selfDot, record.status);
  look.put(part("self-line").firstChild, words.filter(Boolean).join(" · "));
  if (!isTyped) {
    form.elements.status.value = manual?.status ?? "auto";
    form.elements.text.value = own.text;
  }
  part("clear").hidden = !manual && !own.text && !own.emoji;
  const live = own.devices.filter((info) => info.state !== "gone");
  devices.show(live.map((info) => info.device), new Map(live.map((info) => [info.device, info])));
}

function tell(user, clause) {
  const time = look.element("time", "", look.moment(Date.now()));
  const what = look.element("span", "what", clause);
  part("log").prepend(look.element("li", "", time, look.element("bdi", "name", user), " ", what));
  while (part("log").children.length > NEWS_MAX) part("log").lastChild.remove();
  part("quiet").hidden = true;
}

const LINK_WORDS = { connecting: "connecting", online: "live", reconnecting: "connection lost; coming back", closed: "closed" };

function showLink({ state, error }) {
  part("link").dataset.state = state;
  look.put(part("link"), LINK_WORDS[state]);
  if (state === "closed" && error) showTrouble(error);
}

function showTrouble(error) {
  part("you").inert = part("room").inert = true;
  look.put(part("self-line").firstChild, "not connected");
  part("trouble").hidden = false;
  const way = look.element("a", "", `Come in as ${SAMPLES[0]}`);
  way.href = "/";
  part("trouble").replaceChildren(`This tab is not connected as ${me}: ${error.message}. `, way);
}

// --- what the person does -----------------------------------------------------------------------------------------

/** Does something, and says in `place` what came of it. Whether it was done. */
async function attempt(place, act, done) {
  look.put(place, presence.state === "online" ? "" : "The server is told as soon as the connection is back.");
  try {
    await act();
    look.put(place, done);
    return true;
  } catch (error) {
    look.put(place, error.message);
    return false;
  }
}

form.addEventListener("input", () => {
  isTyped = true;
  look.put(part("said"), "");
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const { status, text, for: duration } = form.elements;
  const seconds = Number(duration.value);
  const options = { text: text.value.trim(), ...(seconds ? { for: seconds * 1000 } : {}) };
  isTyped = false;
  const done = status.value === "offline" ? "You appear offline to others." : "Everybody sees it.";
  attempt(part("said"), () => presence.setStatus(status.value, options), done);
});

part("clear").addEventListener("click", () => {
  form.reset();
  isTyped = false;
  attempt(part("said"), () => presence.setStatus("auto", { text: "", emoji: "" }), "Cleared.");
  form.elements.status[0].focus();
});

part("name").addEventListener("submit", (event) => {
  if (event.submitter?.value !== "watch") return;
  event.preventDefault();
  const field = event.target.elements.as;
  const user = field.value.trim().normalize();
  attempt(part("watch-said"), async () => {
    if (user !== me) await watch.add([user]);
    added.add(user);
    keepAdded();
    field.value = "";
  }, `You watch ${user}.`);
});

function stopWatching(user) {
  added.delete(user);
  watch.remove([user]);
  part("name").elements.as.focus();
  keepAdded();
}

/** People who are there without having been asked for: they are watched from now on, up to some number. */
function find(users) {
  const found = users.filter((user) => user !== me && !watched().includes(user)).slice(0, FOUND_MAX - added.size);
  if (!found.length) return;
  for (const user of found) added.add(user);
  watch.add(found).catch((error) => look.put(part("watch-said"), error.message));
  keepAdded();
}

function keepAdded() {
  sessionStorage.setItem("watched", JSON.stringify([...added]));
  showPeople();
}

part("join").addEventListener("click", async () => {
  if (isMoving) return; // the second click of two means nothing else than the first
  isMoving = true;
  if (await attempt(part("room-said"), () => (isInRoom ? presence.leave(ROOM) : presence.join(ROOM)), "")) {
    isInRoom = !isInRoom;
    look.put(part("join"), isInRoom ? "Leave" : "Enter");
  }
  isMoving = false;
});

// --- the terminal -------------------------------------------------------------------------------------------------

function showCommands() {
  const { address, command } = document.documentElement.dataset;
  const { scheme, host } = address.match(/^(?<scheme>.*:\/\/)(?<host>.*?)(:5250)?$/).groups;
  const shellSafe = (user) => encodeURIComponent(user).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16)}`);
  const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
  const as = (user) => `${command} --url ${scheme}${shellSafe(user)}@${host}/desk`;
  const other = SAMPLES.find((user) => user !== me);
  const watching = address === "presence://127.0.0.1:5250" ? command : as("terminal");
  part("commands").replaceChildren(
    ...look.command(`${watching} watch ${me.startsWith("-") ? "-- " : ""}${quoted(me)}`, `Watch ${me}: set a status here, and see it there.`),
    ...look.command(`${as(other)} online`, `Be ${other} until Ctrl-C: the dot beside ${other} changes here.`),
    ...look.command(`${as(me)} set dnd --text "on the phone" --for 10m`, `Set the status of ${me} there, and see it here.`),
  );
}

function showProgram() {
  const other = SAMPLES.find((user) => user !== me);
  const text = (value) => JSON.stringify(value).replaceAll("<", "\\u003c");
  look.put(
    part("program").firstChild,
    `<script type="module">
  import { connect } from "${location.origin}/client/presence.js";

  const me = await connect({ url: "${location.origin.replace(/^http/, "ws")}/ws", user: ${text(me)} });
  for await (const { user, record } of me.watch([${text(other)}])) {
    console.log(user, record.status, record.text);
  }
</script>`,
  );
}

// --- the start ----------------------------------------------------------------------------------------------------

document.title = `${me} · presenced`;
for (const place of document.querySelectorAll(".me")) look.put(place, me);
for (const link of document.querySelectorAll(".as-me")) link.href = `/?as=${encodeURIComponent(me)}`;
look.showDot(selfDot, "offline");
look.showFace(part("self-face"), me, selfDot);
look.put(part("room-name"), ROOM);
showPeople();
showRoom();
showCommands();
showProgram();

try {
  presence = await connect({ user: me, name: "Browser tab", retry: true });
  presence.on("state", showLink);
  presence.on("own", (state) => {
    own = state;
    showOwn();
  });
  watch = presence.watch(watched(), ({ kind, user, old, record }) => {
    if (kind !== "snapshot" && kind !== "device") tell(user, look.news(old, record));
    showPeople();
  });
  room = presence.channel(ROOM, ({ kind, user }) => {
    if (kind === "join" && user !== me) tell(user, `has come into the ${ROOM}`);
    if (kind === "leave" && user !== me) tell(user, `has left the ${ROOM}`);
    find([...room.records.keys()]);
    showRoom();
  });
  setInterval(showPeople, TIMES_MS);
  await presence.join(ROOM);
  find((await presence.who()).records.map((record) => record.user));
} catch (error) {
  showTrouble(error);
}
