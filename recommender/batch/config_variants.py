"""Make variants of a Config, by the path of a setting, for challengers and sweeps.

    vary(config, "trust.floor", 0.1)        a field, or a field of a part
    vary(config, "half_lives_s.0", 600)     a member of a tuple

Call `has` first if this version's Config may not have the path. So a list of challengers can name settings of parts
that are added later.
"""

from collections.abc import Sequence
from dataclasses import is_dataclass, replace
from typing import Any

from recommender.core.pipeline import Config


def has(config: Any, path: str) -> bool:
    """Return whether the Config has such a setting."""
    try:
        get(config, path)
    except ValueError:
        return False
    return True


def get(config: Any, path: str) -> Any:
    """Return a setting's value, or raise ValueError.

    >>> get(Config(), "half_lives_s.0"), get(Config(), "trust.floor")
    (300, 0.05)
    """
    name, _, rest = path.partition(".")
    if isinstance(config, tuple) and name.isdecimal() and int(name) < len(config):
        value = config[int(name)]
    elif is_dataclass(config) and not name.startswith("_") and name in config.__dataclass_fields__:
        value = getattr(config, name)
    else:
        raise ValueError(f"there is no setting {path!r} in {type(config).__name__}: check its name")
    return get(value, rest) if rest else value


def vary(config: Any, path: str, value: Any) -> Any:
    """Return the Config with another value of one setting.

    The value is converted to the setting's type. Raises ValueError.

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
    """Split PATH=VALUE,VALUE into a path and its values, or raise ValueError.

    >>> parse("trust.floor=0.05,0.1")
    ('trust.floor', ['0.05', '0.1'])
    """
    path, sign, values = text.partition("=")
    found = [value.strip() for value in values.split(",") if value.strip()]
    if not sign or not path.strip() or not found:
        raise ValueError(f"{text!r} is not SETTING=VALUE,VALUE: write it like half_lives_s.0=60,300")
    return path.strip(), found


def variants(config: Config, wanted: Sequence[tuple[str, Sequence[Any]]]) -> dict[str, Config]:
    """Return, by name, the Configs that differ from this one in one setting.

    A value that the Config already has gives no variant. Raises ValueError.
    """
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
    raise ValueError(f"{path} cannot be {value!r}: give a value like {old!r}")
