"""Versions of the fold and of the parts of a Pipeline's state.

    a stored state ──check──> of a newer version: StateNewer, which names both versions
                   ──migrate──> each part, by the migrations it has not passed yet ──> the state as this code has it

FOLD_VERSION is the version of the fold. It is raised by every released change that lets a step end in another state
or result, and by every change of a stored part. Digests are promised within one version only.

A part's version is the fold version that last changed how the part is stored. It follows from the part's migrations,
so there is no number to keep by hand. Every state carries the fold version and the version of each part (`stamp`). A
state without them was written by fold version 1.

**A new field of a configuration** needs nothing here. A state that lacks it gets the field's default. If the old code
behaved in another way than the default does, name the old behaviour: `field(default=2.0, metadata={BEFORE: inf})`.

**Any other change of a part** needs a migration: a plain function from the old part to the new one, next to the part.

    @migration("screen/features", to=3)
    def _narrowed(old):
        return old | {"ring": old["ring"].astype(np.int32)}

PARTS has the names. The part STATE is the whole state, for a change that moves something from one part to another. A
part that an old state lacks is given as None. A function must not change its argument. Several migrations to the same
version run in the order of PARTS, and those of one part in the order of their registration.

The modules that register migrations must be imported by `core.pipeline`, which all parts are.
"""

from collections.abc import Callable, Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any, NamedTuple, TypeVar

FOLD_VERSION = 2
RELEASES = {1: "0.1.0", 2: "0.2.0"}  # the first release with each fold version

STATE = "state"  # the whole state
PARTS = (
    *(STATE, "config", "config/trust", "config/screen", "config/drift", "config/affinity", "config/ranking"),
    *("config/ranker", "config/contest", "trend", "affinity", "ranker", "ranker/contest", "evaluation", "drift"),
    *("pressure", "screen", "screen/features", "screen/forests", "holding"),
)
VERSIONS = "versions"  # the entry of a state that holds its stamp
BEFORE = "value before the field existed"  # a key of a field's metadata

State = dict[str, Any]
Migrate = Callable[[Any], Any]
T = TypeVar("T")


class StateNewer(ValueError):
    """The state was written by a newer version than this one.

    The message names both versions. Upgrade this node: no older state is to be used instead.
    """


class StateUnfit(ValueError):
    """The state lacks something that no migration adds, or a part of it does not fit."""


class Migration(NamedTuple):
    """A function from a part of the version before `to` to that of version `to`."""

    part: str
    to: int
    migrate: Migrate


_migrations: list[Migration] = []


def migration(part: str, *, to: int) -> Callable[[Migrate], Migrate]:
    """Register a function that migrates a part of the state to a fold version.

    The module's docstring has an example. Raises ValueError for an unknown part or a version above FOLD_VERSION.
    """
    if part not in PARTS:
        raise ValueError(f"{part!r} is no part of a state: add it to PARTS, or use one of {', '.join(PARTS)}")
    if not 2 <= to <= FOLD_VERSION:
        raise ValueError(f"a migration of {part} leads to version {to}, but FOLD_VERSION is {FOLD_VERSION}: raise it")

    def register(function: Migrate) -> Migrate:
        _migrations.append(Migration(part, to, function))
        return function

    return register


def part_version(part: str) -> int:
    """Return the fold version that last changed how a part is stored."""
    return max((each.to for each in _migrations if each.part == part), default=1)


def stamp() -> State:
    """Return the versions that a state of this code carries."""
    parts = {part: part_version(part) for part in PARTS}
    return {"fold": FOLD_VERSION, "release": release_of(FOLD_VERSION), "parts": parts}


def release_of(fold_version: int) -> str:
    """Return the first release with a fold version.

    For a version that this code does not know it is a text.

    >>> release_of(1)
    '0.1.0'
    """
    return RELEASES.get(fold_version, "a later release")


def fold_version_of(state: Mapping[str, Any]) -> int:
    """Return the fold version that wrote a state."""
    return int(state[VERSIONS]["fold"]) if VERSIONS in state else 1


def name_newer(fold_version: int, release: str = "") -> str:
    """Return the sentence about something that a newer version wrote.

    >>> name_newer(9, "0.9.0").split(";")[0]
    'written by 0.9.0 (fold version 9)'
    """
    return (
        f"written by {release or release_of(fold_version)} (fold version {fold_version}); this is"
        f" {release_of(FOLD_VERSION)} (fold version {FOLD_VERSION}): upgrade this node"
    )


def check(state: Mapping[str, Any]) -> None:
    """Raise StateNewer if this code is too old for a state."""
    versions = state.get(VERSIONS, {})
    if fold_version_of(state) > FOLD_VERSION:
        raise StateNewer(f"the state was {name_newer(versions['fold'], versions.get('release', ''))}")
    for part, version in versions.get("parts", {}).items():
        if part not in PARTS or version > part_version(part):
            raise StateNewer(
                f"the state's part {part} has version {version}, which this code does not know: upgrade this node"
            )


def migrate(state: State) -> State:
    """Return a stored state as this version has it.

    The given state is not changed. Raises StateNewer. Raises StateUnfit if a migration fails.
    """
    check(state)
    known = state.get(VERSIONS, {}).get("parts", {})
    for part, to, function in sorted(_migrations, key=lambda each: (each.to, PARTS.index(each.part))):
        if known.get(part, 1) < to:
            try:
                state = _put(state, part, function(_get(state, part)))
            except (LookupError, TypeError, AttributeError) as error:
                raise StateUnfit(f"the part {part} cannot be migrated to version {to}: {error!r}") from error
    return state


def config_from(kind: type[T], state: Mapping[str, Any], name: str = "the configuration") -> T:
    """Rebuild a configuration from the dict that `asdict` returned.

    Any earlier version may have written it. A field that the dict lacks gets the value it had before it existed:
    BEFORE in its metadata, or else its default. Lists become tuples. Fields that are configurations themselves are
    rebuilt alike. Raises StateNewer for a field that `kind` lacks.
    """
    known: dict[str, Field[Any]] = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(state.keys() - known.keys()):
        raise StateNewer(
            f"{name} has fields that this version, {release_of(FOLD_VERSION)}, does not know: {', '.join(unknown)}."
            " A newer version wrote it: upgrade this node"
        )
    values: dict[str, Any] = {}
    for each in known.values():
        if each.name in state:
            values[each.name] = _field(each, state[each.name])
        elif is_dataclass(each.type):
            values[each.name] = config_from(each.type, {}, f"the configuration of {each.name}")  # type: ignore[arg-type]
        elif BEFORE in each.metadata:
            values[each.name] = each.metadata[BEFORE]
    return kind(**values)


def _field(each: "Field[Any]", value: Any) -> Any:
    if is_dataclass(each.type) and isinstance(value, Mapping):
        return config_from(each.type, value, f"the configuration of {each.name}")  # type: ignore[arg-type]
    return _tuples(value)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def _get(state: State, part: str) -> Any:
    found: Any = state
    for name in part.split("/") if part != STATE else ():
        found = found.get(name)
        if found is None:
            return None
    return found


def _put(state: State, part: str, value: Any) -> State:
    if part == STATE:
        return value  # type: ignore[no-any-return]  # a migration of the whole state returns one
    name, _, inner = part.partition("/")
    changed = state.copy()  # and not {**state}: arrays of other parts may not be read yet
    changed[name] = _put(state.get(name) or {}, inner, value) if inner else value
    return changed
