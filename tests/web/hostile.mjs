/** Servers that say what no server should, clocks that jump, and very many users. */

import assert from "node:assert/strict";

import { connect } from "../../presenced/web/presence.js";
import { codeOf, done, until } from "./harness.mjs";
import { politely, record, serve, welcome } from "./server.mjs";

const quickly = { user: "alice", device: "desk", sync: false };

// What a later server may say is passed over, and the answers beside it come.
{
  const server = await serve((link, message) => {
    const [type, id] = message;
    if (type === 7) link.say([127, id, "x"], [200, id], [97, id, {}], [0], [-1, id], ["toString", id], [67, 4_000_000_000, 1], [66, 0, "bad_request", "of nothing", 0]);
    politely(link, message);
  });
  const complaints = [];
  globalThis.reportError = (error) => complaints.push(error.code);
  const alice = await connect({ ...quickly, url: server.url });
  assert.equal((await alice.getStatus("bob")).status, "online");
  assert.deepEqual([alice.state, server.links.length, complaints], ["online", 1, ["bad_request"]]);
  await alice.close();
  server.close();
}

// What is no message ends the link, and the client comes back, with nothing lost and nothing told twice.
{
  const rubbish = ["", "x", "null", "7", "{}", '{"0":64}', '"[64]"', "[71]", "[71,null]", "[71,7]", '[76,"general","join",1,null]', "[69,1]", [2, [1, 2, 3]], [1, [0xff, 0xfe]], [3, []], [0, []], [9, Buffer.alloc(126)]];
  const server = await serve((link, message, number) => {
    politely(link, message);
    const [type] = message;
    if (type !== 1 || number > rubbish.length) return;
    setTimeout(() => {
      const wrong = rubbish[number - 1];
      if (typeof wrong === "string") link.text(wrong);
      else link.frame(...wrong);
      setTimeout(() => link.socket.destroy(), 10); // some of it is passed over
    }, 20);
  });
  const random = Math.random;
  Math.random = () => 0.001; // no patience between the attempts
  const told = [];
  const alice = await connect({ ...quickly, url: server.url });
  const watch = alice.watch("bob", ({ kind }) => told.push(kind));
  alice.channel("general");
  await until(() => server.links.length > rubbish.length && alice.state === "online", "it comes back each time");
  await watch.ready;
  assert.equal((await alice.getStatus("bob")).status, "online");
  assert.deepEqual(told, ["snapshot"]);
  Math.random = random;
  await alice.close();
  server.close();
}

// Endings: what is temporary is waited out as long as is asked, and not a moment less; the rest is final.
for (const [code, retryMs, isFinal] of [
  ["busy", 150, false],
  ["invented_later", 0, false],
  ["bad_frame", 0, true],
  ["replaced", 0, true],
  ["bad_version", 0, true],
  ["token_revoked", 0, true],
]) {
  let ended;
  const server = await serve((link, message, number) => {
    politely(link, message);
    if (message[0] === 1 && number === 1) {
      ended = performance.now();
      setTimeout(() => link.say([65, code, "enough", retryMs]) ?? link.end(), 5);
    }
  });
  const alice = await connect({ ...quickly, url: server.url });
  await until(() => alice.state === (isFinal ? "closed" : "reconnecting"), code);
  assert.equal(alice.error.code, code);
  if (isFinal) assert.equal(await codeOf(alice.getStatus("bob")), code);
  else {
    await until(() => alice.state === "online");
    assert.ok(performance.now() - ended >= retryMs);
    assert.deepEqual(server.links[1].heard[0].slice(13, 16), [true, true, server.links[0].heard[0][15]]);
  }
  await alice.close();
  server.close();
}

// First attempts that come to nothing.
for (const [met, code, timeout] of [
  [(link) => link.end(), "unreachable"],
  [(link) => link.say([65, "busy", "full", 10]), "busy"],
  [(link) => link.text("HTTP/1.1 400"), "garbled"],
  [() => {}, "no_answer", 150],
]) {
  const server = await serve(() => {}, met);
  const error = await connect({ ...quickly, url: server.url, timeout }).catch((error) => error);
  assert.equal(error.code, code);
  assert.equal(error.temporary, true);
  server.close();
}

