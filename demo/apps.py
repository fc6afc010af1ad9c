"""The demo as a Django app. taskqueue finds its pipelines in demo/pipelines.py."""

from django.apps import AppConfig
from django.contrib import admin


class DemoConfig(AppConfig):
    """Example pipelines and commands."""

    name = "demo"

    def ready(self) -> None:
        """Remove the admin's link to the site, which would lead back to the admin."""
        admin.site.site_url = None
