"""Every endpoint of the API."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver

app_name = "taskqueue"
urlpatterns: list[URLPattern | URLResolver] = []
