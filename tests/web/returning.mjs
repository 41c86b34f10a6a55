/** A lost link: what is held is compared, only what differs is told, and what was asked meanwhile is done. */

import assert from "node:assert/strict";

import { connect } from "../../presenced/web/presence.js";
import { ask, cable, codeOf, done, tap, until } from "./harness.mjs";

const [url] = process.argv.slice(2);
const line = await cable(url);
const taps = tap();
const states = [];

const bob = await connect({ url, user: "bob", device: "b" });
const carol = await connect({ url, user: "carol", device: "c" });
const dave = await connect({ url, user: "dave", device: "d" });
await bob.setText("one");

const alice = await connect({ url: line.url, user: "alice", device: "desk", contacts: true, WebSocket: taps.WebSocket });
alice.on("state", ({ state }) => states.push(state));
await alice.subscribe("dave");
await dave.approve("alice");
await until(() => alice.contacts.get("dave"));
const told = [];
const watch = alice.watch(["bob", "carol"], ({ kind, user, record }) => told.push(`${kind} ${user} ${record.text}`));
const room = alice.channel("general", ({ kind, user }) => told.push(`${kind} ${user} in general`));
await Promise.all([watch.ready, room.ready]);
await alice.join("general");
await bob.join("general");
await until(() => room.total === 2 && room.records.size === 2);
alice.contacts.on("change", ({ kind, user }) => told.push(`contact: ${kind} ${user}`));
alice.contacts.on("list", ({ kind, user }) => told.push(`list: ${kind} ${user}`));
const observer = bob.watch(["alice"]);
const seen = [];
observer.on("change", ({ kind }) => seen.push(kind));
await observer.ready;
const last = () => taps.got.findLast(([type]) => type === 64);

async function away(meanwhile) {
  const sockets = taps.sockets.length;
  told.length = seen.length = states.length = taps.sent.length = taps.got.length = 0;
  line.cut();
  await until(() => alice.state === "reconnecting");
  await meanwhile?.();
  line.mend();
  await until(() => alice.state === "online");
  await alice.getStatus("alice");
  await alice.getStatus("alice");
  assert.ok(taps.sockets.length > sockets);
}

// Nothing has changed: nothing is told, to this page or to others, and a checksum was all that was asked.
await away();
assert.deepEqual(told, []);
assert.deepEqual(seen.filter((kind) => kind !== "snapshot"), []);
assert.equal(last()[19], true, "the lost link was taken back");
assert.equal(taps.ofType(57).length, 1);
assert.equal(taps.ofType(9).length + taps.ofType(56).length, 0);

// What came and went meanwhile is not told; what differs is, once. What was asked meanwhile is done.
let asked;
await away(async () => {
  await bob.setText("two");
  await bob.setText("one");
  await carol.setText("new");
  await dave.setText("hello");
  await bob.leave("general");
  asked = alice.setStatus("dnd", { for: 60_000 });
});
await asked;
await until(() => told.length >= 4);
assert.deepEqual(told.sort(), ["contact: text dave", "leave bob in general", "text carol new"].concat("change alice in general").sort());
assert.ok(taps.ofType(5).at(-1)[5] < 60_000, "the time without a link is taken off");
assert.equal(last()[19], true);

// Watched and left without a link.
const erin = alice.watch(["erin"]);
await erin.ready;
await away(async () => {
  erin.close();
  watch.remove("carol");
  void watch.add("fred");
});
await until(() => watch.get("fred"));
assert.deepEqual([...watch.records.keys()].sort(), ["bob", "fred"]);
await carol.setText("unheard");
await alice.getStatus("carol");
assert.ok(!told.some((one) => one.includes("unheard")));

