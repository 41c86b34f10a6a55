/** Tokens: a function that is asked in time, fails, is slow or keeps an old one; a string that comes to its end. */

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";

import { connect } from "../../presenced/web/presence.js";
import { codeOf, done, tap, until } from "./harness.mjs";

const [url, secret] = process.argv.slice(2);
const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A token for alice that ends so many seconds from now. `n` makes it another one. */
function mint(seconds, n = 0) {
  const body = `${part({ alg: "HS256" })}.${part({ sub: "alice", exp: Math.floor(Date.now() / 1000) + seconds, n })}`;
  const token = `${body}.${createHmac("sha256", secret).update(body).digest("base64url")}`;
  console.log(`token ${token}`);
  return token;
}

// The link goes on behind the end of its first token. Of the time in which a client renews it the first moment is drawn:
// so a busy machine has more than a second for it.
const random = Math.random;
Math.random = () => 0;
const taps = tap();
const tokens = [];
const longlived = await connect({
  ...{ url, device: "long", WebSocket: taps.WebSocket },
  async token() {
    tokens.push(mint(tokens.length ? 600 : 8, tokens.length));
    return tokens.at(-1);
  },
});
assert.equal(longlived.user, "alice", "the token says who it is");
Math.random = random;
const ended = Date.now() + 8500;

// A function that fails, fails the attempt; later it is asked again, and no error says a token.
let answer = () => Promise.reject(new Error("no session"));
const failing = { url, device: "failing", token: () => answer() };
const failed = await connect(failing).catch((error) => error);
assert.deepEqual([failed.code, failed.temporary], ["token_failed", true]);
answer = () => new Promise(() => {});
assert.equal(await codeOf(connect({ ...failing, timeout: 300 })), "no_answer");
answer = () => 7;
assert.equal(await codeOf(connect(failing)), "bad_hello");
answer = () => undefined;
assert.equal(await codeOf(connect(failing)), "bad_request");
answer = () => mint(-5);
assert.equal(await codeOf(connect(failing)), "token_expired");
answer = () => `${mint(600)}x`;
const forged = await connect(failing).catch((error) => error);
assert.deepEqual([forged.code, forged.temporary], ["bad_token", false]);
assert.ok(!forged.message.includes("eyJ") && !String(forged.stack).includes("eyJ"));

// A link whose token has ended while no other could be had comes back when one can.
let calls = 0;
answer = () => mint(4);
const returning = await connect({ ...failing, device: "returning" });
answer = () => {
  calls++;
  return Promise.reject(new Error("still no session"));
};
const codes = [];
returning.on("state", ({ state, error }) => codes.push(`${state} ${error?.code ?? ""}`));

// A string is shown until its end, and then nothing else can be shown.
const fixed = await connect({ url, device: "fixed", token: mint(4) });
await until(() => fixed.state === "closed");
assert.equal(fixed.error.code, "token_expired");

await until(() => codes.includes("reconnecting token_failed"));
assert.ok(calls >= 1);
answer = () => mint(600);
await until(() => returning.state === "online");
assert.equal(codes[0], "reconnecting token_expired");

await until(() => Date.now() > ended);
assert.equal(longlived.state, "online");
assert.equal((await longlived.getStatus("alice")).status, "online");
assert.equal(taps.sockets.length, 1);
assert.equal(taps.ofType(35).length, 1);
assert.equal(taps.ofType(35)[0][2], tokens[1]);
assert.deepEqual(taps.urls, [url]);
assert.ok(!JSON.stringify([longlived, returning, fixed]).includes("eyJ"), "nobody reads a token off a client");
await Promise.all([longlived.close(), returning.close()]);
done();
