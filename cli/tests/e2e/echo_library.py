"""`/v1/echo` driven by Python's `websockets`."""

import asyncio
import random

import websockets
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

SIZES = (0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20, 16 << 20)


async def drive(url, verdict, compression=None):
    """Every fact about this library goes to `verdict`; with `compression="deflate"` the extension is offered."""
    name = "websockets with deflate" if compression else "websockets"
    options = {"compression": compression, "max_size": 17 << 20, "ping_interval": None, "open_timeout": 20}
    draw = random.Random(5)
    async with connect(url, **options) as ws:
        agreed = [extension.name for extension in ws.protocol.extensions]
        verdict.fact(agreed == (["permessage-deflate"] if compression else []), f"{name}: extensions {agreed}")
        wrong = []
        for size in SIZES:
            for message in (draw.randbytes(size), "ü" * (size // 2)):
                await ws.send(message)
                if await asyncio.wait_for(ws.recv(), 60) != message:
                    wrong.append(size)
        verdict.fact(not wrong, f"{name}: messages of {len(SIZES)} sizes up to 16 MiB come back, binary and text", wrong)

        parts = [draw.randbytes(draw.randrange(2_000)) for _ in range(300)]

        async def fragments():
            for n, part in enumerate(parts):
                if n % 100 == 50:
                    await asyncio.wait_for(await ws.ping(f"ping {n}"), 20)
                yield part

        await ws.send(fragments())
        verdict.fact(await asyncio.wait_for(ws.recv(), 20) == b"".join(parts), f"{name}: 300 fragments with pings answered in between are one message")
        await ws.send(["a", "ü", "", "z"])
        verdict.fact(await asyncio.wait_for(ws.recv(), 20) == "aüz", f"{name}: text in fragments")

        messages = [draw.randbytes(draw.randrange(100_000)) for _ in range(400)]

        async def flood():
            for message in messages:
                await ws.send(message)

        flooding = asyncio.create_task(flood())
        await asyncio.sleep(0.5)
        heard = [await asyncio.wait_for(ws.recv(), 60) for _ in messages]
        await flooding
        verdict.fact(heard == messages, f"{name}: 20 MB sent before the first answer is read come back in order")
        await ws.close(4321, "bye")
        verdict.fact((ws.close_code, ws.protocol.close_rcvd.code) == (4321, 4321), f"{name}: a close gets its code back", ws.close_code)

    clients = await asyncio.gather(*(connect(url, **options) for _ in range(50)))

    async def one(n, client):
        message = str(n) * 10_000
        await client.send(message)
        return await asyncio.wait_for(client.recv(), 60) == message and await client.close() is None

    verdict.fact(all(await asyncio.gather(*map(one, range(50), clients))), f"{name}: 50 connections at once each get their own")

    if compression:
        await _small_windows(url, verdict, name)
    for text, code in ((False, 1009), (True, 1007)):
        # Without `async with`: on its way out the library closes a transport that is gone, and fails.
        ws = await connect(url, **options)
        try:
            # The library sends text as it is told to, also if it is not text.
            await ws.send(b"\xff\xfe" if text else bytes((16 << 20) + 1), text=text)
            await asyncio.wait_for(ws.recv(), 60)
            verdict.fact(False, f"{name}: {code}", "an answer came")
        except websockets.ConnectionClosed as closed:
            verdict.fact(closed.rcvd and closed.rcvd.code == code, f"{name}: a message that may not be is closed with {code}", closed)


async def _small_windows(url, verdict, name):
    wrong = []
    for bits in (9, 10, 15):
        extension = ClientPerMessageDeflateFactory(server_max_window_bits=bits, client_max_window_bits=bits)
        async with connect(url, compression=None, extensions=[extension], max_size=2 << 20) as ws:
            for size in (1, 500, 1_000, 5_000, 40_000, 1 << 20):
                message = f"{bits} words of {size}, " * (size // 16 + 1)
                await ws.send(message)
                if await asyncio.wait_for(ws.recv(), 20) != message:
                    wrong.append((bits, size))
    verdict.fact(not wrong, f"{name}: windows of 9, 10 and 15 bits in both directions", wrong)
