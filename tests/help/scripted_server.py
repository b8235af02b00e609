"""An HTTP server on its own port that answers each request as a script demands."""

import json
import socket
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Script:
    """The acts of the server.

    acts: one for each POST in turn. The last one repeats.
    got: the requests received.
    reads: whether GETs are accepted.
    """

    def __init__(self, *acts, reads=False):
        self.acts, self.reads = list(acts), reads
        self.got = []
        self.connections = set()

    def next(self):
        return self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]


def accept(handler):
    n = len(json.loads(handler.body)["events"])
    handler.answer(202, {"accepted": n, "duplicates": 0, "rejected": []})


def refuse(status, code, **headers):
    def act(handler):
        handler.answer(status, {"error": {"code": code, "message": "no", "fields": {}}}, headers)

    return act


def drop(handler):
    handler.close_connection = True
    handler.connection.close()


def accept_and_close(handler):
    accept(handler)
    handler.close_connection = True


@contextmanager
def serving(script, *, tls=None):
    """Run the server and yield its URL.

    tls: an ssl.SSLContext.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.body = self.rfile.read(int(self.headers["Content-Length"]))
            script.got.append((self.path, self.body, dict(self.headers)))
            script.connections.add(self.client_address)
            script.next()(self)

        def do_GET(self):
            if script.reads:
                script.got.append((self.path, b"", dict(self.headers)))
            self.answer(200 if script.reads else 403, {})

        def do_PUT(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(200, {})

        def answer(self, status, value, headers=None):
            body = json.dumps(value).encode()
            self.send_response(status)
            for name, text in (headers or {}).items():
                self.send_header(name.replace("_", "-"), text)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            """Ignore a client that hangs up or refuses our certificate.

            No one reads the error message any more.
            """
            if not isinstance(sys.exc_info()[1], OSError):
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.daemon_threads = True
    server.block_on_close = False  # a kept-alive connection would hold the test up
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def closed_port():
    """Return a port on which no program listens."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]
