"""The home: the folder where a first run keeps its data, and the addresses in it.

All paths follow from the project's path (or from `GROUNDSWELL_HOME`). `manage.py` in a second terminal therefore
finds the private servers that the supervisor started, although neither process informs the other. Settings import
this module, so it uses the standard library only. It writes nothing until a caller asks for it.

The home is closed to other users. If Groundswell runs as root, PostgreSQL and Valkey run as the user `nobody`,
because PostgreSQL refuses to run as root. Other users may then pass through the home but not list it, and the folders
in it are closed to them. The sockets are in a separate folder with a short, plain path, because the address of a unix
socket has at most 107 bytes.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

SCOPES = ("ingest", "read", "admin")
_SOCKET_DIR_MAX = 80  # leaves room below 108 bytes for "/.s.PGSQL.5432.lock"
_PLAIN = re.compile(r"[A-Za-z0-9._/-]+")


class CannotStart(Exception):
    """Error that explains why Groundswell cannot start here and what to do."""


@dataclass(frozen=True)
class ServiceAccount:
    """The unprivileged user of the private servers when Groundswell runs as root."""

    uid: int
    gid: int

    @classmethod
    def of_services(cls) -> "ServiceAccount | None":
        """Return the account `nobody` for root, and None (no change of user) for others."""
        if os.geteuid() != 0:
            return None
        try:
            entry = pwd.getpwnam("nobody")
        except KeyError:
            raise CannotStart(
                "PostgreSQL does not run as root, and this machine has no user `nobody` to run it. "
                "Run Groundswell as an ordinary user, or set DATABASE_URL, BROKER_URL and VIEW_URL."
            ) from None
        return cls(entry.pw_uid, entry.pw_gid)


@dataclass(frozen=True)
class Home:
    path: Path

    @classmethod
    def of_project(cls, base_dir: Path) -> "Home":
        """Return the home of this project.

        `GROUNDSWELL_HOME` wins. The default is `.groundswell` in the project. If root runs Groundswell in a folder
        that other users cannot reach, the home is in /var/tmp.
        """
        if override := os.environ.get("GROUNDSWELL_HOME"):
            return cls(Path(override).expanduser().absolute())
        base_dir = base_dir.resolve()
        if os.geteuid() == 0 and not _can_be_walked_through(base_dir):
            return cls(Path("/var/tmp") / f"groundswell-{_digest(base_dir)}")  # noqa: S108 - owner is checked
        return cls(base_dir / ".groundswell")

    @classmethod
    @contextlib.contextmanager
    def temporary(cls) -> Iterator["Home"]:
        """Yield a home that is deleted afterwards.

        It is in /tmp, even if TMPDIR names another folder. Paths there are short, and every user can pass through.
        """
        path = Path(tempfile.mkdtemp(prefix="groundswell-", dir="/tmp"))
        home = cls(path)
        try:
            yield home
        finally:
            shutil.rmtree(path, ignore_errors=True)
            if home.sockets.parent != path:
                shutil.rmtree(home.sockets, ignore_errors=True)

    # -- places ---------------------------------------------------------------------------------------------
    @property
    def sockets(self) -> Path:
        inside = self.path / "run"
        if len(os.fsencode(inside)) <= _SOCKET_DIR_MAX and _PLAIN.fullmatch(str(inside)):
            return inside
        return Path("/tmp") / f"groundswell-{_digest(self.path)}"  # noqa: S108 - owner is checked

    @property
    def logs(self) -> Path:
        return self.path / "log"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics"

    # -- addresses ------------------------------------------------------------------------------------------
    @property
    def database_url(self) -> str:
        return f"postgres://postgres@{quote(str(self.sockets), safe='')}:5432/groundswell"

    @property
    def valkey_socket(self) -> Path:
        return self.sockets / "valkey.sock"

    @property
    def broker_url(self) -> str:
        return f"redis+socket://{self.valkey_socket}?virtual_host=0"

    @property
    def view_url(self) -> str:
        return f"unix://{self.valkey_socket}?db=1"

    # -- secrets --------------------------------------------------------------------------------------------
    def secret_key(self) -> str:
        """Return the key that signs sessions and keys the hashes.

        It is made on first use and kept in a file that only its owner can read.
        """
        return self._keep("secret_key", lambda: secrets.token_urlsafe(48))

    def credentials(self) -> dict[str, Any]:
        """Return `{"operator", "password", "keys": {scope: key}}` of a first run.

        They are made on first use and kept.
        """

        def make() -> str:
            keys = {scope: f"gs_{secrets.token_urlsafe(24)}" for scope in SCOPES}
            password = secrets.token_urlsafe(12)
            return json.dumps({"operator": "operator", "password": password, "keys": keys}, indent=1)

        kept: dict[str, Any] = json.loads(self._keep("credentials.json", make))
        return kept

    def _keep(self, name: str, make: Callable[[], str]) -> str:
        file = self.path / name
        with contextlib.suppress(FileNotFoundError), self._explaining():
            return file.read_text()
        self.make()
        with self._explaining():
            descriptor, draft = tempfile.mkstemp(prefix=f".{name}.", dir=self.path)  # only the owner can read it
            with open(descriptor, "w") as out:
                out.write(make())
                out.flush()
                os.fsync(out.fileno())
            try:
                os.link(draft, file)  # the first process wins, and any other reads that file
            except FileExistsError:
                pass
            finally:
                os.unlink(draft)
            return file.read_text()

    # -- the folder -----------------------------------------------------------------------------------------
    def make(self) -> None:
        """Make the home and our folders in it, but refuse a home of another user."""
        with self._explaining():
            _make_dir(self.path, 0o711 if os.geteuid() == 0 else 0o700)
            for path in (self.logs, self.metrics):
                _make_dir(path, 0o700)

    def make_for(self, account: ServiceAccount | None, path: Path) -> Path:
        """Make a closed folder for the user that the servers run as."""
        with self._explaining():
            _make_dir(path, 0o700, account)
        return path

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock that only one supervisor of this home can have.

        The system releases the lock when its holder dies.
        """
        self.make()
        with self._explaining():
            file = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(file, 32, 0).decode().strip() or "unknown"
                raise CannotStart(
                    f"Groundswell is already running on {self.path} (process {holder}). "
                    "Stop it there with Ctrl-C, or set GROUNDSWELL_HOME to another folder for a second one."
                ) from None
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(file)

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise CannotStart(
                f"{error.filename} is closed to this user ({_name_of(os.geteuid())}). Run Groundswell as the user "
                f"who made {self.path}, delete it to start afresh, or set GROUNDSWELL_HOME to a folder of your own."
            ) from error
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise CannotStart(f"Cannot use {self.path}: {error}. Set GROUNDSWELL_HOME to another folder.") from error


def _make_dir(path: Path, mode: int, account: ServiceAccount | None = None) -> None:
    """Make a folder, or check that an existing one is ours.

    In /tmp another user may have made the folder first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    found = os.lstat(path)
    owners = {os.geteuid()} | ({account.uid} if account else set())
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
        raise PermissionError(1, f"belongs to {_name_of(found.st_uid)}", str(path))
    if account and found.st_uid != account.uid:
        os.chown(path, account.uid, account.gid)
    if stat.S_IMODE(found.st_mode) != mode:
        os.chmod(path, mode)


def _can_be_walked_through(path: Path) -> bool:
    """Return whether any user can reach the contents of this folder.

    Every folder up to the root must have the x permission for others.
    """
    return all(os.stat(folder).st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
