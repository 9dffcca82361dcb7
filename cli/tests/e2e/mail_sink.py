"""A mail server of other people's making (aiosmtpd) that takes everything and keeps it as it came."""

import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

import server


class Sink:
    """Listens on a free port."""

    def __init__(self):
        self.lock = threading.Lock()
        # (sender, recipients, bytes), and every command line that came.
        self.mails, self.commands = [], []
        self.controller = _Controller(self, hostname="127.0.0.1", port=server.free_port(), ready_timeout=60)
        self.controller.start()
        self.address = f"127.0.0.1:{self.controller.port}"

    async def handle_DATA(self, _server, _session, envelope):
        with self.lock:
            self.mails.append((envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content))
        return "250 2.0.0 queued"

    def to(self, recipient):
        """What came for this recipient."""
        with self.lock:
            return [mail for mail in self.mails if recipient in mail[1]]

    def close(self):
        self.controller.stop(no_assert=True)


class _Controller(Controller):
    def __init__(self, sink, **more):
        self.sink = sink
        super().__init__(sink, **more)

    def factory(self):
        sink = self.sink

        class Server(SMTP):
            async def _call_handler_hook(self, command, *arguments):
                with sink.lock:
                    sink.commands.append(command)
                return await super()._call_handler_hook(command, *arguments)

        return Server(sink, enable_SMTPUTF8=True, data_size_limit=64 << 20, decode_data=False)
