// A receiver of webhooks, with nothing but Node (20 or newer): it checks each signature, and handles each event once.
//
//     SECRET_FILE=/etc/presenced/webhook-secrets LISTEN=127.0.0.1:8080 HANDLED=handled.log node webhook_receiver.mjs
//
// An event comes at least once, and those of a user come in order. So it is enough to know of each user how far its
// events are handled. This program keeps that in a file, one line for each event; where there is a database, write it
// in the transaction that does the work.

import { createHmac, timingSafeEqual } from "node:crypto";
import { closeSync, existsSync, openSync, readFileSync, writeSync } from "node:fs";
import { createServer } from "node:http";

// What fails is one line, and no trace of this program. A reader that has read enough, as `| head` does, is no failure.
process.on("uncaughtException", (error) => {
  if (error.code === "EPIPE") process.exit(0);
  console.error(`webhook_receiver: ${error.message}`);
  process.exit(1);
});

const BODY_BYTES_MAX = 1 << 20;
const CLOCKS_DIFFER_S_MAX = 300; // an older delivery may be one that somebody has recorded

if (!process.env.SECRET_FILE) {
  console.error("SECRET_FILE names no file; give the one that the daemon has as webhooks.secret_file");
  process.exit(2);
}
const secrets = readFileSync(process.env.SECRET_FILE, "utf8")
  .split(/\s+/)
  .filter(Boolean)
  .map((line) => Buffer.from(line.replace(/^whsec_/, ""), "base64"));

function isGenuine(headers, body) {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > CLOCKS_DIFFER_S_MAX) return false;
  const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), body]);
  const given = (headers["webhook-signature"] ?? "").split(" ").map((part) => Buffer.from(part));
  return secrets.some((secret) => {
    const expected = Buffer.from("v1," + createHmac("sha256", secret).update(signed).digest("base64"));
    return given.some((one) => one.length === expected.length && timingSafeEqual(one, expected));
  });
}

// Of each user, the epoch and the number of the last event that is handled.
const path = process.env.HANDLED ?? "handled.log";
const handled = new Map();
if (existsSync(path)) {
  for (const line of readFileSync(path, "utf8").split("\n").slice(0, -1)) {
    try {
      const [user, epoch, seq] = JSON.parse(line);
      handled.set(user, { epoch, seq });
    } catch {
      // A line that was cut off by a crash: its event was not acknowledged, and comes again.
    }
  }
}
const file = openSync(path, "a");
writeSync(file, "\n"); // so that a line which was cut off stays alone

function handle({ type, data }) {
  const before = handled.get(data.user);
  if (before?.epoch === data.epoch && before.seq >= data.seq) return; // it has come before
  handled.set(data.user, { epoch: data.epoch, seq: data.seq });
  // The work: an application would send a mail here, or close a shift.
  console.log(`${data.user} ${type} ${data.old} -> ${data.new} ${data.reason}`.trimEnd());
  writeSync(file, JSON.stringify([data.user, data.epoch, data.seq]) + "\n");
}

function receive(request, response) {
  const parts = [];
  let length = 0;
  request.on("data", (part) => {
    length += part.length;
    if (length > BODY_BYTES_MAX) request.destroy();
    else parts.push(part);
  });
  request.on("end", () => {
    const body = Buffer.concat(parts);
    if (request.method !== "POST" || !isGenuine(request.headers, body)) {
      response.writeHead(401).end();
      return;
    }
    const said = JSON.parse(body.toString());
    for (const event of Array.isArray(said) ? said : [said]) {
      // After events_lost: ask for everybody's status now, and go on from there.
      if (event.type === "events_lost") console.log("events were lost");
      else if (event.type !== "test") handle(event);
    }
    response.writeHead(204).end(); // not before the events are handled
  });
}

const [, host, port] = /^(.*):(\d+)$/.exec(process.env.LISTEN ?? "127.0.0.1:8080");
const server = createServer(receive);
server.listen(Number(port), host, () => console.error(`listening on http://${host}:${server.address().port}/`));
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    closeSync(file);
    process.exit(0);
  });
}
