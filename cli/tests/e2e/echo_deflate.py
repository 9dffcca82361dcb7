"""`/v1/echo` with compression on: what is agreed on, and deflated frames written and read with zlib."""

import random
import zlib

from probe import BINARY, CONTINUATION, FIN, PING, PONG, RSV1, TEXT, Probe, close, frame, upgrade

MIB = 1 << 20
BYE = close(1000)
ENDS = ["close 1000", "end"]
AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

OFFERS = {
    "permessage-deflate": AGREED,
    "permessage-deflate; client_max_window_bits": AGREED,
    "permessage-deflate;client_max_window_bits=8;server_no_context_takeover": AGREED,
    'permessage-deflate; server_max_window_bits="12"': f"{AGREED}; server_max_window_bits=12",
    "x-other; a=b, permessage-deflate; unknown=1, permessage-deflate; server_max_window_bits=9, permessage-deflate": f"{AGREED}; server_max_window_bits=9",
    "permessage-deflate; server_max_window_bits": None,
    "permessage-deflate; server_max_window_bits=16": None,
    "permessage-deflate; client_no_context_takeover; client_no_context_takeover": None,
    "permessage-deflate; client_no_context_takeover=1": None,
    "x-webkit-deflate-frame": None,
    "permessage-deflate; ;": 400,
    'permessage-deflate; server_max_window_bits="1': 400,
}


