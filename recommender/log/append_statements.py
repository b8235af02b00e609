"""The statements that write events, made for each rule of event ids.

    input ──> alias: ids alone, for processes of 0.1.0      (rollout.IdRule.BOTH)
          ──> fresh: keys of events that are new            (OLDER: and whose id alone no old process has stored)
          ──> paid: payments of these events that are new
          ──> written: the events of fresh keys, and those without an id

Each returns two arrays: the fresh keys, or NULL if every event was written, and the new payments.
"""

from collections.abc import Mapping

from recommender.core.vocabulary import ListValidity
from recommender.log.positions import WRITTEN_AT
from recommender.log.rollout import IdRule
from recommender.log.statements import ABSENT

# name, type, value in the input of many events: `text` is one of many lines
_COLUMNS: dict[str, tuple[str, str]] = {
    "event_key": ("bytea", "{}"),
    "bucket": ("integer", "{}"),
    "kind": ("integer", "{}"),
    "actor": ("text", "{}"),
    "item": ("text", "{}"),
    "occurred_at": ("float8", "to_timestamp(nullif({}, 'NaN'))"),
    "session": ("text", "{}"),
    "value": ("float8", "nullif({}, 'NaN')"),
    "recommendation": ("text", "{}"),
    "position": ("integer", f"nullif({{}}, {ABSENT})"),
    "ip": ("text", "{}"),
    "user_agent": ("text", "{}"),
    "referrer": ("text", "{}"),
    "country": ("text", "{}"),
    "campaign": ("text", "{}"),
    "is_crawler": ("integer", "{} <> 0"),
    "list_validity": ("integer", f"nullif({{}}, {ABSENT})"),
    "actor_key": ("bigint", "{}"),
    "item_key": ("bigint", "{}"),
    "session_key": ("bigint", "nullif({}, 0)"),
    "network": ("bigint", "nullif({}, 0)"),
    "agent": ("bigint", "nullif({}, 0)"),
    "referrer_key": ("bigint", "nullif({}, 0)"),
}
_KEYS = {"log_key": "bytea", "content": "bigint", "pay_key": "bytea"}
_NAMES = ", ".join(_COLUMNS)
_TYPES = {name: kind for name, (kind, _) in _COLUMNS.items()} | _KEYS
_ARRAYS = ", ".join(
    "string_to_array(%b::text, E'\\n', '')" if kind == "text" else f"%b::{kind}[]" for kind in _TYPES.values()
)
_MANY = f"SELECT * FROM unnest({_ARRAYS}) WITH ORDINALITY AS t({', '.join(_TYPES)}, n)"
_SPENT = f"CASE WHEN {{is_paid}} THEN {{validity}} ELSE {ListValidity.SPENT:d} END"
_IS_OLD = "EXISTS (SELECT FROM recommender_event_key AS old WHERE old.key = {event_key} AND NOT old.is_alias)"
# An update sees the newest row, also one that an old process has just committed. Only aliases are returned.
_ALIAS = """alias AS (
    INSERT INTO recommender_event_key (key, is_alias) {ids}
    ON CONFLICT (key) DO UPDATE SET is_alias = true WHERE recommender_event_key.is_alias RETURNING key
), """


def _values(columns: Mapping[str, str], is_paid: str = "") -> str:
    """Return the values of the log's columns.

    columns: the input for each. is_paid: a condition, empty if no event pays.
    """
    values = {name: value.format(columns[name]) for name, (_, value) in _COLUMNS.items()}
    if is_paid:
        values["list_validity"] = _SPENT.format(is_paid=is_paid, validity=values["list_validity"])
    return ", ".join(values.values())


