"""Addresses of the stop switch, the findings, hidden items and erasure.

They are written out, like those of recommender.api.urls.
"""

from django.urls import path

from monitoring.api import actor_views, hidden_views, shadow_views, views

urlpatterns = [
    path("api/v1/model", views.ModelView.as_view(), name="model"),
    path("api/v1/model/shadow", shadow_views.ShadowView.as_view(), name="shadow"),
    path("api/v1/model/checkpoints", views.CheckpointsView.as_view(), name="checkpoints"),
    path("api/v1/model/checkpoints/<int:id>/pin", views.PinView.as_view(), name="pin"),
    path("api/v1/model/checkpoints/<int:id>/unpin", views.UnpinView.as_view(), name="unpin"),
    path("api/v1/model/freeze", views.FreezeView.as_view(), name="freeze"),
    path("api/v1/model/thaw", views.ThawView.as_view(), name="thaw"),
    path("api/v1/model/revert", views.RevertView.as_view(), name="revert"),
    path("api/v1/model/reverts/<int:id>", views.RevertStateView.as_view(), name="revert-state"),
    path("api/v1/model/reverts/<int:id>/retry", views.RevertRetryView.as_view(), name="retry-revert"),
    path("api/v1/findings", views.FindingsView.as_view(), name="findings"),
    path("api/v1/findings/<int:id>", views.FindingView.as_view(), name="finding"),
    path("api/v1/findings/<int:id>/release", views.ReleaseView.as_view(), name="release"),
    path("api/v1/findings/<int:id>/confirm", views.ConfirmView.as_view(), name="confirm"),
    path("api/v1/hidden-items", hidden_views.HiddenItemsView.as_view(), name="hidden-items"),
    path("api/v1/hidden-items/<path:id>", hidden_views.HiddenItemView.as_view(), name="hidden-item"),
    path("api/v1/actors/<path:id>", actor_views.ActorView.as_view(), name="actor"),
    path("api/v1/erasures/<int:id>", actor_views.ErasureView.as_view(), name="erasure"),
    path("api/v1/erasures/<int:id>/retry", actor_views.ErasureRetryView.as_view(), name="retry-erasure"),
]
