"""The URLs of the site.

Paths under /api/v1/, /health/ and /metrics run without middleware (config/wsgi.py).
"""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from monitoring.api import urls as monitoring
from monitoring.console import public
from recommender.api import urls as recommender

urlpatterns = [
    # /api/v1/..., /health/..., /metrics: for programs
    *recommender.urlpatterns,
    # /api/v1/model, /api/v1/findings: for programs that make decisions
    *monitoring.urlpatterns,
    # for people
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path(
        "api/docs/",
        SpectacularSwaggerSplitView.as_view(url_name="schema", template_name="console/docs.html"),
        name="docs",
    ),
    path("admin/", RedirectView.as_view(pattern_name="console:overview")),
    path("admin/console/", include("monitoring.console.urls")),
    path("admin/", admin.site.urls),
    path("", public.show, name="public"),
    path("favicon.ico", RedirectView.as_view(url=static("console/favicon.svg"))),
]

handler400 = "recommender.errors.bad_request"
handler404 = "recommender.errors.not_found"
handler500 = "recommender.errors.server_error"
