"""The first page: how learning stands, what comes in, what is stopped, and what somebody should look at."""

from django.http import HttpRequest, HttpResponse

from monitoring import roles
from monitoring.console.data import advice, boards, flow, sources
from monitoring.console.pages import form, page, render
from monitoring.model_state import get_standing
from recommender.lab.demo import stage


@page
def show(request: HttpRequest) -> HttpResponse:
    """The whole page, the part that changes by the second, or (`of=hour`) that of the last hour."""
    if request.GET.get("part") == "1" and request.GET.get("of") == "hour":
        return render(
            request,
            "console/hour.html",
            "The last hour",
            hour=flow.get_hour(),
            recommended=sources.get_recommended(),
        )
    now, findings, standing = flow.get_flow(), advice.get_open_findings(), get_standing()
    return render(
        request,
        "console/overview.html",
        "Overview",
        flow=now,
        hour=flow.get_hour(),
        recommended=sources.get_recommended(),
        boards=boards.get_boards(),
        findings=findings,
        advice=advice.advise(standing=standing, lag_s=now.lag_s, n_waiting=now.n_waiting, findings=findings),
        playing=stage.read_playing(),
    )


@form(roles.OPERATE)
def attack(request: HttpRequest) -> str:  # noqa: ARG001 (a form asks nothing here)
    """Cue the demo's botnet; Conflict where no demo runs."""
    stage.cue_attack()
    return "The demo's botnet attacks within seconds: watch the shadow board."
