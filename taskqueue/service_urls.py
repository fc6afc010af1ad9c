"""All addresses in one include: the API below `api/`, and `metrics` for Prometheus.

    urlpatterns = [path("", include("taskqueue.service_urls")), ...]

A project with its own `api/` mounts this below a prefix, or includes `taskqueue.urls` only.
"""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from taskqueue.urls import metrics

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/", include("taskqueue.urls")),
    path("metrics", metrics, name="metrics"),
]
