"""The demo project's URLs, and the bare views."""

from __future__ import annotations

from django.urls import path

from benchmarks.bare import InsertView, ReadView
from demo.urls import urlpatterns as demo_urls

urlpatterns = [
    path("bare/rows", InsertView.as_view()),
    path("bare/tasks/<uuid:task_id>", ReadView.as_view()),
    *demo_urls,
]
