"""The defences by name, and which class and configuration each is.

none    decayed clicks, every one counted: what a list is without any defence
caps    the product with screen and trust off: one unit an actor and item, a budget an actor
forest  an isolation forest on plain per-actor activity, refitted on what it let through, in front of `none`
trust   the product with the screen off: caps, and weights that are earned
full    the product as it is
links   `none`, and every step of an actor from one item to another counted beside it (`raw_links`)

An oracle, which drops exactly the labelled events, needs no run of its own: its state is that of the log without the
attack, bit for bit (invariant: excluded actors leave no trace).
"""

from dataclasses import replace

from recommender.core.pipeline import Config
from recommender.lab.attack.defences.defences import Defence, Product, Raw
from recommender.lab.attack.defences.forest_defence import ForestDefence
from recommender.lab.attack.defences.raw_links import RawLinks

_KINDS: dict[str, type[Product] | type[Raw]] = {
    "none": Raw,
    "caps": Product,
    "forest": ForestDefence,
    "trust": Product,
    "full": Product,
    "links": RawLinks,
}
DEFENCES = tuple(_KINDS)


def make(name: str, config: Config) -> Defence:
    """A defence by name, before its first event. Raises ValueError."""
    if name not in _KINDS:
        raise ValueError(f"there is no defence {name}; there are {', '.join(DEFENCES)}, oracle")
    if kind(name) is Product:
        config = switched(config, trust=name != "caps", screen=name == "full")
    return kind(name)(config)


def kind(name: str) -> type[Product] | type[Raw]:
    """The class of a defence."""
    return _KINDS[name]


def switched(config: Config, *, trust: bool, screen: bool) -> Config:
    """The configuration with trust and screen on or off."""
    return replace(
        config,
        trust=config.trust if trust else replace(config.trust, floor=1.0),
        screen=replace(config.screen, is_on=screen),
    )
