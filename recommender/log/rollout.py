"""The check of event ids during a rollout from version 0.1.0, and after it.

The migration 0013 records in recommender_log_change where and when it ran. It does not wait for anyone. Web processes
of 0.1.0 may go on for OLD_NODES_RUN_FOR. They know an event by the hash of its id alone, as a row of
recommender_event_key that is no alias.

    BOTH    an event also gets such a row, marked as an alias: so an old process knows it when it is sent again
    OLDER   old processes have ended, but their keys are still looked up, until retention has deleted the last
    ALONE   only the new keys count. A new installation begins with it

In all three an event that an old process wrote is a duplicate when it is sent again.
"""

from enum import Enum
from math import inf

from django.conf import settings

from recommender.log.statements import fetch
from recommender.process_state import clock, remembered

ASK_EVERY_S = 60.0  # it may be late, since an earlier rule finds all duplicates too

_ASK = """
SELECT now() < old_nodes_until, now() < old_nodes_until + %b::integer * interval '1 day'
FROM recommender_log_change WHERE old_nodes_until > migrated_at
"""


class IdRule(Enum):
    """Rules for the keys of event ids, as the module's docstring explains them."""

    BOTH = "both"
    OLDER = "older"
    ALONE = "alone"


class _Remembered:
    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.rule, self.ask_at = IdRule.BOTH, -inf


_known = _Remembered()
remembered(_known.forget)


def id_rule() -> IdRule:
    """Return the rule that is in force, by the database's clock."""
    if clock() >= _known.ask_at:
        is_both, is_older = fetch(_ASK, [settings.RETENTION_DAYS]) or (False, False)
        _known.rule = IdRule.BOTH if is_both else IdRule.OLDER if is_older else IdRule.ALONE
        _known.ask_at = clock() + ASK_EVERY_S
    return _known.rule