// The list of contacts changes without a link: who is lost shows as offline, who is new is told.
const erik = await connect({ url, user: "erik", device: "e" });
await erik.setText("I am new");
await alice.subscribe("erik");
await away(async () => {
  await dave.cancel("alice");
  await erik.approve("alice");
  await erik.subscribe("alice", "may I?");
});
await until(() => alice.contacts.get("erik") && !alice.contacts.get("dave") && alice.contacts.list.get("erik").asks);
assert.deepEqual(told.filter((one) => one.startsWith("contact")).sort(), ["contact: offline dave", "contact: snapshot erik"]);
assert.ok(told.includes("list: request erik") && told.includes("list: removed dave"));
await alice.subscribe("dave");
await dave.approve("alice");
await until(() => alice.contacts.get("dave")?.status === "online");

// Sight is lost and is back.
told.length = 0;
await bob.block("alice");
await until(() => watch.get("bob").status === "offline");
await bob.unblock("alice");
await until(() => watch.get("bob").status === "online");
assert.deepEqual(told.filter((one) => /^o.* bob/.test(one)), ["offline bob ", "online bob one"]);

// What is wanted no longer by the time of the link is not asked for, and what a listener closes stays closed.
await away(async () => {
  alice.watch(["gone"]).close();
  const half = alice.watch(["gone", "half"]);
  half.remove("gone");
  half.close();
  assert.equal(await codeOf(Promise.race([alice.watch(["not a name"]).ready, new Promise((resolve) => setTimeout(resolve, 50))])), undefined);
});
assert.ok(taps.sent.every(([type, , names]) => type !== 9 || !(names.includes("gone") || names.includes("half"))));
await bob.setText("seen");
await until(() => watch.get("bob").text === "seen", "a bad name has not kept the others from being watched");
await bob.setText("one");
for (const moment of ["reconnecting", "online"]) {
  const fickle = await connect({ url: line.url, user: "fickle", device: moment });
  const asked = [];
  fickle.on("state", ({ state }) => state === moment && fickle.close());
  line.cut();
  await until(() => fickle.state !== "online");
  asked.push(codeOf(fickle.getStatus("bob")), codeOf(fickle.watch(["bob"]).ready));
  line.mend();
  await until(() => fickle.state === "closed");
  for (const code of await Promise.all(asked)) assert.ok([undefined, "closed"].includes(code), code);
  assert.equal(fickle.error, null);
}
await until(() => alice.state === "online");
await alice.getStatus("bob");

// The server is killed and starts again: it knows of no link that it could give back, and still only differences come.
told.length = taps.sent.length = 0;
bob.on("state", ({ state }) => state === "online" && told.push("bob is back"));
await ask("restart");
for (const one of [alice, bob, carol, dave, erik]) await until(() => one.state === "online", "everybody comes back");
await alice.getStatus("alice");
await alice.getStatus("alice");
told.splice(0);
await bob.setText("after");
await until(() => watch.get("bob").text === "after");
assert.deepEqual(told, ["text bob after"]);
assert.equal(last()[19], false);
assert.ok(taps.ofType(9).every(([, , , have]) => have.some(Boolean)), "the server is told what is held");
assert.equal(taps.ofType(1).at(-1)[13], true);

// Another device is told the contacts behind its welcome, and asks for none of them.
const second = tap();
const laptop = await connect({ url, user: "alice", device: "laptop", contacts: true, WebSocket: second.WebSocket });
await laptop.contacts.ready;
assert.deepEqual([...laptop.contacts.records.keys()].sort(), ["dave", "erik"]);
await laptop.getStatus("alice");
assert.equal(second.ofType(7).length, 1);
await laptop.close();

// Without a link a request is given up in time, and says why.
const hasty = await connect({ url: line.url, user: "hasty", device: "h", timeout: 2000 });
line.cut();
await until(() => hasty.state === "reconnecting");
assert.ok(["link_lost", "unreachable"].includes(await codeOf(hasty.getStatus("bob"))));
line.mend();
await until(() => hasty.state === "online");

for (const one of [alice, bob, carol, dave, erik, hasty]) await one.close();
line.close();
done();