def _of_many(rule: IdRule, *, pays: bool) -> str:
    """Return the statement for many events.

    It returns the keys that were new if some were not, and the payments.
    """
    alias, condition = "", ""
    if rule == IdRule.BOTH:
        alias = _ALIAS.format(
            ids="SELECT DISTINCT event_key, true FROM input WHERE log_key IS NOT NULL ORDER BY event_key"
        )
        condition = "AND event_key IN (SELECT key FROM alias)"
    elif rule == IdRule.OLDER:
        condition = f"AND NOT {_IS_OLD.format(event_key='event_key')}"
    paid = """paid AS (
    INSERT INTO recommender_event_key (key)
    SELECT pay_key FROM input
    WHERE pay_key IS NOT NULL AND (log_key IS NULL OR log_key IN (SELECT key FROM fresh)) ORDER BY pay_key
    ON CONFLICT DO NOTHING RETURNING key
), """
    is_paid = "pay_key IS NULL OR pay_key IN (SELECT key FROM paid)" if pays else ""
    return f"""
WITH input AS ({_MANY}), {alias}fresh AS (
    INSERT INTO recommender_event_key (key, content)
    SELECT log_key, content FROM input WHERE log_key IS NOT NULL {condition} ORDER BY log_key
    ON CONFLICT DO NOTHING RETURNING key
), {paid if pays else ""}written AS (
    INSERT INTO recommender_event (xid, {_NAMES})
    SELECT {WRITTEN_AT}, {_values({name: name for name in _COLUMNS}, is_paid)}
    FROM input WHERE log_key IS NULL OR log_key IN (SELECT key FROM fresh) ORDER BY n
    RETURNING 1
)
SELECT CASE WHEN (SELECT count(*) FROM written) < (SELECT count(*) FROM input)
            THEN (SELECT coalesce(array_agg(key), '{{}}') FROM fresh) END,
       {"(SELECT array_agg(key) FROM paid)" if pays else "NULL::bytea[]"}
"""


def _of_one(rule: IdRule, *, has_id: bool, pays: bool) -> str:
    """Return the statement for one event.

    It does and returns the same in two thirds of the time.
    """
    given = {name: f"%({name})b::{kind}" for name, kind in _TYPES.items()}
    before, source = "", ""
    if has_id:
        keys, source = f"SELECT {given['log_key']}, {given['content']}", "FROM fresh"
        if rule == IdRule.BOTH:
            before = _ALIAS.format(ids=f"SELECT {given['event_key']}, true")
            keys += " FROM alias"
        elif rule == IdRule.OLDER:
            keys += f" WHERE NOT {_IS_OLD.format(event_key=given['event_key'])}"
        before += f"""fresh AS (
    INSERT INTO recommender_event_key (key, content) {keys} ON CONFLICT DO NOTHING RETURNING key
), """
    if pays:
        before += f"""paid AS (
    INSERT INTO recommender_event_key (key) SELECT {given["pay_key"]} {source} ON CONFLICT DO NOTHING RETURNING key
), """
    return f"""
WITH {before}written AS (
    INSERT INTO recommender_event (xid, {_NAMES})
    SELECT {WRITTEN_AT}, {_values(given, "EXISTS (SELECT FROM paid)" if pays else "")} {source}
    RETURNING 1
)
SELECT CASE WHEN count(*) = 0 THEN '{{}}'::bytea[] END,
       {"(SELECT array_agg(key) FROM paid)" if pays else "NULL::bytea[]"} FROM written
"""


APPEND_MANY = {(rule, pays): _of_many(rule, pays=pays) for rule in IdRule for pays in (False, True)}
APPEND_ONE = {
    (rule, has_id, pays): _of_one(rule, has_id=has_id, pays=pays)
    for rule in IdRule
    for has_id in (False, True)
    for pays in (False, True)
}
APPEND_AT = f"""
WITH input AS (
    SELECT * FROM unnest(%b::float8[], {_ARRAYS}) WITH ORDINALITY AS t(received_at, {", ".join(_TYPES)}, n)
), written AS (
    INSERT INTO recommender_event (xid, received_at, {_NAMES})
    SELECT {WRITTEN_AT}, to_timestamp(received_at), {_values({name: name for name in _COLUMNS})} FROM input ORDER BY n
    RETURNING 1
)
SELECT count(*) FROM written
"""
