"""Every option of DATABASE_URL is honoured, or refused by its name."""

import os
import shutil
import socket
from pathlib import Path
from urllib.parse import quote

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection

from config.addresses import database_address
from tests.help import certificates
from tests.help.clusters import django_at, made
from tests.help.patience import wait_for

SESSION = {"statement_timeout": "60000", "timezone": "UTC"}


def parse(url):
    return database_address.parse(url, SESSION)


def test_every_option_of_libpq_reaches_the_connection():
    entry = parse(
        "postgres://site:p%40ss%2F@db.example.com:6432/shop?sslmode=verify-full&sslrootcert=/etc/ca.pem"
        "&application_name=web&connect_timeout=9&keepalives_idle=5"
    )
    named = {name: entry[name] for name in ("HOST", "PORT", "USER", "PASSWORD", "NAME")}
    assert named == {"HOST": "db.example.com", "PORT": "6432", "USER": "site", "PASSWORD": "p@ss/", "NAME": "shop"}
    assert entry["OPTIONS"] == {
        "sslmode": "verify-full",
        "sslrootcert": "/etc/ca.pem",
        "application_name": "web",
        "connect_timeout": "9",
        "keepalives_idle": "5",
        "tcp_user_timeout": 10_000,
        "options": "-c statement_timeout=60000 -c timezone=UTC",
    }


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("postgres://a:5432,b:5433/db?target_session_attrs=read-write", "a,b", "5432,5433"),
        ("postgresql://[2001:db8::1]:5432/db", "2001:db8::1", "5432"),
        ("postgres://user@%2Fvar%2Frun%2Fpostgresql/db", "/var/run/postgresql", ""),
        ("postgres:///db?host=/var/run/postgresql&port=6000", "/var/run/postgresql", "6000"),
        ("postgres:///db", "", ""),
    ],
)
def test_hosts_of_every_kind_are_understood(url, host, port):
    entry = parse(url)
    assert (entry["HOST"], entry["PORT"], entry["NAME"]) == (host, port, "db")


def test_options_of_the_url_are_added_to_ours():
    entry = parse("postgres://h/db?options=" + quote(r"-c search_path=a,\ b --work-mem=8MB -cjit=off"))
    assert entry["SESSION"] == {"search_path": "a, b", "work_mem": "8MB", "jit": "off"} | SESSION
    assert entry["OPTIONS"]["options"].startswith(r"-c search_path=a,\ b -c work_mem=8MB -c jit=off -c statement")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgres://user:secret@h/db?sslmoode=require", "sslmoode"),
        ("postgres://user:secret@h/db?options=-c%20statement_timeout%3D0", "statement_timeout"),
        ("postgres://user:secret@h/db?options=-f", "'-f'"),
        ("postgres://user:secret@h/", "no database"),
        ("postgres://user:secret@[h/db", "DATABASE_URL cannot be used"),
        ("mysql://user:secret@h/db", "postgres://"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_password(url, said):
    with pytest.raises(ImproperlyConfigured) as refused:
        parse(url)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


def free_port() -> str:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return str(trial.getsockname()[1])


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """Yield the URL of a server with and without TLS, and its certificates."""
    if certificates.OPENSSL is None:
        pytest.skip("openssl is not installed")
    other = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not other and "PG_BIN_DIR" not in os.environ:
        pytest.skip("the private PostgreSQL is built without TLS, and no other is installed")
    made_for = certificates.make(tmp_path_factory.mktemp("tls"))
    programs = os.environ.get("PG_BIN_DIR") or str(other[-1])
    with pytest.MonkeyPatch.context() as patch, made(is_started=False) as cluster:
        patch.setenv("PG_BIN_DIR", programs)
        cluster.options |= {"listen_addresses": "127.0.0.1", "port": free_port()}
        cluster.start()
        cluster.stop()
        account = cluster.server.account
        for file in (made_for.certificate, made_for.key):
            copy = shutil.copy(file, cluster.data)
            if account:
                shutil.chown(copy, account.uid, account.gid)
        (cluster.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 trust\n")
        cluster.options |= {"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key"}
        cluster.start()
        yield f"postgres://postgres@127.0.0.1:{cluster.port}/groundswell", made_for


def is_encrypted() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        return cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
def test_tls_is_used_and_verified_as_the_url_asks(secured):
    url, made_for = secured
    with django_at(f"{url}?sslmode=disable"):
        assert not is_encrypted()
    with django_at(f"{url}?sslmode=require"):
        assert is_encrypted()
    with django_at(f"{url}?sslmode=verify-full&sslrootcert={made_for.authority}"):
        assert is_encrypted()
    with django_at(f"{url}?sslmode=verify-full&sslrootcert={made_for.other_authority}"):
        with pytest.raises(OperationalError, match="certificate"):
            is_encrypted()
        assert connection.connection is None


@pytest.mark.django_db(transaction=True)
def test_the_server_that_takes_writes_is_found_among_several_hosts():
    ports = [free_port(), free_port()]
    with (
        made(listen_addresses="127.0.0.1", port=ports[0]) as primary,
        made(is_started=False, listen_addresses="127.0.0.1", port=ports[1]) as standby,
    ):
        standby.folder("postgres")
        base = primary.folder("base")
        primary.run("pg_basebackup", "--write-recovery-conf", "--checkpoint=fast", f"--pgdata={base}/data")
        (base / "data").rename(standby.data)
        standby.start()
        for cluster in (primary, standby):
            with (cluster.data / "pg_hba.conf").open("a") as file:
                file.write("host all all 127.0.0.1/32 trust\n")
            text = (cluster.data / "pg_hba.conf").read_text().replace(" reject", " trust")
            (cluster.data / "pg_hba.conf").write_text(text)
            cluster.execute("SELECT pg_reload_conf()")
        hosts = ",".join(f"127.0.0.1:{port}" for port in reversed(ports))
        url = f"postgres://postgres@{hosts}/groundswell"
        with django_at(url), connection.cursor() as cursor:
            cursor.execute("SHOW port")
            assert cursor.fetchone() == (ports[1],)
        with django_at(f"{url}?target_session_attrs=read-write"):
            with connection.cursor() as cursor:
                cursor.execute("SHOW port")
                assert cursor.fetchone() == (ports[0],)
            primary.stop()
            standby.execute("SELECT pg_promote()")
            wait_for(lambda: _port_after_failover() == ports[1])


def _port_after_failover():
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW port")
            return cursor.fetchone()[0]
    except OperationalError:
        connection.close()
        return None
