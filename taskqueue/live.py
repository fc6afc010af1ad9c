"""Live pages: a refresh of a page is answered with its live regions only, or with 304 Not Modified."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

HEADER: Final = "X-TQ-Live"
"""Sent by live.js with each refresh."""

VOID_ELEMENTS: Final = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)
AGES: Final = re.compile(rb"(<time\b[^>]*>)[^<]*")
SECRETS: Final = re.compile(rb"<input type=\"hidden\" name=\"csrfmiddlewaretoken\"[^>]*>")


class LiveRegions:
    """Middleware that shortens the answer to a refresh. The page itself is rendered as always.

    The ETag is computed from the regions without the texts of relative times, which the browser updates itself. A page
    that sets an ETag of its own, as the overview does, can answer 304 before it is rendered.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if iscoroutinefunction(self):
            return self._answer_async(request)
        return with_regions_only(request, self.get_response(request))

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        return with_regions_only(request, await self.get_response(request))


def with_regions_only(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """The response, shortened if the request is a refresh of an HTML page."""
    if (
        request.headers.get(HEADER) is None
        or request.method != "GET"
        or response.status_code != 200
        or not isinstance(response, HttpResponse)
        or not response.headers.get("Content-Type", "").startswith("text/html")
    ):
        return response
    return regions_response(request, response)


def regions_response(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """The regions of a page with an ETag, or 304 if the browser has them."""
    regions = regions_of(response.content.decode()).encode()
    if "ETag" in response.headers:
        # The page has a cheaper ETag of its own and has compared it.
        return with_content(response, regions)
    tagged = SECRETS.sub(b"", AGES.sub(rb"\1", regions))
    tag = f'"{hashlib.sha256(tagged).hexdigest()[:32]}"'
    if request.headers.get("If-None-Match") == tag:
        unchanged = HttpResponse(status=304)
        unchanged.headers["ETag"] = tag
        return unchanged
    response.headers["ETag"] = tag
    return with_content(response, regions)


def with_content(response: HttpResponse, content: bytes) -> HttpResponse:
    response.content = content
    response.headers["Content-Length"] = str(len(content))
    return response


def regions_of(page: str) -> str:
    """A page with only the elements that have data-region, and the element with the refresh interval."""
    reader = RegionParser(page)
    reader.feed(page)
    reader.close()
    return f"<!doctype html><title>live</title><body>{reader.frame}{''.join(reader.found)}</body>"


class RegionParser(HTMLParser):
    """Collects the source of the outermost regions of a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=False)
        self.found: list[str] = []
        self.frame = ""
        self._page = page
        self._lines = [0, *(match.end() for match in re.finditer("\n", page))]
        self._depth = 0
        self._start = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if "data-live" in names and names.get("id") == "content-main":
            self.frame = f'<div id="content-main" data-live data-every="{int(names.get("data-every") or 5)}"></div>'
        if tag in VOID_ELEMENTS:
            return
        if self._depth:
            self._depth += 1
        elif "data-region" in names:
            self._depth, self._start = 1, self._offset()

    def handle_endtag(self, tag: str) -> None:
        if not self._depth or tag in VOID_ELEMENTS:
            return
        self._depth -= 1
        if not self._depth:
            end = self._page.index(">", self._offset()) + 1
            self.found.append(self._page[self._start : end])

    def _offset(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column
