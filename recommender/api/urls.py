"""URLs of the API, the most used first.

They are written out in full and not under an `include`. Django tries them in order, and one more level costs a list a
tenth of its time.
"""

from django.urls import path

from recommender.api import views

urlpatterns = [
    path("api/v1/trending", views.TrendingView.as_view(), name="trending"),
    path("api/v1/events", views.EventsView.as_view(), name="events"),
    path("api/v1/recommendations", views.RecommendationsView.as_view(), name="recommendations"),
    path("api/v1/items", views.ItemsView.as_view(), name="items"),
    path("api/v1/items/<path:id>/similar", views.SimilarView.as_view(), name="similar"),
    path("api/v1/items/<path:id>", views.ItemView.as_view(), name="item"),
    path("health/live", views.LiveView.as_view(), name="live"),
    path("health/ready", views.ReadyView.as_view(), name="ready"),
    path("metrics", views.MetricsView.as_view(), name="metrics"),
]
