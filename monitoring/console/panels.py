"""Panels that other packages offer to the overview: what one must have, and those that the setting names.

    OVERVIEW_PANELS, dotted paths ──find──> OverviewPanel ──read──> sentences and buttons ──> overview
                                                  ──actions──> a form each (console.urls, overview.form_of)

The console imports no package that offers one, and these need not import the console: what counts is what they have.
A path that leads to no panel is an error of the system check, which every start runs. The pages do without it.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, runtime_checkable

from django.conf import settings
from django.core.checks import Error
from django.urls import reverse
from django.utils.module_loading import import_string

from recommender.process_state import remembered

logger = logging.getLogger(__name__)


class PanelLine(Protocol):
    """A sentence: `before`, then an item by its title or a moment (ms since 1970), then `after`. No item: empty."""

    @property
    def before(self) -> str: ...

    @property
    def item(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def at_ms(self) -> int | None: ...

    @property
    def after(self) -> str: ...


class PanelAction(Protocol):
    """What a button does. `name` is also its address's, below the panel's, and unlike any in console.urls.

    `permission`: who may, one of `monitoring.roles`."""

    @property
    def name(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def permission(self) -> str: ...

    def carry_out(self) -> str:
        """Do it, and say so in a sentence. Raises an ApiError where it cannot be done."""
        ...


class PanelContent(Protocol):
    """What a panel shows now. `offered`: of its actions, those that can be done now."""

    @property
    def heading(self) -> str: ...

    @property
    def lines(self) -> Sequence[PanelLine]: ...

    @property
    def offered(self) -> Sequence[PanelAction]: ...


@runtime_checkable
class OverviewPanel(Protocol):
    """A part of the overview. `name`: of its addresses and its heading; `actions`: all it ever offers."""

    @property
    def name(self) -> str: ...

    @property
    def actions(self) -> Sequence[PanelAction]: ...

    def read(self) -> PanelContent | None:
        """What to show; None where there is nothing now."""
        ...


@dataclass(frozen=True, slots=True)
class PanelButton:
    """A button somebody may press, and where it posts to."""

    label: str
    address: str


@dataclass(frozen=True, slots=True)
class ShownPanel:
    """A panel as somebody sees it."""

    name: str
    heading: str
    lines: Sequence[PanelLine]
    buttons: list[PanelButton]


def get_panels() -> list[OverviewPanel]:
    """Those that the setting names and that are there, in its order."""
    found = [_find(path) for path in settings.OVERVIEW_PANELS]
    return [panel for panel in found if not isinstance(panel, str)]


def list_shown(user: Any) -> list[ShownPanel]:
    """The panels that have something to show, with the buttons that this account may press."""
    return [
        ShownPanel(
            name=panel.name,
            heading=content.heading,
            lines=content.lines,
            buttons=[
                PanelButton(action.label, reverse(f"console:{action.name}"))
                for action in content.offered
                if user.has_perm(action.permission)
            ],
        )
        for panel in get_panels()
        if (content := _read(panel)) is not None
    ]


def _read(panel: OverviewPanel) -> PanelContent | None:
    """What a panel shows; nothing where it fails, so that the page stands without it."""
    try:
        return panel.read()
    except Exception:  # a panel is another package's code
        logger.exception("the panel %s cannot be read; the overview does without it", panel.name)
        return None


def check_panels(**_: Any) -> list[Error]:
    """The system check: an error for each path that leads to no panel."""
    found = [_find(path) for path in settings.OVERVIEW_PANELS]
    return [Error(problem, id="console.E001") for problem in found if isinstance(problem, str)]


@cache
def _find(path: str) -> OverviewPanel | str:
    """The panel at a dotted path, or in a sentence why there is none."""
    try:
        panel: object = import_string(path)
        if isinstance(panel, OverviewPanel):
            return panel
        missing = "it has no `name`, `actions` and `read`"
    except Exception as error:  # importing runs what stands in the module
        missing = f"{type(error).__name__}: {error}"
    problem = f"OVERVIEW_PANELS names {path!r}, which is no panel of the overview ({missing})."
    logger.error("%s The pages do without it.", problem)
    return problem


remembered(_find.cache_clear)
