"""API keys: the rights of a client program, and the way a request shows its key.

    Authorization: Bearer gsw_... ──sha256──> this process's cache ──miss or 10 s old──> recommender_apikey

A key has 256 random bits, so a plain hash is enough: a slow hash only protects secrets that can be guessed. A key is
looked up by its hash, so response times reveal nothing about existing keys. While the database is away, keys that
this process has seen stay valid beyond their 10 s, because lists are served without a database. Otherwise a revoked
key works for at most 10 s more.
"""

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from math import inf
from typing import Any, cast

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from recommender import database_clock
from recommender.database_outage import database
from recommender.errors import (
    CHALLENGE,
    Forbidden,
    Invalid,
    NotAuthenticated,
    NotFound,
    Unavailable,
)
from recommender.models import ApiKey
from recommender.process_state import Clock, clock, remembered

CACHE_S = 10.0
MAX_CACHED = 10_000  # keys of less than 1 kB each
MIN_LENGTH, MAX_LENGTH = 16, 200


@dataclass(frozen=True, slots=True)
class Key:
    """A valid key of a request."""

    id: int
    name: str
    scopes: frozenset[str]
    rate_per_s: int | None
    is_authenticated = True  # DRF reads this from the request's user

    def may(self, scope: str) -> bool:
        return scope in self.scopes or ApiKey.Scope.ADMIN in self.scopes


