"""Keep as much of an event's address, user agent and referrer as people may read.

    as the site sent it ──> keyed hashes (the model reads only these) ──┐
                        └─> shown_ip, shown_agent, shown_referrer ──────┴──> the event's row

The setting PRIVACY decides. It is applied before a row is written, so no part of Groundswell can read more later. It
changes no key, so it changes no verdict and no digest.

| PRIVACY | ip | user agent | referrer |
|---|---|---|---|
| raw | 192.0.2.77 | Mozilla/5.0 (X11; Linux x86_64; rv:143.0) ... | https://news.example/a?q=1 |
| truncated | 192.0.2.0/24, or the /48 | Firefox | news.example |
| none | - | - | - |

The family of a user agent comes from the package ua-parser, with its rules compiled to native code: 6 to 15 us for a
new text, at most 0.2 ms, and 17 MiB. Its rules in plain Python take up to 6 ms for a text, and device-detector up to
0.1 s. woothee and httpagentparser take 30 us. They do not know Samsung's browser, in-app browsers or curl.

A referrer's host is kept whole. A shorter name (example.co.uk) would need the public suffix list. That list changes
under a running server, and on a shared suffix it would join sites that have nothing in common. A host may be the name
of a person's own site, which that site made public. A host that is an address becomes its network.
"""

import re
from functools import cache, lru_cache
from urllib.parse import urlsplit

from django.conf import settings
from ua_parser import Domain
from ua_parser.loaders import load_lazy_builtins
from ua_parser.regex import Resolver

from recommender.core.events import network_of

RAW, TRUNCATED, NONE = "raw", "truncated", "none"
LEVELS = (RAW, TRUNCATED, NONE)
OTHER = "other"  # sent, but of no known family, or without a host
MAX_FAMILY = 64  # characters; a rule may copy a part of the text
MAX_HOST = 253  # characters that a host name may have

_HAS_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)?//")


def shown_ip(ip: str | None) -> str | None:
    """Return the part of an address that is kept, or None for a text that is none."""
    if settings.PRIVACY == NONE or not ip:
        return None
    return ip if settings.PRIVACY == RAW else network_of(ip)


def shown_agent(user_agent: str | None) -> str | None:
    """Return the part of a user agent that is kept."""
    if settings.PRIVACY == NONE or not user_agent:
        return None
    return user_agent if settings.PRIVACY == RAW else agent_family(user_agent)


def shown_referrer(referrer: str | None) -> str | None:
    """Return the part of a referrer that is kept."""
    if settings.PRIVACY == NONE or not referrer:
        return None
    return referrer if settings.PRIVACY == RAW else referrer_host(referrer)


@lru_cache(maxsize=8192)
def agent_family(user_agent: str) -> str:
    """Return the family of a user agent, without its version and system.

    At most 5 MB are cached.

    >>> agent_family("Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0")
    'Firefox'
    >>> agent_family("curl/8.5.0"), agent_family("something of my own")
    ('curl', 'other')
    """
    found = _resolver()(user_agent, Domain.USER_AGENT).user_agent
    return found.family[:MAX_FAMILY] if found and found.family else OTHER


@lru_cache(maxsize=8192)
def referrer_host(referrer: str) -> str:
    """Return the host of a referrer in lower case.

    User, port, path and query are left out. At most 8 MB are cached.

    >>> referrer_host("https://ana:pw@News.Example:8443/a?q=1"), referrer_host("news.example/a"), referrer_host("??")
    ('news.example', 'news.example', 'other')
    >>> referrer_host("http://192.0.2.77/login")
    '192.0.2.0/24'
    """
    try:
        host = urlsplit(referrer if _HAS_SCHEME.match(referrer) else f"//{referrer}").hostname or ""
    except ValueError:  # brackets that hold no address
        return OTHER
    host = host.rstrip(".")
    if not 0 < len(host) <= MAX_HOST or not host.isprintable() or any(each in host for each in " \\@%<>\"'"):
        return OTHER
    return network_of(host) or host


@cache
def _resolver() -> Resolver:
    # systems and devices are left out, which halves the memory
    return Resolver((load_lazy_builtins()[0], [], []))
