"""An independent WebSocket client: connects, acknowledges, resumes, and writes down every push it sees."""

import asyncio
import json
import random
import time
from dataclasses import dataclass, field

import websockets
from websockets.asyncio.client import connect


@dataclass
class Push:
    """One push frame as it came off the socket."""

    id: str
    body: str
    seq: int
    session: str
    replay: bool
    at: float
    stream: str = "user"


@dataclass
class Client:
    """One device of one user. `url()` and `token()` are asked before each connection attempt."""

    user: str
    device: str
    url: object
    token: object
    acknowledges: bool = True
    # Goes where it is told to by `moved`.
    follows: bool = False
    moves: list = field(default_factory=list)
    moved_to: str = None
    log: list = field(default_factory=list)
    recalls: list = field(default_factory=list)
    hellos: list = field(default_factory=list)
    errors: list = field(default_factory=list)
    stopped: bool = False
    online: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self):
        self.task = asyncio.create_task(self._run())
        return self

    async def stop(self):
        self.stopped = True
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def say(self, frame):
        """Sends a frame on the session that stands."""
        await self.ws.send(json.dumps(frame))

    def ids(self):
        return [push.id for push in self.log]

    async def _run(self):
        wait = 0.05
        resume = None
        while not self.stopped:
            try:
                url = self.moved_to or f"{self.url()}/v1/ws"
                if resume:
                    url += f"?resume={resume[0]}&seq={resume[1]}"
                headers = {"Authorization": f"Bearer {self.token(self.user, self.device)}"}
                async with connect(
                    url, additional_headers=headers, compression=None, ping_interval=None, max_queue=None, open_timeout=20
                ) as ws:
                    wait = 0.05
                    resume = await self._session(ws)
            except (OSError, websockets.WebSocketException, asyncio.TimeoutError) as error:
                self.errors.append(repr(error))
            finally:
                self.online.clear()
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))
            wait = min(wait * 2, 1.0)

    async def _session(self, ws):
        """Serves one session until it ends; returns what a resume needs."""
        hello = json.loads(await ws.recv())
        if hello["type"] != "hello":
            raise ValueError(f"first frame is {hello}")
        self.hellos.append(hello)
        self.ws = ws
        self.online.set()
        session, seen, acked = hello["session"], 0, 0
        acks = asyncio.Event()

        async def acknowledge():
            nonlocal acked
            while True:
                await acks.wait()
                acks.clear()
                if seen > acked:
                    acked = seen
                    await ws.send(json.dumps({"type": "ack", "seq": acked}))
                await asyncio.sleep(0.005)

        acker = asyncio.create_task(acknowledge())
        try:
            async for text in ws:
                frame = json.loads(text)
                if frame["type"] == "push":
                    seen = frame["seq"]
                    self.log.append(Push(
                        frame["id"], frame.get("body"), seen, session, frame["replay"], time.monotonic(), frame["stream"]))
                    if self.acknowledges:
                        acks.set()
                elif frame["type"] == "recall":
                    self.recalls.append(frame["id"])
                elif frame["type"] == "moved" and frame.get("url"):
                    self.moves.append((time.monotonic(), frame["url"]))
                    if self.follows:
                        self.moved_to = frame["url"]
                        asyncio.get_running_loop().call_later(frame["after_ms"] / 1000, lambda: asyncio.ensure_future(ws.close()))
        except websockets.ConnectionClosed:
            pass
        finally:
            acker.cancel()
            await asyncio.gather(acker, return_exceptions=True)
        return hello["resume"], seen
