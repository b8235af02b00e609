"""Decide on one or many findings, and undo the last decision.

Each finding has a transaction of its own. If someone else decided on one in the meantime, the reviewer is told, and
the other findings are still decided.
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
    """Decide on one finding or on the selected findings.

    `one` is a row's own button ("release:12"). Without it, `ruling` applies to each `finding`.
    """
    ruling, _, only = request.POST.get("one", "").partition(":")
    ruling = ruling or request.POST.get("ruling", "")
    if ruling not in _RULINGS:
        raise Invalid("Choose to release or to confirm.")
    chosen = _numbers([only] if only else request.POST.getlist("finding"))
    note = note_of(ruling, request.POST.get(f"reason_{ruling}", ""), request.POST.get("note", ""))
    if not note:
        raise Invalid("Give a reason: pick one or write one.")
    together = uuid4().hex
    done, refused = _each(
        chosen,
        lambda number: _RULINGS[ruling](by=request.user, note=note, finding_id=number, together=together),
    )
    _tell_refusals(request, refused, len(done))
    n_events = sum(done)
    what = "events count again" if ruling == RELEASE else "events no longer count"
    return f"{_findings(len(done))} {ruling}{'d' if ruling == RELEASE else 'ed'}: {n_events:,} {what}."


@form(roles.REVIEW)
def undo(request: ConsoleRequest) -> str:
    """Undo the reviews that the button names, the newest first.

    So exactly the decisions that the page shows are undone.
    """
    chosen = sorted(_numbers(request.POST.getlist("review")), reverse=True)
    done, refused = _each(chosen, lambda number: undo_decision.undo(by=request.user, review_id=number))
    _tell_refusals(request, refused, len(done))
    n_withdrawn = sum(review.subject["withdrawn"] for review in done)
    n_given_back = sum(review.subject["given_back"] for review in done)
    parts = [f"Undone: {_findings(len(done))} as before the decision."]
    if n_withdrawn:
        parts.append(f"{n_withdrawn:,} events had not changed yet.")
    if n_given_back:
        parts.append(f"{n_given_back:,} events get their old verdicts back.")
    return " ".join(parts)


def _numbers(texts: Iterable[str]) -> list[int]:
    """Read the numbers of findings.

    Raises Invalid for none, too many, or a text that is no number.
    """
    wanted = list(dict.fromkeys(texts))
    if not wanted:
        raise Invalid("Choose at least one finding.")
    if len(wanted) > MAX_AT_ONCE:
        raise Invalid(f"You can decide on at most {MAX_AT_ONCE} findings at once. Choose fewer.")
    if not all(text.isascii() and text.isdecimal() and len(text) < 19 for text in wanted):
        raise Invalid("A finding's number has digits only. Reload the page and choose again.")
    return [int(text) for text in wanted]


def _each(numbers: list[int], act: Callable[[int], T]) -> tuple[list[T], list[str]]:
    """Act on each finding; returns the results and the refusals.

    Raises Invalid at once, because every other finding would raise it too.
    """
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
    """Show the refusals as a warning. Raises Conflict if nothing was done."""
    told = " ".join(refused[:TOLD])
    more = f" And {len(refused) - TOLD} more." if len(refused) > TOLD else ""
    if refused and not n_done:
        raise Conflict(f"Nothing was changed. {told}{more}")
    if refused:
        messages.warning(request, f"Not changed: {_findings(len(refused))}. {told}{more}")


def _findings(n: int) -> str:
    return "1 finding" if n == 1 else f"{n} findings"
