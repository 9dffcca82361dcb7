// `/v1/echo` driven by node's `ws`: echo_node.cjs URL [deflate]. Prints a JSON object a fact.
"use strict";
const crypto = require("node:crypto");
const WebSocket = require("ws");

const [url, mode] = process.argv.slice(2);
const deflate = mode === "deflate";
const name = deflate ? "with deflate: " : "";

function fact(holds, what, detail = "") {
  console.log(JSON.stringify({ holds, what: name + what, detail: String(detail) }));
}

function open(options = {}) {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(url, { perMessageDeflate: deflate, maxPayload: 17 << 20, ...options });
    ws.heard = [];
    ws.waiting = [];
    const deliver = (event) => (ws.waiting.length ? ws.waiting.shift()(event) : ws.heard.push(event));
    ws.on("message", (data, binary) => deliver({ kind: binary ? "binary" : "text", data }));
    ws.on("pong", (data) => deliver({ kind: "pong", data }));
    ws.on("close", (code) => deliver({ kind: "close", code }));
    ws.on("error", reject);
    ws.on("open", () => resolve(ws));
  });
}

function next(ws) {
  if (ws.heard.length) return Promise.resolve(ws.heard.shift());
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("nothing came in 30 s")), 30_000);
    ws.waiting.push((event) => (clearTimeout(timer), resolve(event)));
  });
}

async function messages() {
  const ws = await open();
  fact(ws.extensions === (deflate ? "permessage-deflate" : ""), `extensions "${ws.extensions}"`);
  const wrong = [];
  for (const size of [0, 1, 125, 126, 65535, 65536, 1 << 20, 16 << 20]) {
    for (const [kind, data] of [["binary", crypto.randomBytes(size)], ["text", Buffer.from("ü".repeat(size / 2))]]) {
      ws.send(data, { binary: kind === "binary", compress: true });
      const came = await next(ws);
      if (came.kind !== kind || !came.data.equals(data)) wrong.push(`${kind} ${size}: ${came.kind}`);
    }
  }
  fact(wrong.length === 0, "messages of 8 sizes up to 16 MiB come back, binary and text", wrong);

  // Control frames go between the fragments as they are written.
  const parts = Array.from({ length: 200 }, (_, n) => crypto.randomBytes((n * 37) % 3000));
  const expected = [];
  parts.forEach((part, n) => {
    ws.send(part, { binary: true, fin: n === parts.length - 1, compress: true });
    if (n % 20 === 10) {
      ws.ping(`ping ${n}`);
      expected.push(`ping ${n}`);
    }
  });
  const pongs = [];
  let came = await next(ws);
  while (came.kind === "pong") {
    pongs.push(came.data.toString());
    came = await next(ws);
  }
  fact(came.kind === "binary" && came.data.equals(Buffer.concat(parts)), "200 fragments are one message");
  fact(pongs.join() === expected.join(), "pings between fragments are answered before the message", pongs);

  ws.close(4000, "bye");
  came = await next(ws);
  fact(came.kind === "close" && came.code === 4000, "a close gets its code back", JSON.stringify(came));
  const bare = await open();
  bare.close();
  came = await next(bare);
  fact(came.code === 1005, "a close without a code is answered without one", JSON.stringify(came));
}

async function smallWindows() {
  const wrong = [];
  for (const bits of [9, 12, 15]) {
    const ws = await open({ perMessageDeflate: { serverMaxWindowBits: bits, clientMaxWindowBits: bits, threshold: 0 } });
    for (const size of [1, 500, 3000, 50000]) {
      const text = `${bits} words of ${size}, `.repeat(size / 16 + 1);
      ws.send(text);
      const came = await next(ws);
      if (came.kind !== "text" || came.data.toString() !== text) wrong.push(`${bits}: ${size}`);
    }
    ws.close();
  }
  fact(wrong.length === 0, "windows of 9, 12 and 15 bits in both directions", wrong);
}

async function violations() {
  for (const [what, send, code] of [
    ["a frame without a mask", (ws) => ws.send("hi", { mask: false }), 1002],
    ["a text that is not UTF-8", (ws) => ws.send(Buffer.from([0xff, 0xfe]), { binary: false }), 1007],
    ["more than 16 MiB", (ws) => ws.send(crypto.randomBytes((16 << 20) + 1)), 1009],
    ["a reserved opcode", (ws) => ws._socket.write(Buffer.from([0x83, 0x80, 1, 2, 3, 4])), 1002],
    ["RSV2", (ws) => ws._socket.write(Buffer.from([0xa1, 0x80, 1, 2, 3, 4])), 1002],
  ]) {
    const ws = await open();
    ws.removeAllListeners("error").on("error", () => {});
    send(ws);
    const came = await next(ws);
    fact(came.kind === "close" && came.code === code, `${what} is closed with ${code}`, JSON.stringify(came));
  }
}

messages()
  .then(deflate ? smallWindows : () => {})
  .then(violations)
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
