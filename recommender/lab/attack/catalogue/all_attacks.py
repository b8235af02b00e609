"""The catalogue: every attack and every honest look-alike by its code."""

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
MACHINES = frozenset({"B3", "B5", "automation"})  # honest, but no readers: not learning from them loses nobody
CATALOGUE = ATTACKS | LOOK_ALIKES


def attack(code: str) -> type[Attack]:
    """By code. Raises ValueError, naming those there are."""
    if code not in CATALOGUE:
        raise ValueError(f"there is no attack {code}; there are {', '.join(CATALOGUE)}")
    return CATALOGUE[code]
