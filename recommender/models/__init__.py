"""What PostgreSQL keeps. The event log is the source of truth; everything else here is derived from it or about it.

    log       Event, Item
    learning  Learner, Checkpoint, Step, Watched, FrozenScope
    verdicts  EventVerdict, Decision, Exclusion
    jobs      Revert, Trial, Erasure, ErasedState
    access    ApiKey

The log is partitioned and has SQL of its own (`recommender.log.event_log`); the other tables are ordinary.
"""

from recommender.models.access import ApiKey
from recommender.models.jobs import UNFINISHED, ErasedState, Erasure, Job, Revert, Trial
from recommender.models.learning import Checkpoint, FrozenScope, Learner, Step, Watched
from recommender.models.log import Event, Item
from recommender.models.verdicts import Decision, EventVerdict, Exclusion

__all__ = [
    "UNFINISHED",
    "ApiKey",
    "Checkpoint",
    "Decision",
    "ErasedState",
    "Erasure",
    "Event",
    "EventVerdict",
    "Exclusion",
    "FrozenScope",
    "Item",
    "Job",
    "Learner",
    "Revert",
    "Step",
    "Trial",
    "Watched",
]
