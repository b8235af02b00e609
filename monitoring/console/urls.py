"""The console's addresses, below /admin/console/."""

from django.urls import path

from monitoring.console import actor, audit, decide, finding, item, overview, panels, queue, stop, timeline

app_name = "console"
urlpatterns = [
    path("", overview.show, name="overview"),
    path("findings/", queue.show, name="queue"),
    path("findings/decide", decide.decide, name="decide"),
    path("findings/undo", decide.undo, name="undo"),
    path("findings/<int:id>/", finding.show, name="finding"),
    path("findings/<int:id>/note", finding.note, name="note"),
    path("findings/<int:id>/glance", queue.show_glance, name="glance"),
    path("items/", item.search, name="items"),
    path("items/hide", item.hide, name="hide"),
    path("items/<path:id>/", item.show, name="item"),
    path("actors/", actor.search, name="actors"),
    path("actors/erase", actor.erase, name="erase"),
    path("actors/erasures/<int:id>/retry", actor.retry, name="retry-erasure"),
    path("actors/<path:id>/", actor.show, name="actor"),
    path("timeline/", timeline.show, name="timeline"),
    path("timeline/reverts/<int:id>/", timeline.show_revert, name="revert"),
    path("timeline/reverts/<int:id>/carry-out", stop.carry_out, name="carry-out"),
    path("timeline/reverts/<int:id>/again", stop.preview_again, name="preview-again"),
    path("timeline/reverts/<int:id>/retry", stop.retry, name="retry-revert"),
    path("timeline/proposals/<int:id>/preview", stop.preview_proposal, name="preview-proposal"),
    path("timeline/freeze", stop.freeze, name="freeze"),
    path("timeline/thaw", stop.thaw, name="thaw"),
    path("timeline/revert", stop.revert, name="ask-revert"),
    path("timeline/pin", stop.pin, name="pin"),
    path("audit/", audit.show, name="audit"),
    path("audit/export.csv", audit.export, name="audit-export"),
    path("audit/verify", audit.verify, name="audit-verify"),
    *(
        path(f"{panel.name}/{action.name}", overview.form_of(action), name=action.name)
        for panel in panels.get_panels()
        for action in panel.actions
    ),
]
