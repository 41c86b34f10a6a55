import assert from "node:assert/strict";

import { connect, PresenceError } from "../../presenced/web/presence.js";
import { cable, codeOf, done, tap, until } from "./harness.mjs";

const [url] = process.argv.slice(2);

const taps = tap();
const alice = await connect({
  ...{ url, user: "alice", device: "desk", kind: "web", name: "Alice's desk", contacts: true, WebSocket: taps.WebSocket },
});
const bob = await connect({ url, user: "bob" });
assert.deepEqual([alice.state, alice.user, alice.device, alice.status], ["online", "alice", "desk", "online"]);
assert.equal(alice.own.devices[0].name, "Alice's desk");
assert.match(bob.device, /^node-/);

// A watch: snapshots, then changes, by a listener and by iterations at once.
const told = [];
const watch = alice.watch(["bob", "nobody"], ({ kind, user, record }) => told.push(`${kind} ${user} ${record.status} ${record.text}`));
await watch.ready;
assert.deepEqual(told.splice(0).sort(), ["snapshot bob online ", "snapshot nobody offline "]);
assert.equal(watch.get("nobody").version, 0);
const iterated = (async () => {
  const kinds = [];
  for await (const { kind, record } of alice.watch("bob")) {
    kinds.push(kind);
    if (record.text === "<img onerror=alert(1)>") return kinds;
  }
})();
await bob.setStatus("dnd", { text: "in a meeting", emoji: "📅", for: 60_000 });
await until(() => told.includes("status bob dnd in a meeting"));
await bob.setText("<img onerror=alert(1)>");
assert.deepEqual((await iterated).slice(0, 2), ["snapshot", "status"]);
assert.equal(alice.own.record.status, "online");
assert.equal(bob.own.claims[0].status, "dnd");
assert.ok(bob.own.claims[0].untilMs > Date.now());
assert.ok(bob.own.textUntilMs === 0);

// Who is added is told, who is taken out is told no more.
await watch.add("carol");
assert.equal(watch.get("carol").status, "offline");
watch.remove("bob");
assert.deepEqual([...watch.records.keys()].sort(), ["carol", "nobody"]);
assert.equal(await codeOf(watch.add(["fine", "not a name"])), "bad_name");
assert.equal(watch.error, null);
assert.equal(await codeOf(alice.watch(["not a name"]).ready), "bad_name");
told.length = 0;
await bob.setStatus("auto", { text: "" });
await alice.getStatus("bob");
assert.deepEqual(told, []);
const closing = alice.watch(["bob"]);
await closing.ready;
closing.close();
for await (const change of closing) assert.equal(change.kind, "snapshot");

// Questions, and the everyday acts.
assert.equal((await alice.getStatus("bob")).status, "online");
const many = await alice.getStatuses(Array.from({ length: 300 }, (_, at) => `user-${at}`));
assert.equal(many.size, 300);
assert.deepEqual((await alice.who()).records.map(({ user }) => user), ["alice", "bob"]);
await alice.request(6, null, null, "Desk");
assert.equal((await alice.getDevices())[0].name, "Desk");
await alice.addClaim("call-1", "call", "dnd", { device: "desk" });
await until(() => alice.status === "dnd");
await alice.endClaim("call-1");
await until(() => alice.status === "online");
await alice.block("mallory");
assert.deepEqual(await alice.getBlocked(), ["mallory"]);
await alice.unblock("mallory");
const [type, , shown] = await alice.request(62, "", 0, 0, 0, 1);
assert.equal(type, 94, `${shown}`);

// Contacts: the list, and records without naming anybody.
const list = [];
alice.contacts.on("list", ({ kind, user }) => list.push(`${kind} ${user}`));
bob.on("error", (error) => assert.fail(error));
await alice.subscribe("bob", "hello");
await bob.approve("alice");
await until(() => alice.contacts.get("bob")?.status === "online");
assert.equal(alice.contacts.list.get("bob").subscription, "to");
await alice.setContact("bob", { name: "Bobby", groups: ["work"] });
await until(() => alice.contacts.list.get("bob").name === "Bobby");
await bob.subscribe("alice");
await until(() => alice.contacts.list.get("bob").asks);
assert.ok(list.includes("request bob"));
await bob.cancel("alice");
await until(() => !alice.contacts.records.size);
await alice.removeContact("bob");
await until(() => alice.contacts.list.get("bob")?.subscription !== "to");

