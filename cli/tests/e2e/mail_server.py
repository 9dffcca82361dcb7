"""A mail server that knows what became of each of its answers: whether who sent the mail was there to read it.

It speaks SMTP (RFC 5321) with PIPELINING and keeps of a mail its recipient and its Message-ID alone. A mail is *whole* once its final dot is there. Of the answer
to that it says, from what the system tells of the connection:

- `confirmed`: something came on the connection after the answer;
- `read`: the connection was closed after the answer, and in order: Linux sends FIN if the closed socket had nothing left to read;
- `unread`: it was reset, which is what Linux does if there was something left to read, or if the answer came when nobody was there any more;
- `none`: the connection ended before there was an answer.
"""

import collections
import heapq
import random
import re
import selectors
import socket
import threading
import time

import server

MESSAGE_ID = re.compile(rb"^message-id:\s*(<[^>\r\n]*>)", re.IGNORECASE | re.MULTILINE)
RECIPIENT = re.compile(rb"RCPT TO:<([^>]*)>", re.IGNORECASE)


class Mail:
    """A mail that was whole."""

    __slots__ = ("recipient", "ident", "answer", "fate")

    def __init__(self, recipient, ident):
        self.recipient, self.ident = recipient, ident
        # Whether there is an answer, and what became of that.
        self.answer, self.fate = False, None


class Connection:
    def __init__(self, sock):
        self.sock, self.inbound, self.in_data = sock, bytearray(), False
        self.recipient = None
        # The last whole mail, and whether its answer is still to come.
        self.mail, self.waiting = None, False


class MailServer:
    """Listens on a free port. Answers final dots after a pause of up to `pause_s`."""

    def __init__(self, pause_s, seed):
        self.rng, self.pause_s = random.Random(seed), pause_s
        self.mails, self.lock = [], threading.Lock()
        self.connections_most = 0
        self.listener = socket.create_server(("127.0.0.1", server.free_port()), backlog=1024)
        self.listener.setblocking(False)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.open, self.answers, self.turn, self.ends = set(), [], 0, False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def count(self):
        return len(self.mails)

    def by_recipient(self):
        """The mails of each recipient, in the order in which they came."""
        found = collections.defaultdict(list)
        for mail in list(self.mails):
            found[mail.recipient].append(mail)
        return found

    def close(self):
        self.ends = True
        self.thread.join(10)

    def _run(self):
        while not self.ends:
            pause = min(0.05, max(0, self.answers[0][0] - time.monotonic())) if self.answers else 0.05
            for key, _ in self.selector.select(pause):
                if key.data is None:
                    self._accept()
                elif key.data in self.open:
                    self._readable(key.data)
            while self.answers and self.answers[0][0] <= time.monotonic():
                self._answer(heapq.heappop(self.answers)[2])
        for connection in list(self.open):
            connection.sock.close()
        self.listener.close()

    def _accept(self):
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(sock)
        self.selector.register(sock, selectors.EVENT_READ, connection)
        self.open.add(connection)
        self.connections_most = max(self.connections_most, len(self.open))
        self._say(connection, b"220 sink ESMTP\r\n")

    def _say(self, connection, text):
        try:
            connection.sock.send(text)
            return True
        except OSError:
            self._ended(connection, True)
            return False

    def _readable(self, connection):
        try:
            some = connection.sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            self._ended(connection, True)
            return
        if not some:
            self._ended(connection, False)
            return
        mail = connection.mail
        if mail is not None and mail.answer and mail.fate is None:
            mail.fate = "confirmed"
        connection.inbound += some
        self._parse(connection)

    def _parse(self, connection):
        out = bytearray()
        while connection in self.open and not connection.waiting:
            if connection.in_data:
                end = connection.inbound.find(b"\r\n.\r\n")
                if end < 0:
                    break
                self._whole(connection, bytes(connection.inbound[:end]))
                del connection.inbound[: end + 5]
                continue
            end = connection.inbound.find(b"\r\n")
            if end < 0:
                break
            line = bytes(connection.inbound[:end])
            del connection.inbound[: end + 2]
            out += self._command(connection, line)
        if out and connection in self.open:
            self._say(connection, bytes(out))

    def _command(self, connection, line):
        verb = line[:4].upper()
        if verb == b"EHLO":
            return b"250-sink\r\n250-PIPELINING\r\n250-SIZE 10000000\r\n250 8BITMIME\r\n"
        if verb == b"RCPT":
            connection.recipient = RECIPIENT.match(line).group(1).decode()
        if verb == b"DATA":
            connection.in_data = True
            return b"354 go on\r\n"
        return b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n"

    def _whole(self, connection, data):
        found = MESSAGE_ID.search(data.split(b"\r\n\r\n", 1)[0])
        mail = Mail(connection.recipient, found.group(1).decode() if found else None)
        self.mails.append(mail)
        connection.mail, connection.in_data, connection.waiting = mail, False, True
        self.turn += 1
        heapq.heappush(self.answers, (time.monotonic() + self.rng.uniform(0, self.pause_s), self.turn, connection))

    def _answer(self, connection):
        if connection not in self.open:
            return
        connection.waiting, connection.mail.answer = False, True
        if self._say(connection, b"250 2.0.0 taken\r\n"):
            self._parse(connection)

    def _ended(self, connection, reset):
        """The connection is over; `reset`: an error said so. One that came while nobody read is found on the socket."""
        if connection not in self.open:
            return
        self.open.discard(connection)
        try:
            reset = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0 or reset
        except OSError:
            reset = True
        self.selector.unregister(connection.sock)
        connection.sock.close()
        mail = connection.mail
        if mail is not None and mail.fate is None:
            mail.fate = "none" if not mail.answer else "unread" if reset else "read"
