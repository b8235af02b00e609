"""Check that a server is on this machine. The lab attacks no other."""

import ipaddress
from urllib.parse import urlsplit


class NotHere(ValueError):
    """The server is not on this machine."""


def require_loopback(url: str) -> None:
    """Check that a URL is http:// on a loopback address. Raises NotHere.

    Names are not resolved, except `localhost`.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    if parts.scheme != "http" or not is_here:
        raise NotHere("attacks go to http:// on this machine only: localhost, 127.0.0.1 or [::1]")
