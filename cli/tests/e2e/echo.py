#!/usr/bin/env python3
"""`/v1/echo` against clients of other languages: Python's `websockets`, node's `ws`, and a prober that breaks every rule.

  echo.py

Fragments with control frames in between, messages of 16 MiB, violations with their close codes, the handshake's rules; over
both engines, with compression off and on.
"""

import asyncio
import json
import pathlib
import subprocess
import tempfile

import echo_deflate
import echo_library
import server
from dev import Dev
from probe import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, Probe, close, frame, upgrade
from verdict import Verdict

verdict = Verdict()
MIB = 1 << 20
BYE = close(1000)
ENDS = ["close 1000", "end"]

# What is sent, what is heard until the server closes.
CASES = {
    "a text and a binary message": (frame(FIN | TEXT, "grüße".encode()) + frame(FIN | BINARY, b"\0\xff") + BYE, ["text grüße", "binary 2", *ENDS]),
    "empty messages": (frame(FIN | TEXT) + frame(FIN | BINARY) + BYE, ["text ", "binary 0", *ENDS]),
    "pings get their payload back": (frame(FIN | PING, b"p" * 125) + frame(FIN | PING) + BYE, ["pong " + "p" * 125, "pong ", *ENDS]),
    "a pong nobody asked for": (frame(FIN | PONG, b"x") + frame(FIN | TEXT, b"y") + BYE, ["text y", *ENDS]),
    "fragments": (frame(TEXT, b"a") + frame(CONTINUATION) + frame(FIN, b"b") + BYE, ["text ab", *ENDS]),
    "control frames between fragments": (frame(TEXT, b"a") + frame(FIN | PING, b"1") + frame(CONTINUATION, b"b") + frame(FIN | PING, b"2") + frame(FIN, b"c") + BYE, ["pong 1", "pong 2", "text abc", *ENDS]),
    "a character cut by fragments": (frame(TEXT, b"\xf0\x9f") + frame(FIN, b"\x92\xa9") + BYE, ["text \U0001f4a9", *ENDS]),
    "a close without a code": (close(), ["close", "end"]),
    "a close with a reason": (close(4321, "grüße".encode()), ["close 4321", "end"]),
    "a close in the middle of a message": (frame(TEXT, b"a") + close(1001), ["close 1001", "end"]),
    "what follows a close is not read": (BYE + frame(FIN | TEXT, b"late") + frame(0xF3), ENDS),
    "a frame that is not masked": (frame(FIN | TEXT, b"hi", masked=False), ["close 1002", "end"]),
    "RSV1 without an extension": (frame(FIN | TEXT, b"ok") + frame(FIN | 0x40 | TEXT, b"x"), ["text ok", "close 1002", "end"]),
    "RSV2": (frame(FIN | 0x20 | TEXT, b"x"), ["close 1002", "end"]),
    "RSV3 on a ping": (frame(FIN | 0x10 | PING), ["close 1002", "end"]),
    "a reserved opcode": (frame(FIN | 3), ["close 1002", "end"]),
    "a reserved control opcode": (frame(FIN | 15), ["close 1002", "end"]),
    "a ping of 126 bytes": (frame(FIN | PING, b"p" * 126), ["close 1002", "end"]),
    "a ping in fragments": (frame(PING, b"p"), ["close 1002", "end"]),
    "a continuation of nothing": (frame(FIN, b"x"), ["close 1002", "end"]),
    "a message within a message": (frame(TEXT, b"a") + frame(FIN | TEXT, b"b"), ["close 1002", "end"]),
    "a 16-bit length that fits 7": (frame(FIN | BINARY, b"x" * 5, length=b"\x7e\0\5"), ["close 1002", "end"]),
    "a 64-bit length that fits 16": (frame(FIN | BINARY, b"x" * 5, length=b"\x7f" + b"\0" * 7 + b"\5"), ["close 1002", "end"]),
    "a length above 2^63": (frame(FIN | BINARY, b"", length=b"\x7f\x80" + b"\0" * 7), ["close 1002", "end"]),
    "a text that is not UTF-8": (frame(FIN | TEXT, b"\xce\xba\xed\xa0\x80"), ["close 1007", "end"]),
    "a bad byte though the message goes on": (frame(TEXT, b"ok") + frame(CONTINUATION, b"\xf4\x90"), ["close 1007", "end"]),
    "a bad byte though its frame goes on": (frame(FIN | TEXT, b"ok\xff" + b"x" * 100_000)[:30], ["close 1007", "end"]),
    "a text that ends within a character": (frame(FIN | TEXT, b"\xe2\x82"), ["close 1007", "end"]),
    "a close of one byte": (frame(FIN | CLOSE, b"\3"), ["close 1002", "end"]),
    "a close with a reason that is not UTF-8": (close(1000, b"\xff"), ["close 1007", "end"]),
    "a message above 16 MiB, told by its head": (frame(FIN | BINARY, length=b"\x7f" + (16 * MIB + 1).to_bytes(8, "big")), ["close 1009", "end"]),
}
for code in (1000, 1003, 1007, 1014, 3000, 4999):
    CASES[f"close code {code}"] = (close(code), [f"close {code}", "end"])
