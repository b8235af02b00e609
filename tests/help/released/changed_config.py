"""Configurations as a later version might have them, with one field more."""

from dataclasses import field, fields, is_dataclass, make_dataclass
from typing import Any

from recommender.core.config import Config

OF_CONFIG = "config"


def config_classes() -> list[str]:
    """Return the names of the Config itself and of each configuration inside it."""
    return [OF_CONFIG, *(each.name for each in fields(Config) if is_dataclass(each.type))]


def with_a_field(where: str, **metadata: Any) -> type[Config]:
    """Return a Config class with the new field `added` in the part named `where`."""
    new = ("added", float, field(default=0.5, metadata=metadata))
    if where == OF_CONFIG:
        return _extended(Config, new)
    (inner,) = [each.type for each in fields(Config) if each.name == where]
    changed = _extended(inner, new)
    return _extended(Config, (where, changed, field(default_factory=changed)))


def _extended(kind: Any, new: tuple[str, Any, Any]) -> Any:
    return make_dataclass(kind.__name__, [new], bases=(kind,), frozen=True, slots=True)
