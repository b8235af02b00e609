"""Panels that other packages offer to the overview.

    OVERVIEW_PANELS, dotted paths ──find──> OverviewPanel ──read──> sentences and buttons ──> overview
                                                  ──actions──> a form each (console.urls, overview.form_of)

The console imports none of these packages, and they need not import the console: a panel only needs the attributes
below. A path that leads to no panel is an error of the system check, which runs at every start. The pages leave such
a panel out.
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
    """A sentence of a panel.

    It is `before`, then an item's title or a moment (ms since 1970), then `after`. `item` is empty if there is none.
    """

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
    """The action of a button.

    name: also its path below the panel's, and different from all names in console.urls.
    permission: needed to press the button, one of `monitoring.roles`.
    """

    @property
    def name(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def permission(self) -> str: ...

    def carry_out(self) -> str:
        """Carry out the action and return a sentence about it.

        Raises an ApiError if it is not possible.
        """
        ...


class PanelContent(Protocol):
    """The present content of a panel.

    `offered` has those of its actions that are possible now.
    """

    @property
    def heading(self) -> str: ...

    @property
    def lines(self) -> Sequence[PanelLine]: ...

    @property
    def offered(self) -> Sequence[PanelAction]: ...


@runtime_checkable
class OverviewPanel(Protocol):
    """A part of the overview.

    name: used in its paths and its heading. actions: all it ever offers.
    """

    @property
    def name(self) -> str: ...

    @property
    def actions(self) -> Sequence[PanelAction]: ...

    def read(self) -> PanelContent | None:
        """Return the content to show, or None if there is nothing to show now."""
        ...


@dataclass(frozen=True, slots=True)
class PanelButton:
    """A button that the account may press, and the address it posts to."""

    label: str
    address: str


@dataclass(frozen=True, slots=True)
class ShownPanel:
    """A panel as an account sees it."""

    name: str
    heading: str
    lines: Sequence[PanelLine]
    buttons: list[PanelButton]


def get_panels() -> list[OverviewPanel]:
    """Return the panels that the setting names and that exist, in its order."""
    found = [_find(path) for path in settings.OVERVIEW_PANELS]
    return [panel for panel in found if not isinstance(panel, str)]


def list_shown(user: Any) -> list[ShownPanel]:
    """List the panels with something to show.

    Each has the buttons that this account may press.
    """
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
    """Return a panel's content, or None if it fails. The page works without it."""
    try:
        return panel.read()
    except Exception:  # a panel is another package's code
        logger.exception("the panel %s failed, so the overview leaves it out", panel.name)
        return None


def check_panels(**_: Any) -> list[Error]:
    """Return a system check error for each path that leads to no panel."""
    found = [_find(path) for path in settings.OVERVIEW_PANELS]
    return [Error(problem, id="console.E001") for problem in found if isinstance(problem, str)]


@cache
def _find(path: str) -> OverviewPanel | str:
    """Return the panel at a dotted path, or a sentence why there is none."""
    try:
        panel: object = import_string(path)
        if isinstance(panel, OverviewPanel):
            return panel
        missing = "it has no `name`, `actions` and `read`"
    except Exception as error:  # importing runs the module's code
        missing = f"{type(error).__name__}: {error}"
    problem = f"OVERVIEW_PANELS names {path!r}, which is no panel of the overview ({missing})."
    logger.error("%s The overview leaves it out.", problem)
    return problem


remembered(_find.cache_clear)
