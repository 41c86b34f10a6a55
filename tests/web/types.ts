/** What the types must take and refuse. Nobody runs it: the compiler reads it. */

import { connect, PresenceError, type Change, type Options, type PresenceRecord, type Status } from "presenced";

const options: Options = { url: "wss://presence.example.org/ws", token: async () => "token", kind: "web" };
const presence = await connect({ ...options, contacts: true });
const off: () => void = presence.on("state", ({ state, error }) => console.log(state, error?.code, error?.temporary));
off();
presence.on("own", (own) => own.devices.map((device) => device.name));
const watch = presence.watch(["bob"], (change: Change) => console.log(change.record.text));
watch.on("change", ({ kind, old }) => kind === "snapshot" && old?.status);
watch.on("end", (error) => error?.retryMs);
for await (const { user, record } of watch) console.log(user, record satisfies PresenceRecord);
for await (const { kind, total } of presence.channel("general")) console.log(kind, total);
presence.contacts.on("list", ({ kind, contact }) => kind === "request" && contact?.note);
const status: Status = presence.status;
await presence.setStatus("dnd", { text: "in a meeting", until: new Date(), emoji: null });
await presence.setText("at lunch", { for: 60_000 });
await presence.addClaim("call-1", "call", "dnd", { device: presence.device });
const records: Map<string, PresenceRecord> = await presence.getStatuses(new Set(["bob"]));
const [type, id]: unknown[] = await presence.request(58);
try {
  await presence.block("mallory");
} catch (error) {
  if (error instanceof PresenceError && error.temporary) console.log(error.code);
}
await presence.close();

const plain = await connect();
// @ts-expect-error contacts may be missing if they were not asked for
plain.contacts.list;
// @ts-expect-error no status
await plain.setStatus("asleep");
// @ts-expect-error no event
plain.on("error", () => {});
// @ts-expect-error a record does not change
presence.own!.record.text = "x";
// @ts-expect-error a schedule makes its claims itself
await plain.addClaim("x", "schedule", "dnd");
// @ts-expect-error no option
await connect({ tokens: "x" });
export { id, records, status, type };