// A channel.
const moved = [];
const room = alice.channel("general", ({ kind, user, total }) => moved.push(`${kind} ${user} ${total}`));
await room.ready;
await bob.join("general");
await until(() => room.total === 1);
assert.equal(alice.channel("general"), room, "a channel is watched once");
await bob.setStatus("away");
await bob.leave("general");
await until(() => room.total === 0 && !room.records.size);
assert.deepEqual(moved, ["join bob 1", "change bob 1", "leave bob 0"]);
assert.equal(await codeOf(alice.channel("no channel").ready), "bad_channel");

// Errors have codes, and harm nothing else.
for (const [call, code] of [
  [() => alice.setStatus("asleep"), "bad_request"],
  [() => alice.setText("a\u0000b"), "bad_text"],
  [() => alice.setText("half \ud83d"), "bad_request"],
  [() => alice.setText("x".repeat(600)), "bad_text"],
  [() => alice.setText("x".repeat(70_000)), "bad_request"],
  [() => alice.setStatus("dnd", { for: NaN }), "bad_request"],
  [() => alice.setStatus("dnd", { for: -1 }), "bad_request"],
  [() => alice.setStatus("dnd", { for: "30m" }), "bad_request"],
  [() => alice.setStatus("dnd", { until: "tomorrow" }), "bad_request"],
  [() => alice.setText({ toString: () => "x" }), "bad_request"],
  [() => alice.block("alice"), "bad_request"],
  [() => alice.getStatuses([7]), "bad_request"],
  [() => alice.getStatuses(), "bad_request"],
  [() => alice.getStatus(), "bad_request"],
  [() => alice.watch(undefined).ready, "bad_request"],
  [() => alice.getStatuses(["a b"]), "bad_name"],
  [() => alice.request(200), "unknown_type"],
  [() => alice.request("get_status"), "bad_request"],
  [() => alice.request(null), "unknown_type"],
  [() => connect({ url, user: "x y", device: "d" }), "bad_hello"],
  [() => connect({ url, user: "alice", device: "d", status: "offline" }), "bad_hello"],
  [() => connect({ url: `${url}?token=x`, user: "alice" }), "bad_request"],
  [() => connect({ url: "ftp://127.0.0.1", user: "alice" }), "bad_request"],
  [() => connect({ user: "alice" }), "bad_request"],
  [() => connect({ url: "alice", user: "alice" }), "bad_request"],
  [() => connect({ url: url.replace("//", "//alice@") }), "bad_request"],
  [() => connect({ url: "ws://127.0.0.1:1/ws", user: "alice" }), "unreachable"],
]) {
  assert.equal(await codeOf((async () => call())()), code, String(call));
}
const refused = await alice.setStatus("asleep").catch((error) => error);
assert.ok(refused instanceof PresenceError && refused instanceof Error && !refused.temporary);
assert.equal(alice.state, "online");

// A listener that throws, at once or later, stops nobody.
const complaints = [];
globalThis.reportError = (error) => complaints.push(error.message);
const heard = [];
assert.equal(taps.sockets.length, 1, "nothing of this has cost the link");
alice.on("own", () => { throw new Error("first"); });
alice.on("own", async () => { throw new Error("second"); });
const off = alice.on("own", (own) => heard.push(own.text));
await alice.setText("still here");
await until(() => heard.includes("still here") && complaints.length === 2);
off();
off();

// Two clients with one id: the later has it, and the earlier one ends for good.
const later = await connect({ url, user: "alice", device: "desk" });
await until(() => alice.state === "closed");
assert.equal(alice.error.code, "replaced");
assert.equal(await codeOf(alice.getStatus("bob")), "replaced");
assert.equal(await codeOf(alice.watch(["bob"]).ready), "replaced");
assert.equal(watch.error.code, "replaced");
await assert.rejects(async () => { for await (const _ of watch); }, { code: "replaced" });

// Closed while it connects, and twice.
const line = await cable(url);
line.freeze(true);
const early = await connect({ url: line.url, user: "zoe", retry: true });
assert.equal(early.state, "connecting");
const waiting = codeOf(early.getStatus("bob"));
await Promise.all([early.close(), early.close()]);
assert.equal(await waiting, "closed");
assert.equal(early.state, "closed");
line.close();

// Bye: nobody waits for the grace time.
const seen = bob.watch(["alice"]);
await until(() => seen.get("alice")?.status === "online");
await later.close();
await until(() => seen.get("alice").status === "offline", "she is gone before the grace is over, which takes minutes");
await later.close();
await bob.close();
done();
