// A backend's day over HTTP, in Node 20 or newer without a library:
//
//     node presenced/examples/backend.mjs http://127.0.0.1:5251
//
// With PRESENCE_TOKEN it brings that token; a server in development takes its name for it.

// What fails is one line, and no trace of this program. A reader that has read enough, as `| head` does, is no failure.
process.on("uncaughtException", (error) => {
  if (error.code === "EPIPE") process.exit(0);
  console.error(`backend: ${error.message}`);
  process.exit(1);
});

const base = process.argv[2] ?? "http://127.0.0.1:5251";
const token = process.env.PRESENCE_TOKEN;
const caller = token ? { Authorization: `Bearer ${token}` } : { "Presence-User": "backend" };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Ask for something: what is answered, or an Error with `code`, `temporary` and `retry_ms`. */
async function ask(name, fields = {}, tries = 5) {
  const answer = await fetch(`${base}/v1/${name}`, {
    method: "POST",
    headers: { ...caller, "Content-Type": "application/json" },
    body: JSON.stringify(fields),
  });
  const said = await answer.json();
  if (answer.ok) return said;
  if (!said.temporary || tries <= 1) throw Object.assign(new Error(said.message), said);
  await pause(said.retry_ms || 1000);
  return ask(name, fields, tries - 1);
}

/** What happens to everybody, from now on: over lost connections, each event once and in order. */
async function* events(signal) {
  let last; // the id of the last event: where to go on
  while (!signal.aborted) {
    try {
      const headers = last ? { ...caller, "Last-Event-ID": last } : caller;
      const answer = await fetch(`${base}/v1/events`, { headers, signal });
      if (!answer.ok) throw Object.assign(new Error("the events are refused"), await answer.json());
      let text = "";
      for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
        text += piece;
        const blocks = text.split("\n\n");
        text = blocks.pop(); // not whole yet
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
          last = fields.id ?? last;
          if (fields.data) yield { type: fields.event ?? "message", ...JSON.parse(fields.data) };
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!last && !error.code) throw new Error(`no presenced answers at ${base}`, { cause: error });
      if (error.code && error.temporary === false) throw error; // such as a token that is not good
    }
    await pause(500 + 1000 * Math.random());
  }
}

const closing = new AbortController();
let following;
const isFollowing = new Promise((resolve) => (following = resolve));
const followed = (async () => {
  for await (const event of events(closing.signal)) {
    if (event.type === "following") following();
    if (event.kind === "online" || event.kind === "offline") console.log(`event: ${event.user} is ${event.kind}`);
    if (event.user === "anna" && event.kind === "offline") return;
  }
})();
await isFollowing; // nothing that happens from here on is missed

// A page opens. It is online for 90 seconds; a beat every half a minute keeps it there.
const page = { user: "anna", device: "tab-1" };
await ask("attach", { ...page, kind: "browser", idle_ms: 0 });
const beating = setInterval(() => ask("beat", { ...page, idle_ms: 0 }).catch(console.error), 30_000);
await ask("beat", { ...page, idle_ms: 0, focus: "general" });
await ask("join", { ...page, channel: "general" });
await ask("set_status", { user: "anna", status: "dnd", text: "in a meeting", for_ms: 30 * 60_000 });

const { records } = await ask("get_status", { users: ["anna", "bob"] });
for (const record of records) console.log(`${record.user} is ${record.status} ${record.text}`.trim());
const members = await ask("get_members", { channel: "general" });
console.log(`in the room: ${members.records.map((record) => record.user).join(", ")}`);
const { routes } = await ask("route", { users: ["anna"], urgency: "normal", about: "random" });
console.log(`a notification for anna: ${routes[0].verdict}, because of ${routes[0].reason}`);
await ask("record_activity", { user: "anna", activity: "message", channel: "general", at_ms: Date.now() });

try {
  await ask("set_status", { user: "anna", status: "busy" });
} catch (error) {
  console.log(`refused: ${error.code}: ${error.message}`);
}

// The page closes.
clearInterval(beating);
await ask("detach", page);
const [{ status }] = (await ask("get_status", { users: ["anna"] })).records;
if (status === "offline") await followed;
else console.log("anna is still there, on another device");
closing.abort();
