"""Decisions on findings, one or many at once, and the last one undone.

Each finding is decided on in a transaction of its own: one that somebody else decided meanwhile is told of, and does
not stop the others.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar
from uuid import uuid4

from django.contrib import messages
from django.http import HttpRequest

from monitoring import roles
from monitoring.console.pages import ConsoleRequest, form, in_a_sentence
from monitoring.console.reasons import CONFIRM, RELEASE, note_of
from monitoring.operations import decide_finding, undo_decision
from recommender.errors import ApiError, Conflict, Invalid

T = TypeVar("T")

MAX_AT_ONCE = 200
TOLD = 5  # refusals, one by one
_RULINGS = {RELEASE: decide_finding.release, CONFIRM: decide_finding.confirm}


@form(roles.REVIEW)
def decide(request: ConsoleRequest) -> str:
    """`one` is "release:12", a row's own button; otherwise `ruling` on each `finding`."""
    ruling, _, only = request.POST.get("one", "").partition(":")
    ruling = ruling or request.POST.get("ruling", "")
    if ruling not in _RULINGS:
        raise Invalid("Say whether to release or to confirm.")
    chosen = _numbers([only] if only else request.POST.getlist("finding"))
    note = note_of(ruling, request.POST.get(f"reason_{ruling}", ""), request.POST.get("note", ""))
    if not note:
        raise Invalid("Say why: pick a reason or write one.")
    together = uuid4().hex
    done, refused = _each(
        chosen,
        lambda number: _RULINGS[ruling](by=request.user, note=note, finding_id=number, together=together),
    )
    _tell_refusals(request, refused, len(done))
    n_events = sum(done)
    what = "events count again" if ruling == RELEASE else "events count no more"
    return f"{_findings(len(done))} {ruling}{'d' if ruling == RELEASE else 'ed'}: {n_events:,} {what}."


@form(roles.REVIEW)
def undo(request: ConsoleRequest) -> str:
    """The reviews named by the button, so that what it says is what is undone; newest first."""
    chosen = sorted(_numbers(request.POST.getlist("review")), reverse=True)
    done, refused = _each(chosen, lambda number: undo_decision.undo(by=request.user, review_id=number))
    _tell_refusals(request, refused, len(done))
    n_withdrawn = sum(review.subject["withdrawn"] for review in done)
    n_given_back = sum(review.subject["given_back"] for review in done)
    parts = [f"Undone: {_findings(len(done))} as before."]
    if n_withdrawn:
        parts.append(f"{n_withdrawn:,} events were not touched yet.")
    if n_given_back:
        parts.append(f"{n_given_back:,} events get back what they were.")
    return " ".join(parts)


def _numbers(texts: Iterable[str]) -> list[int]:
    """Raises Invalid where there are none, too many, or one is no number."""
    wanted = list(dict.fromkeys(texts))
    if not wanted:
        raise Invalid("Choose at least one finding.")
    if len(wanted) > MAX_AT_ONCE:
        raise Invalid(f"At most {MAX_AT_ONCE} at once.")
    if not all(text.isascii() and text.isdecimal() and len(text) < 19 for text in wanted):
        raise Invalid("These are no numbers of findings.")
    return [int(text) for text in wanted]


def _each(numbers: list[int], act: Callable[[int], T]) -> tuple[list[T], list[str]]:
    """What became of each, and what was refused. Raises Invalid, which would be raised for each of them."""
    done, refused = [], []
    for number in numbers:
        try:
            done.append(act(number))
        except Invalid:
            raise
        except ApiError as error:
            refused.append(in_a_sentence(error))
    return done, refused


def _tell_refusals(request: HttpRequest, refused: list[str], n_done: int) -> None:
    """Raises Conflict where nothing was done."""
    told = " ".join(refused[:TOLD])
    more = f" And {len(refused) - TOLD} more." if len(refused) > TOLD else ""
    if refused and not n_done:
        raise Conflict(f"Nothing was done. {told}{more}")
    if refused:
        messages.warning(request, f"Not done for {_findings(len(refused))}. {told}{more}")


def _findings(n: int) -> str:
    return "1 finding" if n == 1 else f"{n} findings"
