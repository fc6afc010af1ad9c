"""The demo as a Django app: taskqueue finds its pipelines in demo/pipelines.py."""

from django.apps import AppConfig
from django.contrib import admin


class DemoConfig(AppConfig):
    """Pipelines to look at and commands to try."""

    name = "demo"

    def ready(self) -> None:
        """The admin is the whole site: its link to the site would lead back to itself."""
        admin.site.site_url = None
