"""The challengers of the learning model: its Pipeline with one other setting.

    champion's Config ──CHALLENGES, where it has such a setting──> Configs by name
                      └─half the served half-life, and twice──┘

Settings of parts that this version does not have are skipped. A factorisation fitted in a batch is a yardstick next
to them (`recommender.batch.factorisation`). The learner cannot serve it, so it cannot win.
"""

from collections.abc import Sequence
from typing import Any

from recommender.batch.config_variants import get, has, variants
from recommender.core.pipeline import Config

CHALLENGES: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("trust.floor", (0.1,)),
    ("trust.full", (5.0,)),
)
SERVED_HALF_LIFE = "half_lives_s.0"
# Settings of parts that learn, multiplied by FACTORS.
SCALED = (SERVED_HALF_LIFE, "affinity.half_life_s", "ranker.learning_rate")
FACTORS = (0.5, 2)


def challengers(champion: Config, wanted: Sequence[tuple[str, Sequence[Any]]] = ()) -> dict[str, Config]:
    """Return Configs by name: the wanted ones, or the usual choice.

    Raises ValueError for an unknown setting.
    """
    if wanted:
        return variants(champion, wanted)
    standing: list[tuple[str, Sequence[Any]]] = [each for each in CHALLENGES if has(champion, each[0])]
    for path in SCALED:
        if has(champion, path):
            value = get(champion, path)
            standing.append((path, [type(value)(value * factor) for factor in FACTORS]))
    return variants(champion, standing)
