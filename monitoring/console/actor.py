"""The page of one actor, and the form that erases it.

Only reviewers see the page, because it is about a person. The site chooses ids, so any text may be one. A text that
cannot be an id gets an error. An id that the log does not know gets an empty page and no error, because an operator
may erase an actor that the log does not hold.
"""

from django.http import HttpRequest, HttpResponse

from monitoring import roles
from monitoring.console.pages import ConsoleRequest, form, page, render
from monitoring.findings import actor_history
from monitoring.operations import erase_actor
from recommender.errors import Invalid


@page
def search(request: HttpRequest) -> HttpResponse:
    """Show the search form, or with `?id=` the page of that actor.

    Some ids (`..`) would not arrive as part of a path, so the form uses the query. An account that may not see
    actors gets a page that explains this.
    """
    wanted = request.GET.get("id", "")
    if wanted:
        return _show(request, wanted)
    return render(request, "console/actors.html", "Actors")


@page
def show(request: HttpRequest, id: str) -> HttpResponse:
    return _show(request, id)


def _show(request: HttpRequest, id: str) -> HttpResponse:
    roles.require(request.user, roles.REVIEW)
    return render(request, "console/actor.html", "Actor", **actor_history.get_actor(actor_id=id))


@form(roles.OPERATE)
def erase(request: ConsoleRequest) -> str:
    """Erase an actor.

    The operator types the id a second time, so that no one is erased by mistake.
    """
    actor_id = request.POST.get("actor", "")
    if request.POST.get("again", "") != actor_id:
        raise Invalid("Nothing was erased, because the id that you typed is not the id of this actor. Type it again.")
    asked = erase_actor.erase(actor_id=actor_id, by=request.user, note=request.POST.get("note", ""))
    return f"Erasure {asked.pk} has started. New events with this id now count as a new actor's."


@form(roles.OPERATE)
def retry(request: ConsoleRequest, id: int) -> str:
    """Try a failed erasure again, from the overview or the actor's page."""
    note = request.POST.get("note", "").strip() or erase_actor.AGAIN
    asked = erase_actor.retry(erasure_id=id, by=request.user, note=note)
    return f"Erasure {asked.pk} is tried again."
