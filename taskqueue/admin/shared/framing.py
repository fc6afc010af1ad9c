"""Around every page of this admin: it is English as a whole, and what is refused, missing or unreachable leads back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.urls import URLPattern
from django.utils import translation

from taskqueue.admin.shared.plain_pages import unavailable
from taskqueue.engine.runtime.database_errors import AWAY

View = Callable[..., HttpResponse]


class Framed:
    """For each `ModelAdmin`: its pages, the stock ones included, within both."""

    admin_site: Any
    get_urls: Any

    @property
    def urls(self) -> list[URLPattern]:
        """Where its pages are."""
        patterns: list[URLPattern] = self.get_urls()
        for pattern in patterns:
            pattern.callback = english(leading_back(pattern.callback, self.admin_site))
        return patterns


def english(view: View) -> View:
    """A view whose page is in English, frame and messages included, whatever the project's language is.

    It is rendered here: later the language would be another one again.
    """

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with translation.override("en"):
            response = view(request, *args, **kwargs)
            return response.render() if isinstance(response, SimpleTemplateResponse) else response

    return answer


def leading_back(view: View, site: AdminSite) -> View:
    """A view that answers what it refuses, does not find or cannot read by a page of the admin."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except PermissionDenied as error:
            said = sentences(error.args) or "Your account has no permission for this page."
            return refused(request, site, 403, "You may not do this", said)
        except Http404:
            return refused(
                request, site, 404, "There is no such page", "It may have been moved, or pruned with its task."
            )
        except AWAY as error:
            return unavailable(request, site, error)

    return answer


def sentences(said: Iterable[object]) -> str:
    """What an error says, if it says anything."""
    return " ".join(str(each) for each in said if each)


def refused(request: HttpRequest, site: AdminSite, status: int, title: str, said: str) -> HttpResponse:
    """The page."""
    request.current_app = site.name
    context = {**site.each_context(request), "title": title, "said": said}
    return TemplateResponse(request, "taskqueue/refused.html", context, status=status).render()
