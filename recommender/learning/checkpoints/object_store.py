"""Keep pieces in an object store that speaks S3, under their hashes.

    CHECKPOINT_STORE=s3://bucket/prefix ──> prefix/ab/abcd...: the bytes of one piece

Credentials, region and endpoint come from boto3's usual environment: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, a profile,
the role of the machine. Pieces are only written, read and deleted by name. Nothing lists the store. So a server never
takes up, or deletes, what only another server knows of.

boto3 is pure Python, so a forked process can make a client of its own. The runtime threads of a compiled client would
not survive the fork. It is the extra `s3`, because it takes 25 MB on the disk and 40 MB of memory. It is imported
only where an object store is in use.
"""

import logging
import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from recommender.core.checkpoint import CheckpointCorrupt, Piece, hash_of
from recommender.errors import Transient

AT_ONCE = 8  # requests under way
DELETED_AT_ONCE = 50  # S3 takes 1000, but a writer may wait for the answer
TIMEOUT_S = 30.0
DELETE_TIMEOUT_S = 5.0
GONE = {"NoSuchKey", "404"}


class StoreUnavailable(Transient):
    """The object store does not answer, or refuses.

    The message has the cause.
    """


class ObjectStore:
    """Pieces under a prefix of a bucket.

    url: s3://bucket or s3://bucket/prefix.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._bucket, prefix = parts.netloc, parts.path.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""

    def put(self, hash: bytes, piece: Piece) -> None:
        """Write a piece. Writing it again changes nothing."""
        with self._answers():
            self._client.put_object(Bucket=self._bucket, Key=self._key(hash), Body=bytes(piece))

    def put_all(self, pieces: Sequence[tuple[bytes, Piece]]) -> None:
        """Write pieces, a few at once."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda each: self.put(*each), pieces))

    def get(self, hashes: Sequence[bytes]) -> Iterator[Piece]:
        """Yield pieces in order, a few at once.

        Raises CheckpointCorrupt if a piece is not there, and StoreUnavailable.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for start in range(0, len(hashes), AT_ONCE):
                yield from pool.map(partial(self._get, self._client), hashes[start : start + AT_ONCE])

    def find_damaged(self, hashes: Collection[bytes], *, is_hasty: bool = False) -> list[bytes]:
        """Return the pieces that are not there or differ from their hashes.

        is_hasty: each request is sent once, for others wait. Raises StoreUnavailable.
        """
        wanted = list(hashes)
        client = self._hasty_client if is_hasty else self._client
        with ThreadPoolExecutor(AT_ONCE) as pool:
            is_sound = list(pool.map(lambda hash: self._is_sound(client, hash), wanted))
        return [hash for hash, sound in zip(wanted, is_sound, strict=True) if not sound]

    def delete(self, hashes: Collection[bytes]) -> None:
        """Delete pieces. One that is not there is no error.

        Each request is sent once, for the next thinner tries again. Raises StoreUnavailable.
        """
        named = [{"Key": self._key(hash)} for hash in hashes]
        for start in range(0, len(named), DELETED_AT_ONCE):
            with self._answers():
                objects = named[start : start + DELETED_AT_ONCE]
                said = self._hasty_client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}
                )
            if said.get("Errors"):
                raise StoreUnavailable(f"{self.url} refuses to delete: {said['Errors'][0].get('Message')}")

    def _get(self, client: Any, hash: bytes) -> bytes:
        with self._answers():
            answer = client.get_object(Bucket=self._bucket, Key=self._key(hash))
            return bytes(answer["Body"].read())

    def _is_sound(self, client: Any, hash: bytes) -> bool:
        try:
            return hash_of(self._get(client, hash)) == hash
        except CheckpointCorrupt:
            return False

    def _key(self, hash: bytes) -> str:
        name = hash.hex()
        return f"{self._prefix}{name[:2]}/{name}"

    @cached_property
    def _client(self) -> Any:
        return self._connect(TIMEOUT_S, 3)

    @cached_property
    def _hasty_client(self) -> Any:
        return self._connect(DELETE_TIMEOUT_S, 1)

    def _connect(self, timeout_s: float, n_attempts: int) -> Any:
        try:
            import boto3  # noqa: PLC0415 - 40 MB that only users of an object store need
            from botocore.config import Config  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise StoreUnavailable(f"CHECKPOINT_STORE needs {error.name}: install the extra s3") from None
        is_elsewhere = any(os.environ.get(name) for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"))
        config = Config(
            connect_timeout=5,
            read_timeout=timeout_s,
            retries={"mode": "standard", "total_max_attempts": n_attempts},
            max_pool_connections=AT_ONCE,
            # servers that are not Amazon's have no host name for each bucket, and not all know its newer checksums
            s3={"addressing_style": "path"} if is_elsewhere else {},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        return boto3.Session().client("s3", config=config)  # the default session may belong to another thread

    @contextmanager
    def _answers(self) -> Iterator[None]:
        client = self._client
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

        try:
            yield
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in GONE:
                raise CheckpointCorrupt(f"a piece of the checkpoint is no longer in {self.url}") from error
            raise StoreUnavailable(f"the checkpoint store {self.url} refuses: {error}") from error
        except (BotoCoreError, OSError, ValueError) as error:
            where = client.meta.endpoint_url
            raise StoreUnavailable(f"the checkpoint store {self.url} at {where} does not answer: {error}") from error


@contextmanager
def waits(logger: logging.Logger, job: str) -> Iterator[None]:
    """Run a task's work, and log a transient error instead of raising it.

    The store is away, or another process was first. The next tick tries again.
    """
    try:
        yield
    except Transient as error:
        logger.warning("%s, so %s starts again later", error, job)


def present_store() -> ObjectStore | None:
    """Return the object store that CHECKPOINT_STORE names.

    None: pieces go into the database.
    """
    return ObjectStore(settings.CHECKPOINT_STORE) if settings.CHECKPOINT_STORE else None
