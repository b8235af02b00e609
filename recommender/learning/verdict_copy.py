"""Write many verdict rows with one COPY, from NumPy columns.

    VerdictColumns ──packed──> PostgreSQL's binary COPY format ──COPY──> recommender_eventverdict

Making the bytes takes about 1 us a row, where lists of Python objects take 5. The rest of the time is PostgreSQL's.
A COPY knows no ON CONFLICT, so the caller must know that no row of these events exists.

The format is a header, a record per row, and a trailer. A record is the number of its columns, then for each column
its length and its bytes. NULL is the length -1 without bytes. All rows are laid out at full width, then the bytes of
absent values are left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import psycopg
from django.db import connection
from numpy.typing import NDArray

from recommender.core.features.feature_columns import N_FEATURES
from recommender.log import event_log

CHUNK = 20_000  # rows packed at once, about 6 MB
NEVER = -1  # no step, where a verdict was never revised
N_FORESTS = 3
_HEADER, _TRAILER = b"PGCOPY\n\xff\r\n\x00" + bytes(8), b"\xff\xff"
_FLOAT8_OID = 701
_PLAIN = ("shard", "ordinal", "step", "xid", "seq", "verdict", "was_held", "score", "reasons")
_NAMES = (*_PLAIN, "revised_in", "evidence", "p_values", "alpha", "created_at")
_COPY = f"COPY recommender_eventverdict ({', '.join(_NAMES)}) FROM STDIN (FORMAT BINARY)"
_RECORD = np.dtype(
    [
        ("n_columns", ">i2"),
        *(("n_shard", ">i4"), ("shard", ">i2"), ("n_ordinal", ">i4"), ("ordinal", ">i8")),
        *(("n_step", ">i4"), ("step", ">i8"), ("n_xid", ">i4"), ("xid", ">i8"), ("n_seq", ">i4"), ("seq", ">i8")),
        *(("n_verdict", ">i4"), ("verdict", ">i2"), ("n_was_held", ">i4"), ("was_held", "u1")),
        *(("n_score", ">i4"), ("score", ">f8"), ("n_reasons", ">i4"), ("reasons", ">i4")),
        *(("n_revised_in", ">i4"), ("revised_in", ">i8"), ("n_evidence", ">i4"), ("evidence", "u1", (N_FEATURES,))),
        *(("n_p_values", ">i4"), ("p_head", ">i4", (5,))),
        *((f"{part}{forest}", kind) for forest in range(N_FORESTS) for part, kind in (("n_p", ">i4"), ("p", ">f8"))),
        *(("n_alpha", ">i4"), ("alpha", ">f8"), ("n_created_at", ">i4"), ("created_at", ">i8")),
    ]
)
_NOW = "SELECT (extract(epoch FROM now()) * 1000000)::bigint - 946684800000000"  # us since 2000, as in the format
Bools = NDArray[np.bool_]


@dataclass(slots=True)
class VerdictColumns:
    """n verdict rows as columns, all of length n.

    ordinal, step, xid, seq, revised_in: int64. `revised_in` is NEVER if the first verdict still holds.
    verdict: int8. reasons: int32. score: float64. was_held: bool.
    percentiles: uint8 (n, N_FEATURES). alpha: float64. Both count only where `has_evidence`.
    p_values: float64 (n, 3), NaN where a forest was not asked.
    """

    ordinal: NDArray[np.int64]
    step: NDArray[np.int64]
    xid: NDArray[np.int64]
    seq: NDArray[np.int64]
    verdict: NDArray[np.int8]
    was_held: Bools
    score: NDArray[np.float64]
    reasons: NDArray[np.int32]
    revised_in: NDArray[np.int64]
    has_evidence: Bools
    percentiles: NDArray[np.uint8]
    p_values: NDArray[np.float64]
    alpha: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ordinal)

    def take(self, rows: NDArray[np.int64] | slice) -> "VerdictColumns":
        """Return some of the rows."""
        return VerdictColumns(*(getattr(self, each.name)[rows] for each in _FIELDS))


_FIELDS = fields(VerdictColumns)


def unrevised(n: int) -> VerdictColumns:
    """Return n rows of no event, admitted and without evidence, to be filled."""
    return VerdictColumns(
        ordinal=np.zeros(n, np.int64),
        step=np.zeros(n, np.int64),
        xid=np.zeros(n, np.int64),
        seq=np.zeros(n, np.int64),
        verdict=np.zeros(n, np.int8),
        was_held=np.zeros(n, np.bool_),
        score=np.zeros(n),
        reasons=np.zeros(n, np.int32),
        revised_in=np.full(n, NEVER, np.int64),
        has_evidence=np.zeros(n, np.bool_),
        percentiles=np.zeros((n, N_FEATURES), np.uint8),
        p_values=np.full((n, N_FORESTS), np.nan),
        alpha=np.zeros(n),
    )


def joined(parts: Sequence[VerdictColumns]) -> VerdictColumns:
    """Join rows, in their order."""
    parts = parts or [unrevised(0)]
    return VerdictColumns(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in _FIELDS))


def copy_rows(*, shard: int, rows: VerdictColumns) -> None:
    """Write rows of events that have none yet, in the caller's transaction.

    About 4 us a row.
    """
    if not len(rows):
        return
    (now_us,) = event_log.fetch(_NOW, [])
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor, cursor.copy(_COPY) as copy:
        copy.write(_HEADER)
        for start in range(0, len(rows), CHUNK):
            copy.write(_packed(shard, rows.take(slice(start, start + CHUNK)), now_us))
        copy.write(_TRAILER)


def _packed(shard: int, rows: VerdictColumns, now_us: int) -> bytes:
    """Return rows as records of the binary format."""
    n = len(rows)
    records = np.zeros(n, _RECORD)
    is_sent = np.ones((n, _RECORD.itemsize), np.bool_)
    records["n_columns"] = len(_NAMES)
    records["shard"] = shard
    records["created_at"] = now_us
    for name in (*_PLAIN[1:], "revised_in", "alpha"):
        records[name] = getattr(rows, name)
    records["evidence"] = rows.percentiles
    for name in _NAMES:
        if name != "p_values":
            records[f"n_{name}"] = _size(name)
    is_known = ~np.isnan(rows.p_values)
    n_known = is_known.sum(axis=1)
    records["n_p_values"] = _size("p_head") + 4 * N_FORESTS + 8 * n_known
    records["p_head"] = (1, 0, _FLOAT8_OID, N_FORESTS, 1)
    records["p_head"][:, 1] = n_known < N_FORESTS
    for forest in range(N_FORESTS):
        records[f"n_p{forest}"], records[f"p{forest}"] = 8, rows.p_values[:, forest]
        _leave_out(records, is_sent, ~is_known[:, forest], f"p{forest}")
    _leave_out(records, is_sent, n_known == 0, "p_values", *_fields_of_p_values())
    _leave_out(records, is_sent, rows.revised_in == NEVER, "revised_in", "revised_in")
    for name in ("evidence", "alpha"):
        _leave_out(records, is_sent, ~rows.has_evidence, name, name)
    return records.view(np.uint8).reshape(n, -1)[is_sent].tobytes()


def _leave_out(records: NDArray[np.void], is_sent: Bools, is_absent: Bools, name: str, *names: str) -> None:
    """Make a column NULL in some rows.

    names: the fields whose bytes are left out.
    """
    records[f"n_{name}"][is_absent] = -1
    for each in names or (name,):
        start = _offset(each)
        is_sent[is_absent, start : start + _size(each)] = False


def _fields_of_p_values() -> Iterator[str]:
    yield "p_head"
    for forest in range(N_FORESTS):
        yield from (f"n_p{forest}", f"p{forest}")


def _size(name: str) -> int:
    assert _RECORD.fields is not None  # it has names
    return _RECORD.fields[name][0].itemsize


def _offset(name: str) -> int:
    assert _RECORD.fields is not None  # it has names
    return int(_RECORD.fields[name][1])
