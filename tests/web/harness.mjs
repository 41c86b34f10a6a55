/** What the scripts of these tests share: waiting, a cable that can be cut, a look at what goes over it, and a dialogue
 *  with the test that runs the script. */

import net from "node:net";
import readline from "node:readline";

import { NodeWebSocket } from "../../presenced/web/node-websocket.js";

/** Returns once the condition holds, and fails after a long time with what was waited for. */
export async function until(condition, what = String(condition)) {
  const ends = performance.now() + 30_000;
  while (!condition()) {
    if (performance.now() > ends) throw new Error(`it did not come about: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** The code of the error with which the promise is rejected; undefined if it is kept. */
export async function codeOf(promise) {
  try {
    await promise;
  } catch (error) {
    return error.code;
  }
  return undefined;
}

/** A WebSocket constructor that keeps what is sent and received, as arrays: `taps.sent`, `taps.got`, `taps.urls`. */
export function tap() {
  const taps = { sent: [], got: [], urls: [], sockets: [] };
  taps.WebSocket = class extends NodeWebSocket {
    constructor(url, protocols) {
      super(url, protocols);
      taps.urls.push(url);
      taps.sockets.push(this);
      let own;
      const seen = (event) => {
        taps.got.push(JSON.parse(event.data));
        own(event);
      };
      Object.defineProperty(this, "onmessage", { get: () => own && seen, set: (handler) => (own = handler) });
    }

    send(text) {
      taps.sent.push(JSON.parse(text));
      super.send(text);
    }
  };
  taps.ofType = (type) => taps.sent.filter((message) => message[0] === type);
  return taps;
}

/** A cable to the server. `cut` breaks all connections, and lets none through until `mend`. */
export async function cable(url) {
  const { hostname, port, pathname } = new URL(url);
  const pairs = new Set();
  const state = { isCut: false, isFrozen: false };
  const server = net.createServer((near) => {
    if (state.isCut) return void near.destroy();
    const far = net.connect(Number(port), hostname);
    const pair = [near, far];
    pairs.add(pair);
    near.on("data", (data) => state.isFrozen || far.write(data));
    far.on("data", (data) => state.isFrozen || near.write(data));
    for (const one of pair) {
      one.on("error", () => {});
      one.on("close", () => pair.forEach((other) => other.destroy()) ?? pairs.delete(pair));
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `ws://127.0.0.1:${server.address().port}${pathname}`,
    cut() {
      state.isCut = true;
      for (const pair of pairs) pair.forEach((one) => one.destroy());
    },
    mend: () => (state.isCut = false),
    freeze: (isFrozen) => (state.isFrozen = isFrozen),
    close: () => server.close(),
  };
}

const lines = readline.createInterface({ input: process.stdin });
const heard = [];
lines.on("line", (line) => heard.push(line));

/** Ask the test for something, and return when it has been done. */
export async function ask(what) {
  console.log(what);
  await until(() => heard.length, `the test did: ${what}`);
  return heard.shift();
}

/** The script has come to its end. */
export function done() {
  lines.close();
  process.stdin.destroy();
  console.log("done");
}
