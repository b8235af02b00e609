from django.apps import AppConfig
from django.core import checks

from recommender.apps import is_own_project, refuse


class MonitoringConfig(AppConfig):
    name = "monitoring"

    def import_models(self) -> None:
        if is_own_project():
            super().import_models()
        else:
            refuse(self)

    def ready(self) -> None:
        if is_own_project():
            from monitoring.console import panels  # noqa: PLC0415  imports models, which a foreign project lacks

            checks.register(panels.check_panels, "console")
