#!/usr/bin/env python3
"""A TCP relay that breaks: between clients and gateways, nodes and their links, nodes and Redis. It is a process of its own, so that what it
does takes no time of the test's, and is told what to do on its standard input, one JSON array a line.

A path has a listening address, and targets that new connections go to in turn: plain round robin, which neither looks whether a target is
there nor tries another. Its `mode` is one of MODES. Bytes that a mode holds back are given on in order once it is over, as those of a
network that comes back: TCP would have repeated them.
"""

import asyncio
import json
import subprocess
import sys

import server

# pass: give on. delay: give on later. hole: live connections stay open and carry nothing, neither do new ones. up, down: only that
# direction (up: from who connects) carries nothing. refuse: new connections are refused, live ones reset.
MODES = ("pass", "delay", "hole", "up", "down", "refuse")
READ_BYTES = 256 * 1024
# What waits for a peer that does not read, at most: then its sender is not read either.
WAITING_BYTES_MAX = 1 << 20


class Half(asyncio.Protocol):
    """One end of a relayed connection; what it reads goes to `other`."""

    def __init__(self, path, upward, other=None):
        self.path, self.upward, self.other = path, upward, other
        self.transport, self.held, self.ended, self.full, self.unreached = None, [], False, False, False

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(high=WAITING_BYTES_MAX)
        self.path.halves.add(self)
        if self.upward:
            target = self.path.next_target()
            self.opening = asyncio.ensure_future(self.open(target))

    async def open(self, target):
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self.joined(Half(self.path, False, self)), *target)
        except OSError:
            self.unreached = True
            self.transport.abort()
            return
        self.flush()

    def joined(self, other):
        self.other = other
        return other

    def passes(self):
        mode = self.path.mode
        return mode in ("pass", "delay") or mode == ("down" if self.upward else "up")

    def data_received(self, data):
        if self.path.mode == "pass" and self.ready() and not self.held:
            self.other.transport.write(data)
            return
        # With when it may go on; in order, whatever the mode becomes meanwhile.
        due = asyncio.get_running_loop().time() + (self.path.delay_s if self.path.mode == "delay" else 0)
        self.held.append((due, data))
        if sum(len(data) for _, data in self.held) > WAITING_BYTES_MAX:
            self.transport.pause_reading()
        self.flush()

    def ready(self):
        return self.other is not None and self.other.transport is not None

    def flush(self):
        """Gives on what was held back, if that may be."""
        if not self.passes() or not self.ready():
            return
        loop = asyncio.get_running_loop()
        while self.held:
            due, data = self.held[0]
            if due > loop.time():
                loop.call_at(due, self.flush)
                return
            self.held.pop(0)
            self.other.transport.write(data)
        if not self.full and not self.transport.is_closing():
            self.transport.resume_reading()
        if self.ended:
            self.other.transport.close()
            if self in self.path.lost:
                self.path.lost.remove(self)

    # Asyncio tells when the peer takes too little: its source is the other half.
    def pause_writing(self):
        self.other.full = True
        self.other.transport.pause_reading()

    def resume_writing(self):
        self.other.full = False
        if not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, _error):
        self.path.halves.discard(self)
        self.ended = True
        # The other end hears of it behind what is held, and when the network is back.
        if not self.unreached:
            self.path.lost.append(self)
            self.flush()


class Path:
    def __init__(self, listen, targets):
        self.listen, self.targets, self.turn = listen, targets, 0
        self.mode, self.delay_s, self.halves, self.lost, self.listener = "pass", 0.0, set(), [], None

    def next_target(self):
        self.turn += 1
        return self.targets[self.turn % len(self.targets)]

    async def open(self):
        loop = asyncio.get_running_loop()
        self.listener = await loop.create_server(lambda: Half(self, True), *self.listen, backlog=4096)

    async def set(self, mode, delay_ms):
        self.mode, self.delay_s = mode, delay_ms / 1000
        if mode == "refuse":
            if self.listener:
                self.listener.close()
                self.listener = None
            for half in list(self.halves):
                half.transport.abort()
        elif self.listener is None:
            await self.open()
        for half in [*self.halves, *self.lost]:
            half.flush()


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


async def serve():
    """Takes orders until the standard input ends."""
    paths = {}
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order, name, *words = json.loads(line)
        try:
            if order == "path":
                listen, targets = words
                paths[name] = Path(address(listen), [address(target) for target in targets])
                await paths[name].open()
            else:
                mode, delay_ms = words
                await paths[name].set(mode, delay_ms)
            answer = "ok"
        except (OSError, KeyError, ValueError) as error:
            answer = repr(error)
        print(answer, flush=True)


class Relay:
    """The process, as a test sees it."""

    def __init__(self):
        self.child = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _order(self, *words):
        self.child.stdin.write(json.dumps(words) + "\n")
        self.child.stdin.flush()
        answer = self.child.stdout.readline().strip()
        if answer != "ok":
            raise server.Failed(f"the relay, asked for {words}: {answer or 'it has ended'}")

    def path(self, name, *targets):
        """A path to the targets; the address to connect to."""
        listen = f"127.0.0.1:{server.free_port()}"
        self._order("path", name, listen, targets)
        return listen

    def set(self, name, mode, delay_ms=0):
        assert mode in MODES, mode
        self._order("set", name, mode, delay_ms)

    def stop(self):
        self.child.stdin.close()
        self.child.wait(10)


if __name__ == "__main__":
    asyncio.run(serve())
