"""Static files, served by the web process itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]  # it carries no types
    """WhiteNoise with async support. Without it, each request under ASGI would occupy a thread until its answer."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        return self._answer_async(request) if iscoroutinefunction(self) else super().__call__(request)

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        find = self.find_file if self.autorefresh else self.files.get
        if (static_file := find(request.path_info)) is not None:
            response: HttpResponseBase = self.serve(static_file, request)
        else:
            response = await self.get_response(request)
        return response
