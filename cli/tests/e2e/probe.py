"""A WebSocket client written byte by byte, that can break every rule a library keeps."""

import base64
import os
import socket
import struct

FIN, RSV1 = 0x80, 0x40
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
SECONDS = 20


def frame(first, payload=b"", masked=True, length=None):
    """A frame whose first byte is `first`; `length` overrides the bytes that tell the payload's length."""
    if length is None:
        if len(payload) < 126:
            length = bytes([len(payload)])
        elif len(payload) < 65536:
            length = b"\x7e" + struct.pack(">H", len(payload))
        else:
            length = b"\x7f" + struct.pack(">Q", len(payload))
    if not masked:
        return bytes([first]) + length + payload
    key = os.urandom(4)
    repeated = key * (len(payload) // 4 + 1)
    body = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated[: len(payload)], "big")).to_bytes(len(payload), "big")
    return bytes([first, length[0] | 0x80]) + length[1:] + key + body


def close(code=None, reason=b""):
    return frame(FIN | CLOSE, b"" if code is None else struct.pack(">H", code) + reason)


def upgrade(path="/v1/echo", without=(), **changed):
    """An upgrade request; `changed` replaces or adds headers (underscores for dashes), `without` leaves some out."""
    headers = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    }
    headers.update({name.replace("_", "-"): value for name, value in changed.items()})
    lines = [f"{name}: {value}" for name, value in headers.items() if name not in without]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


class Probe:
    """One connection. `head` is the answer to its request, `status` its number."""

    def __init__(self, address, request=None):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.socket.sendall(request or upgrade())
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                break
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        self.head = head.decode("latin-1")
        self.status = int(self.head.split(" ")[1]) if " " in self.head else 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def header(self, name):
        """The value of a header of the answer; None if it is not there."""
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None

    def send(self, data, piece=None):
        """Sends in pieces of `piece` bytes. A server that has ended the connection meanwhile is no error."""
        try:
            for at in range(0, len(data), piece or len(data) or 1):
                self.socket.sendall(data[at : at + (piece or len(data))])
        except OSError:
            pass

    def _more(self):
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        return bool(data)

    def _take(self, n):
        if len(self.buffer) < n:
            parts, have = [self.buffer], len(self.buffer)
            while have < n:
                try:
                    data = self.socket.recv(1 << 18)
                except ConnectionResetError:
                    data = b""
                if not data:
                    self.buffer = b"".join(parts)
                    return None
                parts.append(data)
                have += len(data)
            self.buffer = b"".join(parts)
        taken, self.buffer = self.buffer[:n], self.buffer[n:]
        return taken

    def read(self):
        """The next frame: its first byte and payload; None at the end of the connection."""
        head = self._take(2)
        if head is None:
            return None
        length = head[1]
        if length & 0x80:
            return head[0], "masked"
        if length == 126:
            length = struct.unpack(">H", self._take(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self._take(8))[0]
        return head[0], self._take(length)

    def words(self):
        """Everything until the server closes, in words: `text hi`, `binary 3`, `pong p`, `close 1002`, `end`."""
        heard = []
        while True:
            try:
                came = self.read()
            except TimeoutError:
                return heard + ["silence"]
            if came is None:
                return heard + ["end"]
            first, payload = came
            if first == FIN | TEXT:
                heard.append(f"text {payload.decode()}")
            elif first == FIN | BINARY:
                heard.append(f"binary {len(payload)}")
            elif first == FIN | PONG:
                heard.append(f"pong {payload.decode('latin-1')}")
            elif first == FIN | CLOSE:
                heard.append(f"close {struct.unpack('>H', payload[:2])[0]}" if payload else "close")
            else:
                heard.append(f"frame {first:#x}")
