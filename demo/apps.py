"""The demo as a Django app: taskqueue finds its pipelines in demo/pipelines.py."""

from django.apps import AppConfig


class DemoConfig(AppConfig):
    """Pipelines to look at and commands to try."""

    name = "demo"
