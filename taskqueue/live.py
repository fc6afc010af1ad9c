"""Live pages: a page that asks for itself again is answered with its live regions alone, or with "not modified"."""

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
"""The header of a page that refreshes itself."""

VOID: Final = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)
AGES: Final = re.compile(rb"(<time\b[^>]*>)[^<]*")
SECRETS: Final = re.compile(rb"<input type=\"hidden\" name=\"csrfmiddlewaretoken\"[^>]*>")


class LiveRegions:
    """Middleware. Filters, page and rights are those of the page itself, and so is the cost of making it: less is sent.

    The tag is of what is shown, but for how long ago things were: that, the browser counts on by itself. A page with a
    cheaper tag of its own answers before it is made, as the overview does.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Answer; a page that was asked for as a live one is cut."""
        if iscoroutinefunction(self):
            return self._answer_async(request)
        return shown(request, self.get_response(request))

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        return shown(request, await self.get_response(request))


def shown(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """The answer as the caller wants it."""
    if (
        request.headers.get(HEADER) is None
        or request.method != "GET"
        or response.status_code != 200
        or not isinstance(response, HttpResponse)
        or not response.headers.get("Content-Type", "").startswith("text/html")
    ):
        return response
    return cut(request, response)


def cut(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """The regions of a page with a tag, or 304 when the caller has them."""
    regions = regions_of(response.content.decode()).encode()
    if "ETag" in response.headers:
        # The page has a cheaper one, and has compared it.
        return with_content(response, regions)
    seen = SECRETS.sub(b"", AGES.sub(rb"\1", regions))
    tag = f'"{hashlib.sha256(seen).hexdigest()[:32]}"'
    if request.headers.get("If-None-Match") == tag:
        unchanged = HttpResponse(status=304)
        unchanged.headers["ETag"] = tag
        return unchanged
    response.headers["ETag"] = tag
    return with_content(response, regions)


def with_content(response: HttpResponse, content: bytes) -> HttpResponse:
    """The same answer with other content; its length was said already, of the whole page."""
    response.content = content
    response.headers["Content-Length"] = str(len(content))
    return response


def regions_of(page: str) -> str:
    """The elements of a page that are marked with data-region, and what says whether and how often it is live."""
    reader = Regions(page)
    reader.feed(page)
    reader.close()
    return f"<!doctype html><title>live</title><body>{reader.frame}{''.join(reader.found)}</body>"


class Regions(HTMLParser):
    """Reads a page and keeps the source of its outermost regions."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=False)
        self.found: list[str] = []
        self.frame = ""
        self._page = page
        self._lines = [0, *(match.end() for match in re.finditer("\n", page))]
        self._depth = 0
        self._begin = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Go in, or find a region's beginning."""
        names = dict(attrs)
        if "data-live" in names and names.get("id") == "content-main":
            self.frame = f'<div id="content-main" data-live data-every="{int(names.get("data-every") or 5)}"></div>'
        if tag in VOID:
            return
        if self._depth:
            self._depth += 1
        elif "data-region" in names:
            self._depth, self._begin = 1, self._here()

    def handle_endtag(self, tag: str) -> None:
        """Go out; at a region's end keep it."""
        if not self._depth or tag in VOID:
            return
        self._depth -= 1
        if not self._depth:
            end = self._page.index(">", self._here()) + 1
            self.found.append(self._page[self._begin : end])

    def _here(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column
