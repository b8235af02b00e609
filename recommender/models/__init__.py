"""The tables of Groundswell in PostgreSQL.

    log       Event, Item, Site
    learning  Learner, Checkpoint, Piece, Step, Upgrade, Watched, FrozenScope
    verdicts  EventVerdict, Decision, Exclusion
    jobs      Revert, Trial, Erasure, ErasedState
    access    ApiKey
    upkeep    Chore, DatabaseSize
    secrets   IdFingerprint

The event log is the source of truth, and all else here is derived from it or about it. The log is partitioned and has
its own SQL (`recommender.log.event_log`). The other tables are ordinary.
"""

from recommender.models.access import ApiKey
from recommender.models.jobs import UNFINISHED, ErasedState, Erasure, Job, Revert, Trial
from recommender.models.learning import (
    STATE_COLUMNS,
    Checkpoint,
    FrozenScope,
    Learner,
    Piece,
    Step,
    StoredState,
    Upgrade,
    Watched,
)
from recommender.models.log import Event, Item, Site
from recommender.models.secrets import IdFingerprint
from recommender.models.upkeep import Chore, DatabaseSize
from recommender.models.verdicts import Decision, EventVerdict, Exclusion

__all__ = [
    "STATE_COLUMNS",
    "UNFINISHED",
    "ApiKey",
    "Checkpoint",
    "Chore",
    "DatabaseSize",
    "Decision",
    "ErasedState",
    "Erasure",
    "Event",
    "EventVerdict",
    "Exclusion",
    "FrozenScope",
    "IdFingerprint",
    "Item",
    "Job",
    "Learner",
    "Piece",
    "Revert",
    "Site",
    "Step",
    "StoredState",
    "Trial",
    "Upgrade",
    "Watched",
]