for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535):
    CASES[f"close code {code} may not be sent"] = (close(code), ["close 1002", "end"])


def frames(address):
    wrong = []
    for name, (sent, expected) in CASES.items():
        for piece in (None, 1):
            with Probe(address) as client:
                client.send(sent, piece)
                heard = client.words()
                if heard != expected:
                    wrong.append(f"{name}, pieces of {piece or len(sent)}: {heard}, not {expected}")
    verdict.fact(not wrong, f"{len(CASES)} sequences of frames, whole and byte by byte, are answered to the letter", "; ".join(wrong[:5]))


def large(address):
    """16 MiB in one frame and in 4,096, a slow reader, and one byte too much."""
    payload = bytes(range(256)) * (16 * MIB // 256)
    with Probe(address) as client:
        client.send(frame(FIN | BINARY, payload))
        verdict.fact(client.read() == (FIN | BINARY, payload), "16 MiB in one frame come back")
        pieces = [frame(CONTINUATION if at else BINARY, payload[at : at + 4096]) for at in range(0, len(payload), 4096)]
        late = []
        for at in range(0, len(pieces), 512):
            client.send(b"".join(pieces[at : at + 512]) + frame(FIN | PING, str(at).encode()))
            if client.read() != (FIN | PONG, str(at).encode()):
                late.append(at)
        verdict.fact(not late, "pings among the fragments of a large message are answered at once", late)
        client.send(frame(FIN | CONTINUATION))
        verdict.fact(client.read() == (FIN | BINARY, payload), "16 MiB in 4,096 fragments come back as one message")
        client.send(frame(BINARY, payload) + frame(FIN | CONTINUATION, b"x"))
        verdict.fact(client.words() == ["close 1009", "end"], "16 MiB and one byte in two fragments are too much")


HANDSHAKES = {
    "a plain upgrade": (upgrade(), 101),
    "lists and cases in Connection and Upgrade": (upgrade(Connection="keep-alive, uPGRADE", Upgrade="WebSocket"), 101),
    "a target with scheme and authority": (upgrade(path="http://localhost/v1/echo"), 101),
    "an extension nobody knows is declined": (upgrade(Sec_WebSocket_Extensions="x-unknown; a=1"), 101),
    "compression is declined where it is off": (upgrade(Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits"), 101),
    "extensions that are no list": (upgrade(Sec_WebSocket_Extensions="a b"), 400),
    "subprotocols are offered, none is chosen": (upgrade(Sec_WebSocket_Protocol="a, b"), 101),
    "no Upgrade": (upgrade(without=["Upgrade"]), 426),
    "no Connection": (upgrade(without=["Connection"]), 400),
    "no version": (upgrade(without=["Sec-WebSocket-Version"]), 426),
    "version 8": (upgrade(Sec_WebSocket_Version="8"), 426),
    "no key": (upgrade(without=["Sec-WebSocket-Key"]), 400),
    "a key of 15 bytes": (upgrade(Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAA"), 400),
    "a key that is not base64": (upgrade(Sec_WebSocket_Key="?" * 24), 400),
    "two keys": (upgrade().replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"), 400),
    "no Host": (upgrade(without=["Host"]), 400),
    "two Hosts": (upgrade().replace(b"\r\n\r\n", b"\r\nHost: other\r\n\r\n"), 400),
    "POST": (upgrade().replace(b"GET", b"POST"), 405),
    "HTTP/1.0": (upgrade().replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
    "a body": (upgrade(Content_Length="5"), 400),
    "a folded header": (upgrade().replace(b"\r\n\r\n", b"\r\nX: a\r\n b\r\n\r\n"), 400),
}


def handshakes(address):
    wrong = []
    for name, (request, status) in HANDSHAKES.items():
        with Probe(address, request) as client:
            if client.status != status:
                wrong.append(f"{name}: {client.status}, not {status}")
            if status == 101 and (client.header("Sec-WebSocket-Extensions") or client.header("Sec-WebSocket-Protocol")):
                wrong.append(f"{name}: {client.head}")
            if status == 426 and client.header("Sec-WebSocket-Version") != "13":
                wrong.append(f"{name}: names no version")
    key = upgrade(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==")
    with Probe(address, key + frame(FIN | TEXT, b"early") + BYE) as client:
        if client.header("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=":
            wrong.append(f"the RFC's key: {client.head}")
        if client.words() != ["text early", *ENDS]:
            wrong.append("frames that come with the request are not heard")
    verdict.fact(not wrong, f"{len(HANDSHAKES)} requests get their status", "; ".join(wrong))


def node(address, *mode):
    """The same in JavaScript; prints one JSON object a fact."""
    script = pathlib.Path(__file__).with_name("echo_node.cjs")
    path = subprocess.run([server.ROOT / "scripts/node"], check=True, capture_output=True, text=True).stdout.strip()
    environment = {"NODE_PATH": path, "PATH": "/usr/local/bin:/usr/bin:/bin"}
    child = subprocess.run(["node", script, f"ws://{address}/v1/echo", *mode], env=environment, capture_output=True, text=True, timeout=120)
    for line in child.stdout.splitlines():
        fact = json.loads(line)
        verdict.fact(fact["holds"], f"node: {fact['what']}", fact["detail"])
    verdict.fact(child.returncode == 0, "node: the script comes to its end", child.stderr[-500:])


def plain(address):
    handshakes(address)
    frames(address)
    large(address)
    asyncio.run(echo_library.drive(f"ws://{address}/v1/echo", verdict))
    node(address)


def deflated(address):
    echo_deflate.drive(address, verdict)
    asyncio.run(echo_library.drive(f"ws://{address}/v1/echo", verdict, "deflate"))
    node(address, "deflate")


def test():
    for engine in ("auto", "epoll"):
        for compression, drive in (("false", plain), ("true", deflated)):
            print(f"-- engine {engine}, compression {compression}", flush=True)
            with tempfile.TemporaryDirectory(prefix="pushgate-echo-") as folder:
                dev = Dev(folder, {"PUSHGATE__GATEWAY__ENGINE": engine, "PUSHGATE__GATEWAY__COMPRESSION": compression})
                try:
                    dev.start()
                    address = dev.addresses["LISTEN"]
                    drive(address)
                    verdict.fact(Probe(address).status == 101, "the gateway goes on")
                finally:
                    dev.process.stop()
                    server.keep_logs(folder, f"echo-{engine}-{drive.__name__}")


if __name__ == "__main__":
    verdict.run(test)
