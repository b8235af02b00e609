"""A port in front of PostgreSQL that refuses, drops or passes on connections."""

import contextlib
import socket
import threading
from collections.abc import Iterator

HOST = "127.0.0.1"


class FlakyPort:
    """A port on this machine. It refuses connections until told otherwise."""

    def __init__(self, target: tuple[str, int] | str) -> None:
        """Reserve the port.

        target: the address behind it, as host and port or as the path of a unix socket.
        """
        self._target = target
        with socket.socket() as trial:
            trial.bind((HOST, 0))
            self.port = trial.getsockname()[1]
        self._open: list[socket.socket] = []

    def refuse(self) -> None:
        """Close the port and every connection through it."""
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open = []

    def drop(self) -> None:
        """Fill the queue of the port, so that the kernel drops further packets."""
        self.refuse()
        self._listen(0)
        for _ in range(4):
            full = socket.socket()
            full.setblocking(False)
            full.connect_ex((HOST, self.port))
            self._open.append(full)

    def let_through(self) -> None:
        """Pass every connection on."""
        self.refuse()
        listening = self._listen(16)
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def _listen(self, backlog: int) -> socket.socket:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, self.port))
        listening.listen(backlog)
        self._open.append(listening)
        return listening

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.socket(socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET)
                server.connect(self._target)
                self._open += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def flaky_port(target: tuple[str, int] | str) -> Iterator[FlakyPort]:
    port = FlakyPort(target)
    yield port
    port.refuse()
