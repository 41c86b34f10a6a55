/** A server whose every word a test chooses: WebSocket frames over Node's own http, without masking or fragments. */

import { createHash } from "node:crypto";
import http from "node:http";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
export const WELCOME = [64, 1, "alice", "desk", "user", 30000, 75000, 15000, 300000, 3600000, 65536, 256, 1000, 0, 1, 50, 200, "r", 15000, false];

export const welcome = (changes = {}) => Object.assign([...WELCOME], { 13: Date.now() }, changes);
export const record = (user, changes = {}) => Object.assign([user, "online", "", "", 1, 0, "phone", 5], changes);

/** Answers what a client asks for, so that a test has to say only what is wrong. */
export function politely(link, message, changes) {
  const [type, id, names] = message;
  if (type === 1) link.say(welcome(changes));
  else if (type === 4) link.say([68, id, Date.now()]);
  else if (type === 7 || type === 9) link.say([69, id, 1, 10, names.map((user) => record(user))]);
  else if (type === 56) link.say([69, id, 1, 10, []]);
  else if (type === 25 || type === 26) link.say([75, id, names, 10, 0, [0, 0, 0, 0, 0], "", []]);
  else if (type === 42) link.say([85, id, "alice", 1, true, "", [], []]);
  else if (![2, 3, 28].includes(type)) link.say([67, id, 10]);
}

/** Serve each link by `take(link, message)`. `links` are all that came, with what they sent (`heard`). */
export async function serve(take, met = () => {}) {
  const links = [];
  const server = http.createServer();
  server.on("upgrade", (request, socket) => {
    const accept = createHash("sha1").update(request.headers["sec-websocket-key"] + GUID).digest("base64");
    socket.on("error", () => {});
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: presence.v1.json\r\n\r\n`,
    );
    const link = {
      heard: [],
      socket,
      frame(opcode, payload) {
        const body = Buffer.from(payload);
        const head = body.length < 126 ? [body.length] : body.length < 65536 ? [126, body.length >> 8, body.length & 255] : null;
        const long = Buffer.alloc(9, 127);
        if (!head) long.writeBigUInt64BE(BigInt(body.length), 1);
        if (!socket.destroyed) socket.write(Buffer.concat([Buffer.from([0x80 | opcode]), head ? Buffer.from(head) : long, body]));
      },
      text: (text) => link.frame(1, text),
      say: (...messages) => messages.forEach((message) => link.text(JSON.stringify(message))),
      end: () => socket.end(),
    };
    links.push(link);
    let rest = Buffer.alloc(0);
    socket.on("data", (data) => {
      rest = Buffer.concat([rest, data]);
      for (;;) {
        if (rest.length < 2) return;
        const short = rest[1] & 127;
        const start = (short < 126 ? 2 : short === 126 ? 4 : 10) + 4;
        if (rest.length < start) return;
        const length = start === 6 ? short : start === 8 ? rest.readUInt16BE(2) : Number(rest.readBigUInt64BE(2));
        if (rest.length < start + length) return;
        const payload = Buffer.from(rest.subarray(start, start + length));
        for (let at = 0; at < length; at++) payload[at] ^= rest[start - 4 + (at & 3)];
        const opcode = rest[0] & 15;
        rest = rest.subarray(start + length);
        if (opcode === 8) {
          link.frame(8, payload);
          socket.end();
        }
        if (opcode !== 1) continue;
        const message = JSON.parse(payload.toString());
        link.heard.push(message);
        take(link, message, links.length);
      }
    });
    met(link, links.length);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `ws://127.0.0.1:${server.address().port}/ws`,
    links,
    close() {
      for (const { socket } of links) socket.destroy();
      server.close();
    },
  };
}
