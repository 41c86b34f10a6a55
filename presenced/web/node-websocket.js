/**
 * The part of a browser's WebSocket that presence.js uses, for versions of Node that have none of their own (20, 21).
 * RFC 6455, as a client: text frames out, text frames in, pings answered, no extensions.
 */

import { createHash, randomBytes } from "node:crypto";
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const MESSAGE_BYTES_MAX = 2 ** 20 + 1024; // the longest message of a server, and some
const CLOSE_TIMEOUT_MS = 2000;
const CONTINUATION = 0, TEXT = 1, CLOSE = 8, PING = 9, PONG = 10;

export class NodeWebSocket {
  readyState = 0;
  protocol = "";
  onopen = null;
  onmessage = null;
  onclose = null;
  #socket = null;
  #request;
  #received = Buffer.alloc(0);
  #parts = [];
  #partsBytes = 0;
  #closing = [1006, ""];
  #timer;

  /** Connects at once. The handlers are called on later turns of the loop. */
  constructor(url, protocols) {
    const { protocol, href } = new URL(url);
    if (protocol !== "ws:" && protocol !== "wss:") throw new SyntaxError(`${protocol} is neither ws: nor wss:`);
    const key = randomBytes(16).toString("base64");
    const expected = createHash("sha1").update(key + GUID).digest("base64");
    const request = protocol === "wss:" ? requestHttps : requestHttp;
    this.#request = request(href.replace(/^ws/, "http"), {
      agent: false,
      headers: {
        Connection: "Upgrade",
        Upgrade: "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Protocol": protocols.join(", "),
      },
    });
    this.#request.on("upgrade", ({ headers }, socket, head) => {
      const isRight = headers["sec-websocket-accept"] === expected && protocols.includes(headers["sec-websocket-protocol"]);
      if (!isRight || headers["sec-websocket-extensions"]) {
        socket.destroy();
        return this.#ended();
      }
      this.protocol = headers["sec-websocket-protocol"];
      this.#opened(socket, head);
    });
    this.#request.on("response", (response) => {
      response.destroy();
      this.#ended();
    });
    this.#request.on("error", () => this.#ended());
    this.#request.end();
  }

  /** Send a text. Without effect once the connection is being closed. */
  send(text) {
    if (this.readyState === 0) throw new Error("the connection is not open yet");
    if (this.readyState === 1) this.#write(TEXT, Buffer.from(text));
  }

  /** Begin to close; `onclose` tells the end. Idempotent. */
  close(code = 1000) {
    if (this.readyState > 1) return;
    const wasOpen = this.readyState === 1;
    this.readyState = 2;
    if (!wasOpen) {
      this.#request.destroy();
      queueMicrotask(() => this.#ended());
      return;
    }
    this.#write(CLOSE, Buffer.from([code >> 8, code & 255]));
    this.#timer = setTimeout(() => this.#socket.destroy(), CLOSE_TIMEOUT_MS);
  }

  #opened(socket, head) {
    this.#socket = socket;
    if (this.readyState === 2) return void socket.destroy();
    this.readyState = 1;
    socket.setNoDelay(true);
    socket.on("data", (data) => this.#read(data));
    socket.on("end", () => socket.end());
    socket.on("error", () => {}); // `close` follows
    socket.on("close", () => this.#ended());
    this.onopen?.({});
    if (head.length) this.#read(head);
  }

  #ended() {
    clearTimeout(this.#timer);
    if (this.readyState === 3) return;
    this.readyState = 3;
    const [code, reason] = this.#closing;
    this.onclose?.({ code, reason });
  }

  #fail(code) {
    this.close(code);
    this.#socket.end();
  }

  #write(opcode, payload) {
    const length = payload.length;
    const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
    const header = Buffer.alloc(2 + extended + 4);
    header[0] = 0x80 | opcode;
    header[1] = 0x80 | (extended === 0 ? length : extended === 2 ? 126 : 127);
    if (extended === 2) header.writeUInt16BE(length, 2);
    if (extended === 8) header.writeBigUInt64BE(BigInt(length), 2);
    const mask = randomBytes(4);
    mask.copy(header, 2 + extended);
    const masked = Buffer.allocUnsafe(length);
    for (let at = 0; at < length; at++) masked[at] = payload[at] ^ mask[at & 3];
    this.#socket.write(Buffer.concat([header, masked]));
  }

  #read(data) {
    this.#received = this.#received.length ? Buffer.concat([this.#received, data]) : data;
    while (this.readyState < 3 && this.#received.length >= 2) {
      const [first, second] = this.#received;
      const short = second & 127;
      const start = short < 126 ? 2 : short === 126 ? 4 : 10;
      // A server masks nothing, and this client has agreed to no extension that would use the reserved bits.
      if (first & 0x70 || second & 0x80) return this.#fail(1002);
      if (this.#received.length < start) return;
      const length = start === 2 ? short : start === 4 ? this.#received.readUInt16BE(2) : Number(this.#received.readBigUInt64BE(2));
      if (length + this.#partsBytes > MESSAGE_BYTES_MAX) return this.#fail(1009);
      if (this.#received.length < start + length) return;
      const payload = this.#received.subarray(start, start + length);
      this.#received = this.#received.subarray(start + length);
      this.#frame(first & 15, Boolean(first & 0x80), payload);
    }
  }

  #frame(opcode, isFinal, payload) {
    if (opcode >= CLOSE && (!isFinal || payload.length > 125)) return this.#fail(1002);
    if (opcode === PING) return void (this.readyState === 1 && this.#write(PONG, payload));
    if (opcode === PONG) return;
    if (opcode === CLOSE) {
      if (payload.length >= 2) this.#closing = [payload.readUInt16BE(0), payload.toString("utf8", 2)];
      this.close(payload.length >= 2 ? this.#closing[0] : 1000);
      this.#socket.end();
      return;
    }
    if (opcode !== (this.#parts.length ? CONTINUATION : TEXT)) return this.#fail(opcode === 2 ? 1003 : 1002);
    this.#parts.push(payload);
    this.#partsBytes += payload.length;
    if (!isFinal) return;
    const message = Buffer.concat(this.#parts);
    this.#parts = [];
    this.#partsBytes = 0;
    let text;
    try {
      text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(message);
    } catch {
      return this.#fail(1007);
    }
    if (this.readyState === 1) this.onmessage?.({ data: text });
  }
}
