"""One actor: who that is as far as the log says, and its right to be forgotten. For reviewers: it is about a person.

Ids come from the site's visitors, so any text may be one: what cannot be an id is told so, what is not known gets an
empty page and not an error, because an actor may be erased whether the log knows it or not.
"""

from django.http import HttpRequest, HttpResponse

from monitoring import roles
from monitoring.console.pages import ConsoleRequest, form, page, render
from monitoring.findings import actor_history
from monitoring.operations import erase_actor
from recommender.errors import Invalid


@page
def search(request: HttpRequest) -> HttpResponse:
    """With `?id=` that actor's page, where ids may be anything: as part of an address some would not arrive (`..`).
    Whoever may not see actors is told so."""
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
    """The id is typed a second time, so that nobody is forgotten by a slip of the hand."""
    actor_id = request.POST.get("actor", "")
    if request.POST.get("again", "") != actor_id:
        raise Invalid("Nothing was erased: the id typed for confirmation is another.")
    asked = erase_actor.erase(actor_id=actor_id, by=request.user, note=request.POST.get("note", ""))
    return f"Erasure {asked.pk} is under way; events that come from this actor from now on are of somebody new."
