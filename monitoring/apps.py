from django.apps import AppConfig
from django.core import checks

from monitoring.console import panels


class MonitoringConfig(AppConfig):
    name = "monitoring"

    def ready(self) -> None:
        checks.register(panels.check_panels, "console")
