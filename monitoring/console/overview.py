"""The first page: the state of learning, the events, the lists, and things to do."""

from django.http import HttpRequest, HttpResponse

from monitoring.console import panels
from monitoring.console.data import advice_data, boards_data, flow_data, sources_data
from monitoring.console.pages import View, form, page, render
from monitoring.console.panels import PanelAction
from monitoring.model_state import get_standing
from recommender.upkeep import failed_jobs

FAILED_SHOWN = 20


@page
def show(request: HttpRequest) -> HttpResponse:
    """Show the whole page or one part of it.

    The part is the one that changes every second, or with `of=hour` the one about the last hour.
    """
    if request.GET.get("part") == "1" and request.GET.get("of") == "hour":
        return render(
            request,
            "console/hour.html",
            "The last hour",
            hour=flow_data.get_hour(),
            recommended=sources_data.get_recommended(),
        )
    now, findings, standing = flow_data.get_flow(), advice_data.get_open_findings(), get_standing()
    return render(
        request,
        "console/overview.html",
        "Overview",
        flow=now,
        hour=flow_data.get_hour(),
        recommended=sources_data.get_recommended(),
        boards=boards_data.get_boards(),
        findings=findings,
        advice=advice_data.advise(standing=standing, lag_s=now.lag_s, n_waiting=now.n_waiting, findings=findings),
        failed_jobs=failed_jobs.list_failed_jobs()[:FAILED_SHOWN],
        panels=panels.list_shown(request.user),
    )


def form_of(action: PanelAction) -> View:
    """Return the form behind a button of a panel."""

    @form(action.permission)
    def carry_out(request: HttpRequest) -> str:  # noqa: ARG001 (a button asks nothing)
        return action.carry_out()

    return carry_out
