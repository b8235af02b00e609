"""The stop switch: freeze and thaw learning, pin a checkpoint, and revert to one.

    revert (GET: the form; POST: requests a preview) ──> the preview's page ──> carry_out ──> the revert's page

Every revert needs a preview first, and carries out the same as the preview showed
(`monitoring.operations.carry_out_preview`).
"""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse

from monitoring import roles
from monitoring.console import timeline
from monitoring.console.pages import ConsoleRequest, form, in_a_sentence, page, render
from monitoring.console.revert_form import Typed, get_form
from monitoring.operations import carry_out_preview, request_revert, retry_revert, stop_switch
from recommender.errors import ApiError, Invalid
from recommender.models import Revert


@form(roles.OPERATE, again=timeline.answer_again("freeze"))
def freeze(request: ConsoleRequest) -> str:
    scope = request.POST.get("scope", "").strip()
    stop_switch.freeze(by=request.user, note=request.POST.get("note", ""), scope=scope)
    if scope:
        return f"The list {scope} is frozen. Everything else goes on."
    return "Learning is frozen. New events wait."


@form(roles.OPERATE, again=timeline.answer_again("thaw"))
def thaw(request: ConsoleRequest) -> str:
    scope = request.POST.get("scope", "").strip()
    stop_switch.thaw(by=request.user, note=request.POST.get("note", ""), scope=scope)
    if scope:
        return f"The list {scope} is thawed, and shows the present counts again."
    return "Learning goes on, with the waiting events first."


@form(roles.OPERATE, again=timeline.answer_again("pin"))
def pin(request: ConsoleRequest) -> str:
    number, is_pinned = _number(request.POST.get("checkpoint", "")), request.POST.get("pinned") == "1"
    note = request.POST.get("note", "").strip() or ("Pinned." if is_pinned else "Unpinned.")
    stop_switch.set_pinned(by=request.user, note=note, checkpoint_id=number, is_pinned=is_pinned)
    if is_pinned:
        return f"Checkpoint {number} is pinned. It is kept at any age."
    return f"Checkpoint {number} is no longer pinned. It may be deleted when it is old."


# -- reverts ---------------------------------------------------------------------------------------------------------


@page
def _show_form(request: HttpRequest) -> HttpResponse:
    roles.require(request.user, roles.OPERATE)
    return _answer_form(request, Typed.of_link(request.GET))


def _ask_again(request: HttpRequest, error: ApiError) -> HttpResponse:
    return _answer_form(request, Typed.of_form(request.POST), problem=in_a_sentence(error))


@form(roles.OPERATE, again=_ask_again)
def _ask(request: ConsoleRequest) -> HttpResponse:
    """Request a preview, or with the button `look` only list the findings since then."""
    typed = Typed.of_form(request.POST)
    if "look" in request.POST:
        return _answer_form(request, typed)
    if typed.checkpoint_id is None:
        raise Invalid(fields={"checkpoint": "Choose the checkpoint to go back to."})
    asked = request_revert.revert(
        by=request.user,
        note=carry_out_preview.PREVIEWED,
        checkpoint_id=typed.checkpoint_id,
        mode=typed.mode,
        exclude=typed.exclude(),
        is_preview=True,
    )
    return _to(asked)


def revert(request: HttpRequest) -> HttpResponseBase:
    return _ask(request) if request.method == "POST" else _show_form(request)


@form(roles.OPERATE)
def preview_proposal(request: ConsoleRequest, id: int) -> HttpResponse:
    return _to(carry_out_preview.propose(by=request.user, freeze_id=id))


@form(roles.OPERATE)
def preview_again(request: ConsoleRequest, id: int) -> HttpResponse:
    return _to(carry_out_preview.look_again(by=request.user, preview_id=id))


@form(roles.OPERATE)
def retry(request: ConsoleRequest, id: int) -> HttpResponse:
    note = request.POST.get("note", "").strip() or retry_revert.AGAIN
    return _to(retry_revert.retry(by=request.user, revert_id=id, note=note))


def _show_preview_again(request: HttpRequest, error: ApiError, id: int) -> HttpResponse:
    failed = {"problem": in_a_sentence(error), "values": request.POST.dict()}
    return timeline.answer_revert(request, id, failed)


@form(roles.OPERATE, again=_show_preview_again)
def carry_out(request: ConsoleRequest, id: int) -> HttpResponse:
    return _to(carry_out_preview.carry_out(by=request.user, note=request.POST.get("note", ""), preview_id=id))


def _answer_form(request: HttpRequest, typed: Typed, problem: str = "") -> HttpResponse:
    return render(request, "console/revert_form.html", "Go back", form=get_form(typed, problem=problem))


def _to(asked: Revert) -> HttpResponse:
    return HttpResponseRedirect(reverse("console:revert", args=[asked.pk]))


def _number(text: str) -> int:
    """Read a checkpoint's number. Raises Invalid."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise Invalid(fields={"checkpoint": "Give the checkpoint by its number."})
    return int(text)
