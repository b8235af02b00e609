"""The page of one finding with the effect of a decision, and the form for notes.

Reviewers see the ids of actors with links to their pages. Other accounts see pseudonyms. An actor has the same
pseudonym on every page, so a viewer can follow the events but cannot find out who the actor is.
"""

from django.http import HttpRequest, HttpResponse

from monitoring import roles
from monitoring.console.pages import ConsoleRequest, form, page, render
from monitoring.findings import finding_page
from monitoring.models import Finding
from monitoring.operations import note_finding

_RULINGS = {
    Finding.State.OPEN: ("release", "confirm"),
    Finding.State.RELEASED: ("confirm",),
    Finding.State.CONFIRMED: ("release",),
    Finding.State.EXPIRED: ("confirm",),
}


@page
def show(request: HttpRequest, id: int) -> HttpResponse:
    context = finding_page.get_page(finding_id=id)
    rulings = _RULINGS[context["finding"].state]
    return render(request, "console/finding.html", f"Finding {id}", rulings=rulings, **context)


@form(roles.REVIEW)
def note(request: ConsoleRequest, id: int) -> str:
    note_finding.note(by=request.user, finding_id=id, note=request.POST.get("note", ""))
    return f"Your note about finding {id} is saved."
