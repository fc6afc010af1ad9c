"""The whole service by one entry in a project's addresses: the API below `api/`, and `metrics` for Prometheus.

    urlpatterns = [path("", include("taskqueue.service_urls")), ...]

A project with an `api/` of its own mounts it below a prefix, or takes `taskqueue.urls` alone.
"""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from taskqueue.urls import metrics

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/", include("taskqueue.urls")),
    path("metrics", metrics, name="metrics"),
]
