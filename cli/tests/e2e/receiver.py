"""A webhook's receiver over HTTPS: keeps what is posted, and refuses the first posts."""

import hashlib
import hmac
import http.server
import json
import ssl
import threading


class Receiver:
    """Listens on a free port; the first `refusals` posts are answered with 500."""

    def __init__(self, certificate, key, secret, refusals=1):
        self.secret, self.refusals = secret, refusals
        self.lock = threading.Lock()
        # (body, status answered), in the order they came.
        self.posts, self.forged = [], []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        # The handshake is made by the connection's own thread: one that stalls holds up no other.
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}/results"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def _handler(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self):
                try:
                    super().handle()
                except OSError:
                    # A client that does not trust the certificate goes away.
                    self.close_connection = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver.post(self.headers.get("Pushgate-Signature", ""), body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        return Handler

    def post(self, signature, body):
        """Keeps a batch; the status to answer."""
        parts = dict(part.split("=", 1) for part in signature.split(",") if "=" in part)
        signed = hmac.new(self.secret, parts.get("t", "").encode() + b"." + body, hashlib.sha256).hexdigest()
        with self.lock:
            if not hmac.compare_digest(signed, parts.get("v1", "")):
                self.forged.append((signature, body))
            status = 500 if len(self.posts) < self.refusals else 204
            self.posts.append((body, status))
            return status

    def results(self):
        """What was taken: (app, result) each."""
        with self.lock:
            taken = [json.loads(body) for body, status in self.posts if status == 204]
        return [(batch["app"], result) for batch in taken for result in batch["results"]]

    def came_again(self):
        """Whether a batch that was refused was taken later, as it was."""
        with self.lock:
            refused = {body for body, status in self.posts if status == 500}
            return bool(refused) and refused <= {body for body, status in self.posts if status == 204}

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
