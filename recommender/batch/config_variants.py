"""Other settings of a Config, by path: what challengers and sweeps are made of.

    vary(config, "trust.floor", 0.1)        a field, or a field of a part
    vary(config, "half_lives_s.0", 600)     a member of a tuple

A path that this version's Config does not have is no error for whoever asks `has` first: so a list of challengers can
name settings of parts that are built in later.
"""

from collections.abc import Sequence
from dataclasses import is_dataclass, replace
from typing import Any

from recommender.core.pipeline import Config


def has(config: Any, path: str) -> bool:
    """Is there such a setting?"""
    try:
        get(config, path)
    except ValueError:
        return False
    return True


def get(config: Any, path: str) -> Any:
    """A setting's value. Raises ValueError.

    >>> get(Config(), "half_lives_s.0"), get(Config(), "trust.floor")
    (300, 0.05)
    """
    name, _, rest = path.partition(".")
    if isinstance(config, tuple) and name.isdecimal() and int(name) < len(config):
        value = config[int(name)]
    elif is_dataclass(config) and not name.startswith("_") and name in config.__dataclass_fields__:
        value = getattr(config, name)
    else:
        raise ValueError(f"there is no setting {path!r} in {type(config).__name__}")
    return get(value, rest) if rest else value


def vary(config: Any, path: str, value: Any) -> Any:
    """The same with another value of one setting, which is taken for the type it has. Raises ValueError.

    >>> vary(Config(), "half_lives_s.0", "60").half_lives_s
    (60, 3600, 21600)
    """
    name, _, rest = path.partition(".")
    old = get(config, name)
    new = vary(old, rest, value) if rest else _as(old, value, path)
    if isinstance(config, tuple):
        return (*config[: int(name)], new, *config[int(name) + 1 :])
    return replace(config, **{name: new})


def parse(text: str) -> tuple[str, list[str]]:
    """PATH=VALUE,VALUE as a path and its values. Raises ValueError.

    >>> parse("trust.floor=0.05,0.1")
    ('trust.floor', ['0.05', '0.1'])
    """
    path, sign, values = text.partition("=")
    found = [value.strip() for value in values.split(",") if value.strip()]
    if not sign or not path.strip() or not found:
        raise ValueError(f"{text!r} is not SETTING=VALUE,VALUE, as in half_lives_s.0=60,300")
    return path.strip(), found


def variants(config: Config, wanted: Sequence[tuple[str, Sequence[Any]]]) -> dict[str, Config]:
    """By name, the Configs that differ from one in one setting; the same value gives none. Raises ValueError."""
    made = {f"{path}={value}": vary(config, path, value) for path, values in wanted for value in values}
    return {name: each for name, each in made.items() if each != config}


def _as(old: Any, value: Any, path: str) -> Any:
    if isinstance(old, bool):
        words = {"true": True, "1": True, "false": False, "0": False}
        if str(value).lower() in words:
            return words[str(value).lower()]
    elif isinstance(old, int | float | str):
        try:
            return type(old)(value)
        except ValueError:
            pass
    raise ValueError(f"{path} cannot be {value!r}: it is {old!r}")
