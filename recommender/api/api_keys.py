"""API keys: who may do what, and how a request shows it.

    Authorization: Bearer gsw_... ──sha256──> this process's cache ──miss or 10 s old──> recommender_apikey

A key has 256 random bits, so a plain hash keeps it: there is nothing to guess that a slow hash would protect. It is
looked up by that hash, so the time an answer takes says nothing about keys that exist. While the database is away, a
key this process has seen stays good beyond its 10 s: lists are served without a database. A revoked key works for
at most those 10 s more.
"""

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from math import inf
from typing import Any, cast

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

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
MAX_CACHED = 10_000  # keys; each under 1 kB
MIN_LENGTH, MAX_LENGTH = 16, 200


@dataclass(frozen=True, slots=True)
class Key:
    """A key that was let in."""

    id: int
    name: str
    scopes: frozenset[str]
    rate_per_s: int | None
    is_authenticated = True  # DRF asks its "user"

    def may(self, scope: str) -> bool:
        return scope in self.scopes or ApiKey.Scope.ADMIN in self.scopes


class KnownKeys:
    """The keys that a process has seen, by what is kept of their secrets."""

    def __init__(self, now: Clock = clock) -> None:
        self.now = now
        self._seen: dict[bytes, tuple[Key, float]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def get(self, digest: bytes) -> tuple[Key | None, bool]:
        """A key, None where it was not seen, and whether that is less than CACHE_S ago."""
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
    """The key a request shows in its Authorization header. Raises NotAuthenticated, Unavailable."""
    if not header:
        raise NotAuthenticated
    scheme, _, secret = header.partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not MIN_LENGTH <= len(secret) <= MAX_LENGTH:
        raise NotAuthenticated("The Authorization header must be: Bearer KEY.")
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
        raise NotAuthenticated("This key is unknown or was revoked.")
    known_keys.keep(digest, key)
    return key


def require(key: Key, scope: str) -> None:
    """Raises Forbidden."""
    if not key.may(scope):
        raise Forbidden(f"This key lacks the scope `{scope}`; it has {', '.join(sorted(key.scopes))}.")


def _look_up(digest: bytes) -> Key | None:
    with database():
        row = (
            ApiKey.objects.filter(sha256=digest.hex(), revoked_at=None)
            .values_list("id", "name", "scopes", "rate_per_s")
            .first()
        )
    return row and Key(row[0], row[1], frozenset(row[2]), row[3])


def digest_of(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


# -- what DRF asks ------------------------------------------------------------------------------------------------


class KeyAuthentication(BaseAuthentication):
    """Lets in by key; a request without one is anonymous and refused by `HasScope`."""

    def authenticate(self, request: Request) -> tuple[Key, Key] | None:
        header = request.META.get("HTTP_AUTHORIZATION")
        if not header:
            return None
        key = authenticate(header)
        return key, key

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 (DRF's signature)
        return CHALLENGE


class HasScope(BasePermission):
    """The view says which scope it wants: `scope = "read"`; None lets everybody in."""

    def has_permission(self, request: Request, view: Any) -> bool:
        scope = getattr(view, "scope", ApiKey.Scope.ADMIN)
        if scope is None:
            return True
        if request.auth is None:
            raise NotAuthenticated
        require(cast(Key, request.auth), scope)
        return True


# -- keys listed, made and revoked --------------------------------------------------------------------------------

KEY_PREFIX = "gsw_"
SCOPES = frozenset(ApiKey.Scope.values)


def list_keys() -> list[ApiKey]:
    """All keys, newest first."""
    return list(ApiKey.objects.all()[:1000])


def make_key(
    *, name: str, scopes: Collection[str], rate_per_s: int | None = None, secret: str | None = None
) -> tuple[ApiKey, str]:
    """Make a key; the secret is in the answer and nowhere else. Raises Invalid."""
    secret = secret or KEY_PREFIX + secrets.token_urlsafe(32)
    wrong = {}
    if not 1 <= len(name) <= 100 or not name.isprintable():
        wrong["name"] = "A name has 1 to 100 printable characters."
    if not scopes or not SCOPES.issuperset(scopes):
        wrong["scopes"] = f"Scopes are {', '.join(sorted(SCOPES))}; a key needs at least one."
    if rate_per_s is not None and not 1 <= rate_per_s < 2**31:
        wrong["rate_per_s"] = "A rate is at least 1 a second; leave it out for no limit."
    is_plain = secret.isascii() and secret.isprintable() and " " not in secret
    if not is_plain or not MIN_LENGTH <= len(secret) <= MAX_LENGTH:
        wrong["key"] = f"A key has {MIN_LENGTH} to {MAX_LENGTH} ASCII characters, no spaces."
    elif ApiKey.objects.filter(sha256=digest_of(secret).hex()).exists():
        wrong["key"] = "This key is in use, or was and is revoked; make another."
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
    """The key with this secret, made if there is none. One that was revoked stays revoked."""
    with transaction.atomic():
        known = ApiKey.objects.filter(sha256=digest_of(secret).hex()).first()
        return known or make_key(name=name, scopes=[scope], secret=secret)[0]


def revoke_key(*, key: str) -> list[ApiKey]:
    """Revoke the keys in use that have this name, or this start. Raises NotFound."""
    with transaction.atomic():
        found = list(ApiKey.objects.select_for_update().filter(Q(name=key) | Q(start=key), revoked_at=None))
        if not found:
            raise NotFound(f"No key in use is called or starts with {key!r}; `manage.py keys list` lists them.")
        revoke_keys(chosen=ApiKey.objects.filter(pk__in=[row.pk for row in found]))
    return found


def revoke_keys(*, chosen: QuerySet[ApiKey]) -> int:
    """Revoke those of a set that are in use; other processes remember a key for up to CACHE_S more."""
    n_revoked = chosen.filter(revoked_at=None).update(revoked_at=timezone.now())
    known_keys.forget()
    return n_revoked
