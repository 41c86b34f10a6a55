/**
 * The adapter of the JavaScript client: `node javascript_adapter.mjs [presence.js]`.
 *
 * It reads lines of JSON from its input and writes others (protocol.md, 27.3).
 */

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const given = process.argv[2];
const { connect } = await import(given ? pathToFileURL(given) : new URL("../../web/presence.js", import.meta.url));

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const shown = ({ user, status, text, emoji, device }) => ({ user, status, text, emoji, device });
const words = { online: "connected", reconnecting: "reconnecting", closed: "closed" };

const isOfPresence = (error) => error?.name === "PresenceError";

const errorOf = (error) =>
  isOfPresence(error)
    ? { code: error.code, temporary: error.temporary, message: error.message }
    : { code: "adapter_failed", temporary: false, message: String(error?.stack ?? error) };

/** One client of the runner's, and what it watches. Each method is a command. */
class Driven {
  #number;
  #presence = null;
  #watches = [];
  #channels = new Map();

  constructor(number) {
    this.#number = number;
  }

  #tell(event, fields) {
    say({ client: this.#number, event, ...fields });
  }

  #changed = (change) => this.#tell("change", shown(change.record));

  async #follow(view, tell) {
    try {
      for await (const item of view) tell(item);
    } catch (error) {
      // The end of the client is told as its state.
      if (!isOfPresence(error)) throw error;
    }
  }

  async connect({ url, user, device, token, tokens, kind, name, status, contacts, timeout_ms: timeout }) {
    const left = [...(tokens ?? [])];
    const next = () => (left.length > 1 ? left.shift() : left[0]);
    const options = { url, user, device, token: tokens ? next : token, kind, name, status, contacts, timeout, sync: false };
    for (const option of Object.keys(options)) if (options[option] === undefined) delete options[option];
    this.#presence = await connect(options);
    this.#tell("state", { state: "connected", code: null });
    this.#presence.on("state", ({ state, error }) => this.#tell("state", { state: words[state], code: error?.code ?? null }));
    return { user: this.#presence.user, device: this.#presence.device };
  }

  async close() {
    await this.#presence.close();
  }

  async forget() {
    await this.#presence?.close();
  }

  async nothing() {}

  async ping() {
    await this.#presence.request(4);
  }

  async watch({ users }) {
    const watch = this.#presence.watch(users);
    await watch.ready;
    this.#watches.push(watch);
    this.#follow(watch, this.#changed);
  }

  async unwatch({ users }) {
    for (const watch of this.#watches) watch.remove(users.filter((user) => watch.get(user)));
    await this.ping();
  }

  async get_status({ user }) {
    return shown(await this.#presence.getStatus(user));
  }

  async get_statuses_apart({ users }) {
    return (await Promise.all(users.map((user) => this.#presence.getStatus(user)))).length;
  }

  async set_status({ status, text, emoji, for_ms }) {
    await this.#presence.setStatus(status, { text, emoji, for: for_ms });
  }

  async contacts() {
    await this.#presence.contacts.ready;
    this.#follow(this.#presence.contacts, this.#changed);
  }

  async watch_channel({ channel }) {
    const view = this.#presence.channel(channel);
    await view.ready;
    this.#channels.set(channel, view);
    this.#follow(view, ({ kind, user, record }) => {
      const isIn = kind !== "leave";
      if (user) this.#tell("member", { channel, user, is_in: isIn, status: isIn ? record.status : "offline" });
    });
  }

  async members({ channel }) {
    const view = this.#channels.get(channel);
    return { total: view.total, users: [...view.records.keys()].sort() };
  }

  async join({ channel }) {
    await this.#presence.join(channel);
  }

  async leave({ channel }) {
    await this.#presence.leave(channel);
  }
}

const commands = Object.getOwnPropertyNames(Driven.prototype).filter((name) => name !== "constructor");
say({ adapter: "presenced for JavaScript", transports: ["websocket"], commands });

const clients = new Map();
for await (const line of createInterface({ input: process.stdin })) {
  const call = JSON.parse(line);
  if (!clients.has(call.client)) clients.set(call.client, new Driven(call.client));
  const driven = clients.get(call.client);
  driven[call.do](call).then(
    (value) => say({ call: call.call, value: value ?? null }),
    (error) => say({ call: call.call, error: errorOf(error) }),
  );
}
process.exit(0);
