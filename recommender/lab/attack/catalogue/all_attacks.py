"""Catalogue of every attack and every honest look-alike, by code."""

from recommender.lab.attack.catalogue.attack_base import Attack
from recommender.lab.attack.catalogue.attacks_by_disguise import (
    BoilingFrog,
    Coattails,
    CoVisit,
    Crowdturf,
    Framing,
    SessionReplay,
    TakeOver,
)
from recommender.lab.attack.catalogue.attacks_by_volume import Botnet, CookieLoop, Drip, Ephemeral, Farm, Flood, Sybil
from recommender.lab.attack.catalogue.attacks_on_machinery import DriftBlind, ForcedFreeze, Sketch
from recommender.lab.attack.catalogue.lookalikes import Campus, Crawlers, FlashCrowd, Influencer, Prefetch

ATTACKS: dict[str, type[Attack]] = {
    each.CODE: each
    for each in (
        Flood, CookieLoop, Botnet, Sybil, CoVisit, Coattails, Drip, BoilingFrog, TakeOver, Framing, SessionReplay,
        Ephemeral, Farm, Crowdturf, Sketch, DriftBlind, ForcedFreeze,
    )
}  # fmt: skip
LOOK_ALIKES: dict[str, type[Attack]] = {
    each.CODE: each for each in (FlashCrowd, Influencer, Prefetch, Campus, Crawlers)
}
# honest, but not readers, so no reader is lost if the model does not learn from them
MACHINES = frozenset({"B3", "B5", "automation"})
CATALOGUE = ATTACKS | LOOK_ALIKES


def attack(code: str) -> type[Attack]:
    """Return an attack by its code. Raises ValueError with the known codes."""
    if code not in CATALOGUE:
        raise ValueError(f"there is no attack {code}. Choose one of {', '.join(CATALOGUE)}.")
    return CATALOGUE[code]
