"""Names of the defences, each with its class and configuration.

    none    decayed clicks, every click counts: a list without any defence
    caps    the product without screen and trust: one unit per actor and item, a budget per actor
    forest  an isolation forest on plain activity per actor, refitted on the traffic it admitted, in front of `none`
    trust   the product without the screen: caps, and weights that actors earn
    full    the product as it is
    links   `none`, and a count of every step of an actor from one item to another (`raw_links`)

There is also an oracle that drops exactly the labelled events. It needs no run of its own. Its state is that of the
log without the attack, bit for bit, because excluded actors leave no trace.
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
    """Make a defence by name, before its first event. Raises ValueError."""
    if name not in _KINDS:
        raise ValueError(f"there is no defence {name}. Choose one of {', '.join(DEFENCES)}, oracle.")
    if kind(name) is Product:
        config = switched(config, trust=name != "caps", screen=name == "full")
    return kind(name)(config)


def kind(name: str) -> type[Product] | type[Raw]:
    """Return the class of a defence."""
    return _KINDS[name]


def switched(config: Config, *, trust: bool, screen: bool) -> Config:
    """Return the configuration with trust and screen on or off."""
    return replace(
        config,
        trust=config.trust if trust else replace(config.trust, floor=1.0),
        screen=replace(config.screen, is_on=screen),
    )