def deflate(plain, level=9):
    """A message's payload as zlib makes it."""
    maker = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (maker.compress(plain) + maker.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflate(payload, bits):
    """What zlib makes of a payload. Few bytes at a time, or it would find in its output what lies outside the window."""
    maker, rest, plain = zlib.decompressobj(-bits), payload + b"\0\0\xff\xff", []
    while rest:
        plain.append(maker.decompress(rest, 64))
        rest = maker.unconsumed_tail
    return b"".join(plain)


HELLO = deflate("grüße".encode())
DEFLATED = FIN | RSV1
STORED = b"\0\5\0\xfa\xffHello\0"

# What is sent, what is heard until the server closes. Short answers are never deflated.
CASES = {
    "a text and a binary message": (frame(DEFLATED | TEXT, HELLO) + frame(DEFLATED | BINARY, HELLO) + BYE, ["text grüße", "binary 7", *ENDS]),
    "a message that is not deflated between two that are": (frame(DEFLATED | TEXT, HELLO) + frame(FIN | TEXT, b"plain") + frame(DEFLATED | TEXT, HELLO) + BYE, ["text grüße", "text plain", "text grüße", *ENDS]),
    "empty messages": (frame(DEFLATED | TEXT, b"\0") + frame(DEFLATED | BINARY, deflate(b"")) + BYE, ["text ", "binary 0", *ENDS]),
    "a stored block": (frame(DEFLATED | TEXT, STORED) + BYE, ["text Hello", *ENDS]),
    "a last block": (frame(DEFLATED | TEXT, b"\xf3\x48\xcd\xc9\xc9\x07\0\0") + BYE, ["text Hello", *ENDS]),
    "fragments with control frames in between": (frame(RSV1 | TEXT, HELLO[:2]) + frame(FIN | PING, b"1") + frame(CONTINUATION) + frame(FIN | PING, b"2") + frame(FIN, HELLO[2:]) + BYE, ["pong 1", "pong 2", "text grüße", *ENDS]),
    "RSV1 on a continuation": (frame(RSV1 | TEXT, HELLO[:2]) + frame(FIN | RSV1, HELLO[2:]), ["close 1002", "end"]),
    "RSV1 on a continuation alone": (frame(TEXT, b"a") + frame(FIN | RSV1, HELLO), ["close 1002", "end"]),
    "RSV1 on a ping": (frame(DEFLATED | PING), ["close 1002", "end"]),
    "RSV1 on a close": (frame(DEFLATED | 8), ["close 1002", "end"]),
    "RSV1 and RSV2": (frame(DEFLATED | 0x20 | TEXT, HELLO), ["close 1002", "end"]),
    "a text that is not UTF-8 once inflated": (frame(DEFLATED | TEXT, deflate(b"\xce\xba\xed\xa0\x80")), ["close 1007", "end"]),
    "data that are cut short": (frame(DEFLATED | TEXT, HELLO[:-2]), ["close 1007", "end"]),
    "data that are none": (frame(DEFLATED | BINARY, b"\xff" * 20), ["close 1007", "end"]),
    "no data": (frame(DEFLATED | BINARY), ["close 1007", "end"]),
    "a bomb": (frame(DEFLATED | BINARY, deflate(bytes(16 * MIB + 1))), ["close 1009", "end"]),
    "a bomb in fragments": (frame(RSV1 | BINARY, deflate(bytes(64 * MIB))[:-1]) + frame(FIN, b"\0"), ["close 1009", "end"]),
    "three times 16 MiB at once": (frame(DEFLATED | BINARY, deflate(bytes(16 * MIB))) * 3 + BYE, None),
}


def drive(address, verdict):
    _agree(address, verdict)
    _frames(address, verdict)
    _answers(address, verdict)


def _agree(address, verdict):
    wrong = []
    for offer, agreed in OFFERS.items():
        with Probe(address, upgrade(Sec_WebSocket_Extensions=offer)) as client:
            status, answer = (400, None) if agreed == 400 else (101, agreed)
            if (client.status, client.header("Sec-WebSocket-Extensions")) != (status, answer):
                wrong.append(f"{offer}: {client.head}")
    verdict.fact(not wrong, f"{len(OFFERS)} offers get their answer", "; ".join(wrong))


def _open(address, offer="permessage-deflate"):
    return Probe(address, upgrade(Sec_WebSocket_Extensions=offer))


def _frames(address, verdict):
    wrong = []
    for name, (sent, expected) in CASES.items():
        # Byte by byte only what is short: the rest would take minutes.
        for piece in (None, 1) if len(sent) < 1000 else (None,):
            with _open(address) as client:
                client.send(sent, piece)
                heard = client.words()
                # How much comes in one read is the system's affair: all come back, or it is too much.
                right = heard == expected if expected else heard[-2:] == ["close 1013", "end"] or heard == ["binary 16777216"] * 3 + ENDS
                if not right:
                    wrong.append(f"{name}, pieces of {piece or len(sent)}: {heard}, not {expected}")
    verdict.fact(not wrong, f"{len(CASES)} sequences of deflated frames are answered to the letter", "; ".join(wrong[:5]))


def _answers(address, verdict):
    """What comes back deflated is what was sent, within the window asked for."""
    draw = random.Random(7)
    words = [bytes(draw.choices(range(97, 123), k=draw.randrange(2, 9))) for _ in range(200)]
    for bits in (8, 9, 12, 15):
        wrong, deflated, saved = [], 0, 0
        with _open(address, f"permessage-deflate; server_max_window_bits={bits}") as client:
            for size in (1, 255, 256, 257, 300, 511, 513, 4_000, 4_097, 32_768, 32_769, 100_000, MIB, MIB + 1):
                plain = b" ".join(draw.choices(words, k=size // 3 + 1))[:size]
                client.send(frame(DEFLATED | TEXT, deflate(plain)))
                first, payload = client.read()
                if first == DEFLATED | TEXT:
                    deflated, saved = deflated + 1, saved + size - len(payload)
                    payload = inflate(payload, bits)
                if payload != plain:
                    wrong.append(size)
        # Longer than the window, or than what is deflated at all, or not shorter once deflated: sent as it is.
        least = {8: 1, 9: 4, 12: 6, 15: 11}[bits]
        verdict.fact(not wrong and deflated >= least and saved > 0, f"answers deflated for a window of {bits} bits are inflated by zlib within it", f"wrong {wrong}, {deflated} deflated")
    with _open(address) as client:
        payload = bytes(16 * MIB)
        client.send(frame(DEFLATED | BINARY, deflate(payload)) + frame(FIN | PING, b"p"))
        came = client.read()
        verdict.fact(came == (FIN | BINARY, payload) and client.read() == (FIN | PONG, b"p"), "16 MiB that came deflated come back")