class KnownKeys:
    """The keys that a process has seen, by the hash of their secret."""

    def __init__(self, now: Clock = clock) -> None:
        self.now = now
        self._seen: dict[bytes, tuple[Key, float]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def get(self, digest: bytes) -> tuple[Key | None, bool]:
        """Return the key if it was seen, and whether that was less than CACHE_S ago."""
        key, seen_at = self._seen.get(digest, (None, -inf))
        return key, self.now() - seen_at < CACHE_S

    def keep(self, digest: bytes, key: Key) -> None:
        if len(self._seen) >= MAX_CACHED:
            self._seen.clear()
        self._seen[digest] = (key, self.now())

    def drop(self, digest: bytes) -> None:
        self._seen.pop(digest, None)

    def forget(self) -> None:
        self._seen.clear()


known_keys = KnownKeys()
remembered(known_keys.forget)


def authenticate(header: str | None) -> Key:
    """Return the key in a request's Authorization header.

    Raises NotAuthenticated, Unavailable.
    """
    if not header:
        raise NotAuthenticated
    scheme, _, secret = header.partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not MIN_LENGTH <= len(secret) <= MAX_LENGTH:
        raise NotAuthenticated("The Authorization header is wrong. Send `Authorization: Bearer KEY`.")
    digest = digest_of(secret)
    known, is_fresh = known_keys.get(digest)
    if known is not None and is_fresh:
        return known
    try:
        key = _look_up(digest)
    except Unavailable:
        if known is None:
            raise
        return known
    if key is None:
        known_keys.drop(digest)
        raise NotAuthenticated("This key is unknown or was revoked. Use another key.")
    known_keys.keep(digest, key)
    return key


def require(key: Key, scope: str) -> None:
    """Raise Forbidden unless the key has the scope."""
    if not key.may(scope):
        has = ", ".join(sorted(key.scopes))
        raise Forbidden(f"This address needs the scope `{scope}`, but this key only has {has}. Use another key.")


def _look_up(digest: bytes) -> Key | None:
    with database():
        database_clock.learn()
        row = (
            ApiKey.objects.filter(sha256=digest.hex(), revoked_at=None)
            .values_list("id", "name", "scopes", "rate_per_s")
            .first()
        )
    return row and Key(row[0], row[1], frozenset(row[2]), row[3])


def digest_of(secret: str) -> bytes:
    """Return the hash of a secret that is stored."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


# -- for DRF ---------------------------------------------------------------------------------------------------------


class KeyAuthentication(BaseAuthentication):
    """Authenticate by key.

    A request without a key is anonymous, and `HasScope` refuses it.
    """

    def authenticate(self, request: Request) -> tuple[Key, Key] | None:
        header = request.META.get("HTTP_AUTHORIZATION")
        if not header:
            return None
        key = authenticate(header)
        return key, key

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 (DRF's signature)
        return CHALLENGE


class HasScope(BasePermission):
    """Check that the key has the scope of the view, such as `scope = "read"`.

    A view with the scope None is open to everyone.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        scope = getattr(view, "scope", ApiKey.Scope.ADMIN)
        if scope is None:
            return True
        if request.auth is None:
            raise NotAuthenticated
        require(cast(Key, request.auth), scope)
        return True


# -- list, make and revoke keys --------------------------------------------------------------------------------------

KEY_PREFIX = "gsw_"
SCOPES = frozenset(ApiKey.Scope.values)


def list_keys() -> list[ApiKey]:
    """Return the newest 1,000 keys, newest first."""
    return list(ApiKey.objects.all()[:1000])


def make_key(
    *, name: str, scopes: Collection[str], rate_per_s: int | None = None, secret: str | None = None
) -> tuple[ApiKey, str]:
    """Make a key, and return its row and its secret.

    The secret is stored nowhere. Raises Invalid.
    """
    secret = secret or KEY_PREFIX + secrets.token_urlsafe(32)
    wrong = {}
    if not 1 <= len(name) <= 100 or not name.isprintable():
        wrong["name"] = "A name must have 1 to 100 printable characters."
    if not scopes or not SCOPES.issuperset(scopes):
        wrong["scopes"] = f"A key needs at least one scope of {', '.join(sorted(SCOPES))}."
    if rate_per_s is not None and not 1 <= rate_per_s < 2**31:
        wrong["rate_per_s"] = "A rate must be at least 1 per second. Leave it out for no limit."
    is_plain = secret.isascii() and secret.isprintable() and " " not in secret
    if not is_plain or not MIN_LENGTH <= len(secret) <= MAX_LENGTH:
        wrong["key"] = f"A key must have {MIN_LENGTH} to {MAX_LENGTH} ASCII characters and no spaces."
    elif ApiKey.objects.filter(sha256=digest_of(secret).hex()).exists():
        wrong["key"] = "This key is in use or was revoked. Make another."
    if wrong:
        raise Invalid(fields=wrong)
    key = ApiKey.objects.create(
        name=name,
        start=secret[: min(12, len(secret) // 3)],
        sha256=digest_of(secret).hex(),
        scopes=sorted(set(scopes)),
        rate_per_s=rate_per_s,
    )
    return key, secret


def ensure_key(*, name: str, scope: str, secret: str) -> ApiKey:
    """Return the key with this secret, and make it if there is none.

    A revoked key stays revoked.
    """
    with transaction.atomic():
        known = ApiKey.objects.filter(sha256=digest_of(secret).hex()).first()
        return known or make_key(name=name, scopes=[scope], secret=secret)[0]


def revoke_key(*, key: str) -> list[ApiKey]:
    """Revoke the keys in use that have this name or this start.

    Raises NotFound.
    """
    with transaction.atomic():
        found = list(ApiKey.objects.select_for_update().filter(Q(name=key) | Q(start=key), revoked_at=None))
        if not found:
            raise NotFound(
                f"No key in use has the name {key!r} or starts with it."
                f" `{settings.COMMAND} keys list` shows all keys."
            )
        revoke_keys(chosen=ApiKey.objects.filter(pk__in=[row.pk for row in found]))
    return found


def revoke_keys(*, chosen: QuerySet[ApiKey]) -> int:
    """Revoke the chosen keys that are in use, and return their number.

    Other processes accept a key for up to CACHE_S more.
    """
    n_revoked = chosen.filter(revoked_at=None).update(revoked_at=Now())
    known_keys.forget()
    return n_revoked
