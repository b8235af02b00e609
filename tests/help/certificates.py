"""Certificates that a test makes for its own servers, with openssl."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

OPENSSL = shutil.which("openssl")


@dataclass(frozen=True)
class Certificates:
    """A server's certificate for 127.0.0.1, and two authorities.

    The other authority did not sign it.
    """

    authority: Path
    other_authority: Path
    certificate: Path
    key: Path


def make(folder: Path) -> Certificates:
    """Make the files in a folder. Their owner is this process's user."""
    for name in ("authority", "other"):
        _openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"),
        )
    _openssl(
        *("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=server"),
        *("-keyout", folder / "server.key", "-out", folder / "server.csr"),
    )
    names = folder / "names.cnf"
    names.write_text("subjectAltName = IP:127.0.0.1\n")
    _openssl(
        *("x509", "-req", "-days", "2", "-in", folder / "server.csr", "-out", folder / "server.crt"),
        *("-CA", folder / "authority.crt", "-CAkey", folder / "authority.key", "-CAcreateserial", "-extfile", names),
    )
    (folder / "server.key").chmod(0o600)
    return Certificates(folder / "authority.crt", folder / "other.crt", folder / "server.crt", folder / "server.key")


def _openssl(*arguments: str | Path) -> None:
    assert OPENSSL
    subprocess.run([OPENSSL, *map(str, arguments)], check=True, capture_output=True)
