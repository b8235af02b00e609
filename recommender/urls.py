"""Addresses of the API; the hottest first, because Django tries them in order."""

from django.urls import path

from recommender import views

app_name = "recommender"
urlpatterns = [
    path("events", views.EventsView.as_view(), name="events"),
    path("trending", views.TrendingView.as_view(), name="trending"),
    path("items", views.ItemsView.as_view(), name="items"),
    path("items/<path:id>", views.ItemView.as_view(), name="item"),
]
