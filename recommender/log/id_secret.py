"""Hold every process to the one secret with which the database's ids were hashed.

    first start:   the active checkpoint's configuration, or else the settings ──> IdFingerprint, one row
    every start:   the fingerprint of `ids.secret()` is compared with the row. If it differs, the process ends

The log holds hashes of ids, and so does the state. With another secret, every actor would be a stranger, and each old
hash would be worthless. So the secret is compared before the first event is written and before a state is used, in
every process. A process that starts while the database is away compares later (`require`).

The row has only a fingerprint. The secret itself is in the settings, and in the configuration of every checkpoint, so
`find` can name it even if SECRET_KEY is lost.
"""

import json
import logging
import sys
from collections.abc import Iterator
from hashlib import blake2b

from django.conf import settings
from django.db import DatabaseError, connection

from recommender import ids
from recommender.errors import Unavailable
from recommender.models import Checkpoint, IdFingerprint, Learner
from recommender.process_state import remembered

logger = logging.getLogger(__name__)

MAX_HEADER_BYTES = 2**27

_MAGIC = b"GSWCKP02"


class IdSecretWrong(Unavailable):
    """The settings have another secret than the database.

    Clients read `message`. `advice` is for the operator.
    """

    message = "This server's ID_SECRET is not the one of its database, so it takes no events. Tell the operator."
    advice = (
        "ID_SECRET (or SECRET_KEY, from which it is made by default) is not the secret of this database. Its log and"
        f" its state hold ids that were hashed with another one. `{settings.COMMAND} ids secret` prints the right"
        " value: set ID_SECRET to it, everywhere, and start again. Nothing was changed."
    )


_compared: set[str] = set()  # secrets that this process found to be right
remembered(_compared.clear)


def require() -> None:
    """Compare the secret of the settings with the database's, once in a process.

    The first call on a new database notes the fingerprint. Raises IdSecretWrong, and the errors of the database.
    """
    secret = ids.secret()
    if secret in _compared:
        return
    if _noted() != fingerprint(secret):
        logger.error("%s", IdSecretWrong.advice)
        raise IdSecretWrong
    _compared.add(secret)


def is_wrong() -> bool:
    """Return whether the settings have another secret than the database.

    It notes nothing. A database without tables has none. Raises the errors of the database.
    """
    if IdFingerprint._meta.db_table not in connection.introspection.table_names():
        return False
    noted = IdFingerprint.objects.values_list("fingerprint", flat=True).first()
    return noted is not None and noted != fingerprint(ids.secret())


def check_at_start() -> None:
    """Compare the secret when a process starts, and end the process if it is wrong.

    If the database is away or has no tables yet, a warning is logged. The process compares before its first use.
    """
    try:
        require()
    except IdSecretWrong as error:
        sys.exit(f"Groundswell cannot start. {error.advice}")
    except DatabaseError as error:
        logger.warning("the secret of ids is compared later, the database does not answer: %s", str(error).strip())
    finally:
        connection.close()


def find() -> tuple[str, str] | None:
    """Return the database's secret and the place where it was found.

    It is None if the secret is nowhere. The places are the settings, SECRET_KEY, its fallbacks, and the checkpoints,
    newest first.
    """
    noted = _noted()
    known = [(ids.secret(), "the settings"), (ids.secret_of(settings.SECRET_KEY), "SECRET_KEY")]
    known += [(ids.secret_of(key), "SECRET_KEY_FALLBACKS") for key in settings.SECRET_KEY_FALLBACKS]
    for secret, place in known:
        if fingerprint(secret) == noted:
            return secret, place
    for checkpoint in Checkpoint.objects.defer("data", "pieces").order_by("-id").iterator():
        kept = secret_in(checkpoint)
        if kept and fingerprint(kept) == noted:
            return kept, str(checkpoint)
    return None


def fingerprint(secret: str) -> str:
    """Return a hash by which a secret is recognised, 32 hex digits.

    >>> fingerprint("00" * 16)
    'ffe366426c5012d6613ec3364ea0dc4a'
    """
    return blake2b(bytes.fromhex(secret), digest_size=16, person=b"id fingerprint").hexdigest()


def secret_in(checkpoint: Checkpoint) -> str | None:
    """Return the secret in a checkpoint's configuration, or None if it cannot be read.

    Only the header is read.
    """
    try:
        text = checkpoint.header  # None: the state is one block
        state = json.loads(text)["state"] if text else json.loads(_header_of_block(checkpoint))
        secret = state["config"]["secret"]
        return secret if len(bytes.fromhex(secret)) == 16 else None
    except (ValueError, TypeError, KeyError):
        return None


def _header_of_block(checkpoint: Checkpoint) -> bytes:
    """Read the header of a state that is one block of bytes.

    It is empty if the block is damaged.
    """
    start = _part_of_block(checkpoint, 1, 16)
    if len(start) < 16 or not start.startswith(_MAGIC):
        return b""
    return _part_of_block(checkpoint, 17, min(int.from_bytes(start[8:], "little"), MAX_HEADER_BYTES))


def _part_of_block(checkpoint: Checkpoint, first: int, n: int) -> bytes:
    query = "SELECT substring(data FROM %s FOR %s) FROM recommender_checkpoint WHERE id = %s"
    with connection.cursor() as cursor:
        cursor.execute(query, [first, n, checkpoint.pk])
        (part,) = cursor.fetchone() or (None,)
    return bytes(part or b"")


def _noted() -> str:
    """Return the fingerprint of the database, and note it if there is none yet."""
    row = IdFingerprint.objects.first()
    if row is None:
        IdFingerprint.objects.bulk_create(
            [IdFingerprint(fingerprint=fingerprint(_first_secret()))], ignore_conflicts=True
        )
        row = IdFingerprint.objects.get()
    return row.fingerprint


def _first_secret() -> str:
    """Return the secret with which the shards learn.

    If none has begun, it is that of the settings.
    """
    learned = list(_learned_secrets())
    found = list(dict.fromkeys(secret for _, secret in learned))
    if len(found) > 1:
        logger.error(
            "the states of the shards have different secrets, by fingerprint: %s. That of shard %d counts. Set"
            " ID_SECRET to what `%s ids secret` prints, then run `model rebuild`. The other shards wait until then",
            ", ".join(f"{fingerprint(secret)[:8]} of {_shards_with(secret, learned)}" for secret in found),
            learned[0][0],
            settings.COMMAND,
        )
    return learned[0][1] if learned else ids.secret()


def _shards_with(secret: str, learned: list[tuple[int, str]]) -> str:
    shards = [str(shard) for shard, theirs in learned if theirs == secret]
    return f"shard {shards[0]}" if len(shards) == 1 else f"shards {' and '.join(shards)}"


def _learned_secrets() -> Iterator[tuple[int, str]]:
    for row in Learner.objects.exclude(checkpoint=None).order_by("shard"):
        older = (
            Checkpoint.objects.defer("data", "pieces")
            .filter(shard=row.shard, id__lte=row.checkpoint_id)
            .order_by("-id")
        )
        secret = next(filter(None, map(secret_in, older.iterator())), None)
        if secret is None:
            logger.error("no checkpoint of shard %d can be read, so its secret is not known", row.shard)
        else:
            yield row.shard, secret
