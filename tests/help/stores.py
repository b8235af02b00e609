"""Valkey or Redis servers and sentinels that a test starts on free ports."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import redis

from tests.help.certificates import Certificates
from tests.help.patience import wait_for

PROGRAM = os.environ.get("VALKEY_BIN") or shutil.which("valkey-server") or shutil.which("redis-server")


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


class Store:
    """A server, or a sentinel, of its own folder."""

    def __init__(self, folder: Path, lines: list[str], *, is_sentinel: bool = False, tls: bool = False) -> None:
        self.port, self.tls = free_port(), tls
        file = folder / f"{self.port}.conf"
        port = [f"tls-port {self.port}", "port 0"] if tls else [f"port {self.port}"]
        own = [] if is_sentinel else ['save ""']
        file.write_text("\n".join([*port, "bind 127.0.0.1", f"dir {folder}", *own, *lines]) + "\n")
        assert PROGRAM
        with (folder / f"{self.port}.log").open("w") as log:
            self.process = subprocess.Popen(
                [PROGRAM, str(file), *(["--sentinel"] if is_sentinel else [])], stdout=log, stderr=subprocess.STDOUT
            )

    def ask(self, *command: str, password: str | None = None, **options) -> object:
        with redis.Redis(port=self.port, password=password, decode_responses=True, **options) as client:
            return client.execute_command(*command)

    def answers(self) -> bool:
        with socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


@contextlib.contextmanager
def secured(certificates: Certificates) -> Iterator[Store]:
    """Yield a store that takes TLS only."""
    with tempfile.TemporaryDirectory() as folder:
        lines = [
            f"tls-cert-file {certificates.certificate}",
            f"tls-key-file {certificates.key}",
            f"tls-ca-cert-file {certificates.authority}",
            "tls-auth-clients no",
        ]
        store = Store(Path(folder), lines, tls=True)
        try:
            wait_for(store.answers)
            yield store
        finally:
            store.kill()


class Watched:
    """A store with a replica, watched by three sentinels as `shop`."""

    PASSWORD, SENTINEL_PASSWORD = "of the store", "of/the sentinels"

    def __init__(self, folder: Path) -> None:
        login = [f'requirepass "{self.PASSWORD}"', f'masterauth "{self.PASSWORD}"', "repl-diskless-sync-delay 0"]
        self.first = Store(folder, login)
        self.second = Store(folder, [*login, f"replicaof 127.0.0.1 {self.first.port}"])
        watching = [
            f"sentinel monitor shop 127.0.0.1 {self.first.port} 2",
            f'sentinel auth-pass shop "{self.PASSWORD}"',
            "sentinel down-after-milliseconds shop 500",
            "sentinel failover-timeout shop 5000",
            f'requirepass "{self.SENTINEL_PASSWORD}"',
            f'sentinel sentinel-pass "{self.SENTINEL_PASSWORD}"',
        ]
        self.sentinels = [Store(folder, watching, is_sentinel=True) for _ in range(3)]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://:of%20the%20store@{hosts}/shop/0?sentinel_password=of%2Fthe%20sentinels"

    def is_ready(self) -> bool:
        try:
            link = self.second.ask("INFO", "replication", password=self.PASSWORD)
            return link["master_link_status"] == "up" and all(self._knows_all(each) for each in self.sentinels)
        except (redis.RedisError, OSError):
            return False

    def _knows_all(self, sentinel: Store) -> bool:
        for what in ("SLAVES", "SENTINELS"):
            known = sentinel.ask("SENTINEL", what, "shop", password=self.SENTINEL_PASSWORD)
            if len(known) != {"SLAVES": 1, "SENTINELS": 2}[what]:  # type: ignore[arg-type]
                return False
        return True

    def close(self) -> None:
        for each in (*self.sentinels, self.second, self.first):
            each.kill()


@contextlib.contextmanager
def watched() -> Iterator[Watched]:
    """Yield a store that fails over to its replica when it is killed."""
    with tempfile.TemporaryDirectory() as folder:
        found = Watched(Path(folder))
        try:
            wait_for(found.is_ready)
            yield found
        finally:
            found.close()
