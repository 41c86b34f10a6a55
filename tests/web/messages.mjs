/** Prints every message that the client sends, call by call and over a lost link, as `message JSON`. */

import { connect } from "../../presenced/web/presence.js";
import { done, until } from "./harness.mjs";
import { politely, record, serve } from "./server.mjs";

const server = await serve((link, message, number) => {
  console.log(`message ${JSON.stringify(message)}`);
  const [type, id, names] = message;
  if (type === 15) link.say([72, id, "alice", []]);
  else if (type === 46) link.say([88, id, [], []]);
  else if (type === 8) link.say([70, id, 1, 10, 0, "", []]);
  else if (type === 9) link.say([69, id, 1, 10, names.map((user, at) => record(user, { 2: `text ${at}` }))]);
  else if (type === 57) link.say([90, id, 1, 10, 0, 1]);
  else politely(link, message, { 8: 200, 19: number === 2 });
  if (type === 1) {
    link.say([87, 1, 10, [record("dora")], false]);
    link.say([78, "alice", 90, record("alice"), [["manual", "manual", "dnd", 1, 2, ""]], 0, [["desk", "web", "Desk", "online", "connected", 0, 1, 1, true, "", "", 0]], "", ""]);
  }
});

const token = () => `e30.${btoa(JSON.stringify({ exp: Math.floor(Date.now() / 1000) + 2 }))}.${Math.random()}`;
const alice = await connect({ url: server.url, token, kind: "web", name: "Tab", contacts: true, meta: "m", focus: "start", priority: -1 });
alice.watch(["bob", "zoë@example.com"]);
const left = alice.watch(["carol"]);
alice.channel("general");
const other = alice.channel("other");
const ends = { until: new Date(Date.now() + 90_000.7) };
await Promise.all([
  left.ready,
  alice.setStatus("dnd", { text: "in a \"meeting\" \u{1F4C5} \\", emoji: "📅", for: 1234.5 }),
  alice.setStatus("auto"),
  alice.setText("", ends),
  alice.addClaim("call", "call", "dnd", { device: alice.device, ...ends }),
  alice.addClaim("trip", "calendar", "away", { for: 1000 }),
  alice.endClaim("call"),
  alice.getDevices(),
  alice.getStatus("bob"),
  alice.getStatuses(Array.from({ length: 600 }, (_, at) => `name-${at}`)),
  alice.who({ after: "b", limit: 5 }),
  alice.join("general"),
  alice.leave("elsewhere"),
  alice.subscribe("bob", "hello"),
  alice.subscribe("bob"),
  ...["approve", "cancel", "unsubscribe", "removeContact", "block", "unblock"].map((act) => alice[act]("bob")),
  alice.setContact("bob", { name: "Bob", groups: ["work"] }),
  alice.setContact("bob"),
  alice.getBlocked(),
  alice.request(59, "bob", 1000, ["online"]),
]);
left.close();
other.close();
alice.setFocus("general");
alice.setFocus("");
alice.idle(100.25);
await until(() => server.links[0].heard.some(([type]) => type === 35), "the token is renewed");
await new Promise((resolve) => setTimeout(resolve, 210)); // away by then: the next input is told
alice.idle(0);
await until(() => server.links[0].heard.some(([type, idleMs]) => type === 2 && idleMs < 50), "the input is told");
for (const number of [2, 3]) {
  server.links.at(-1).socket.destroy();
  await until(() => alice.state === "reconnecting");
  await until(() => alice.state === "online" && server.links.length === number);
  await alice.request(4);
}
await alice.close();
await until(() => server.links.at(-1).heard.at(-1)[0] === 3);
server.close();
done();