// An interval of nothing does not make the client spin, and a server that falls silent is noticed.
{
  const server = await serve((link, message) => {
    if (message[0] === 1) link.say(welcome({ 5: 0, 6: 75_000 }));
    else if (link.isDeaf !== true) politely(link, message);
  });
  const alice = await connect({ ...quickly, url: server.url, timeout: 2000 });
  const since = performance.now();
  const beats = () => server.links[0].heard.filter(([type]) => type === 2).length;
  await until(() => performance.now() - since > 300 && beats() > 1);
  const most = (performance.now() - since) / 20 + 2;
  assert.ok(beats() <= most, `${beats()} heartbeats, and not ${most}`);
  server.links[0].isDeaf = true;
  await until(() => alice.state === "reconnecting");
  assert.equal(alice.error.code, "silent");
  await until(() => alice.state === "online");
  await alice.close();
  server.close();
}

// Idleness: until the program says that somebody is there, nothing is told; the first word of it is told at once.
{
  const server = await serve(politely);
  const alice = await connect({ ...quickly, url: server.url });
  const { heard } = server.links[0];
  await alice.request(4);
  assert.deepEqual(heard.filter(([type]) => type === 1 || type === 2).map(([type, ...rest]) => rest[type === 1 ? 8 : 0] ?? null), [null]);
  alice.idle(0);
  alice.idle(0);
  await alice.request(4);
  assert.deepEqual(heard.filter(([type]) => type === 2), [[2, 0]]);
  await alice.close();
  server.close();
}

// Clocks: set back by an hour, nothing happens; asleep for an hour, another link at once, and the idleness is real.
{
  const server = await serve(politely);
  const alice = await connect({ ...quickly, url: server.url });
  alice.idle(5000);
  const real = Date.now;
  Date.now = () => real() - 3_600_000;
  assert.equal((await alice.getStatus("bob")).status, "online");
  assert.equal(server.links.length, 1);
  assert.ok(Math.abs(alice.serverTimeMs - real()) < 600_000);
  Date.now = () => real() + 3_600_000;
  const late = codeOf(alice.request(4));
  await late;
  // What a timer would have done within the next 30 seconds.
  alice.idle(0);
  await until(() => server.links.length === 1);
  Date.now = real;
  await alice.close();
  server.close();
}

// Very many: 5,000 names by name, as many contacts, and 1,000 watches beside.
{
  const names = Array.from({ length: 5000 }, (_, at) => `user-${at}`);
  const server = await serve((link, message) => {
    politely(link, message);
    if (message[0] !== 1) return;
    for (let at = 0; at < 5000; at += 250) link.say([87, 1, 5, names.slice(at, at + 250).map((user) => record(`contact-${user}`)), at + 250 < 5000]);
  });
  const began = process.cpuUsage();
  const alice = await connect({ ...quickly, url: server.url, contacts: true });
  const watch = alice.watch(names);
  const apart = names.slice(0, 1000).map((user) => alice.watch(user));
  await Promise.all([watch.ready, alice.contacts.ready, ...apart.map(({ ready }) => ready)]);
  assert.deepEqual([watch.records.size, alice.contacts.records.size], [5000, 5000]);
  let changes = 0;
  watch.on("change", () => changes++);
  server.links[0].say(...names.map((user) => [71, record(user, { 1: "away", 7: 9 })]));
  await until(() => changes === 5000);
  for (const one of apart) one.close();
  watch.remove(names.slice(1));
  assert.equal(watch.records.size, 1);
  // Work that grew with the square of their number would take minutes of it.
  const { user, system } = process.cpuUsage(began);
  assert.ok(user + system < 20_000_000, `${(user + system) / 1000} ms of CPU`);
  await alice.close();
  server.close();
}
done();
