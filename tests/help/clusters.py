"""PostgreSQL servers that a test makes, moves and throws away.

with made() as old, made() as new:      two empty servers, each in a closed folder of its own
    with django_on(old):                Django's connection, and its memory, belong to that server
        ...
    old.run("pg_dump", ...)             a program of the same version, as the servers' user
"""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from django.core.management import call_command
from django.db import connection

from config.addresses import database_address
from config.embedded import DATABASE, PostgreSQL
from config.home import Home, ServiceAccount
from config.processes import Child
from recommender.process_state import forget_all
from tests.help.patience import PATIENCE_S

_CONNECTION = ("HOST", "PORT", "NAME", "USER", "PASSWORD", "OPTIONS", "SESSION")


class Cluster:
    """A PostgreSQL server that can be stopped, copied and started again.

    options: settings that differ from those of a first run, as `wal_level="logical"`.
    """

    def __init__(self, home: Home, **options: str) -> None:
        self.home, self.options = home, options
        self.server = PostgreSQL(home=home, account=ServiceAccount.of_services(), durable=False)
        self.child: Child | None = None

    @property
    def sockets(self) -> str:
        return str(self.home.sockets)

    @property
    def port(self) -> str:
        return self.options.get("port", "5432")

    @property
    def url(self) -> str:
        return f"postgres://postgres@{quote(self.sockets, safe='')}:{self.port}/{DATABASE}"

    @property
    def data(self) -> Path:
        return self.server.data

    @property
    def user(self) -> dict[str, Any]:
        """Return the arguments of subprocess that run a program as the servers' user."""
        account = self.server.account
        return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}

    def start(self) -> None:
        self.home.make()
        child = self.server.prepare()
        given = [part for name, value in self.options.items() for part in ("-c", f"{name}={value}")]
        child.argv = [*child.argv, *given]
        child.start_and_wait(within_s=PATIENCE_S)
        self.child = child

    def stop(self) -> None:
        if self.child:
            self.child.stop()

    def run(self, program: str, *arguments: str | Path, database: str = DATABASE) -> str:
        """Run one of PostgreSQL's programs on this server, and return its output."""
        done = subprocess.run(
            [str(self.server._binaries() / program), *map(str, arguments)],
            env={
                "PATH": "/usr/bin:/bin",
                "PGHOST": self.sockets,
                "PGPORT": self.port,
                "PGUSER": "postgres",
                "PGDATABASE": database,
            },
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            **self.user,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def execute(self, query: str, database: str = DATABASE) -> list[tuple]:
        with psycopg.connect(
            host=self.sockets, port=self.port, user="postgres", dbname=database, autocommit=True
        ) as session:
            cursor = session.execute(query)
            return cursor.fetchall() if cursor.description else []

    def spend_transactions(self, n: int) -> None:
        """Move the server's transaction counter on by n."""
        self.execute(f"DO $$ BEGIN FOR n IN 1..{n} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")

    def counter(self) -> int:
        return self.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")[0][0]

    def folder(self, name: str) -> Path:
        """Make a folder that the server may write into."""
        return self.home.make_for(self.server.account, self.home.path / name)


@contextlib.contextmanager
def made(*, is_started: bool = True, **options: str) -> Iterator[Cluster]:
    """Yield a server that ends with the block."""
    with Home.temporary() as home:
        cluster = Cluster(home, **options)
        home.make()
        if is_started:
            cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


@contextlib.contextmanager
def django_on(cluster: Cluster, database: str = DATABASE, user: str = "postgres") -> Iterator[None]:
    """Connect Django to a server, as in a process that has just started there."""
    with django_at(f"postgres://{user}@{quote(cluster.sockets, safe='')}:{cluster.port}/{database}"):
        yield


@contextlib.contextmanager
def django_at(url: str, options: str = "") -> Iterator[None]:
    """Connect Django to a DATABASE_URL, as in a process that has just started with it.

    options: further settings of the sessions, in libpq's form.
    """
    more = f"?options={quote(options)}" if options else ""
    connection.close()
    before = {name: connection.settings_dict[name] for name in _CONNECTION}
    session = {name: before["SESSION"][name] for name in ("statement_timeout", "synchronous_commit", "timezone")}
    entry = database_address.parse(url + more, session)
    entry["OPTIONS"]["connect_timeout"] = int(PATIENCE_S)
    connection.settings_dict |= entry
    forget_all()
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict |= before
        forget_all()


def migrate() -> None:
    """Make the tables in the database that Django is connected to."""
    call_command("migrate", verbosity=0)
