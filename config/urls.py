"""Every address of the site: a table of contents.

What begins with /api/v1/, /health/ or /metrics runs without middleware (config/wsgi.py).
"""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from monitoring import urls as monitoring
from recommender import urls as recommender

urlpatterns = [
    # /api/v1/..., /health/..., /metrics: machines
    *recommender.urlpatterns,
    # /api/v1/model, /api/v1/findings: machines that decide
    *monitoring.urlpatterns,
    # people
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(url="/admin/")),
]

handler400 = "recommender.errors.bad_request"
handler404 = "recommender.errors.not_found"
handler500 = "recommender.errors.server_error"
