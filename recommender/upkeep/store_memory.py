"""The memory of the view store."""

from dataclasses import dataclass

from redis import RedisError

from recommender.publishing.published_boards import connect


@dataclass(frozen=True, slots=True)
class StoreMemory:
    """Bytes in use, and the most that the store may use.

    The most is the store's own limit, or else the machine's memory.
    """

    n_bytes: int
    n_most: int


class StoreUnknown(Exception):
    """The view store does not answer."""


def read_store_memory() -> StoreMemory | None:
    """Return the memory of the view store, or None if the store has no limit.

    Raises StoreUnknown if the store does not answer.
    """
    try:
        with connect() as store:
            told = store.info("memory")
    except RedisError as error:
        raise StoreUnknown(f"the view store does not answer ({error})") from error
    n_most = int(told.get("maxmemory") or told.get("total_system_memory") or 0)
    return StoreMemory(int(told["used_memory"]), n_most) if n_most else None
