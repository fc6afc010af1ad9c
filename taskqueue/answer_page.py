"""The page behind an answer link: a question and its form, for a person without a login.

It shows nothing else of the task. Opening it changes nothing, since mail scanners follow links.
"""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.utils import translation
from django.views.decorators.clickjacking import xframe_options_deny
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods

from taskqueue.engine.access.answer_links import AnswerLink, link_of
from taskqueue.engine.actions import answers
from taskqueue.errors import AlreadyAnswered, QuestionNotFound, TaskqueueError
from taskqueue.forms.answer_form import CLOSED, answer_form, send_answer

HEADERS: Final = {
    "Cache-Control": "no-store",
    # Not no-referrer: with it browsers send "Origin: null", which the CSRF protection refuses.
    "Referrer-Policy": "same-origin",
    "X-Robots-Tag": "noindex, nofollow",
}


@require_http_methods(["GET", "HEAD", "POST"])
@xframe_options_deny
@csrf_protect
def answer_page(request: HttpRequest, token: str) -> HttpResponse:
    with translation.override("en"):
        response = page(request, link_of(token))
    for name, value in HEADERS.items():
        response[name] = value
    return response


def page(request: HttpRequest, link: AnswerLink | None) -> HttpResponse:
    if link is None:
        return render(request, 404, "This link is not valid", "Check that you have opened all of it.")
    try:
        question = answers.linked_question(link)
    except QuestionNotFound as error:
        return render(request, 404, "There is no such question", error.detail)
    try:
        answers.refuse_closed(question)
        form = answer_form(question, request.POST if request.method == "POST" else None)
        if form.is_bound and send_answer(question, form, by=link.to):
            return HttpResponseRedirect(request.path)
    except CLOSED as error:
        return closed_page(request, str(question), error)
    return render(request, 422 if form.is_bound else 200, str(question), "", form=form)


def closed_page(request: HttpRequest, title: str, error: TaskqueueError) -> HttpResponse:
    """How the question ended. Opening an answered one again is no error; a second answer is a conflict."""
    is_answered = isinstance(error, AlreadyAnswered)
    answered_status = 409 if request.method == "POST" else 200
    return render(request, answered_status if is_answered else 410, title, error.detail)


def render(request: HttpRequest, status: int, title: str, message: str, **context: Any) -> HttpResponse:
    values = {"title": title, "message": message, **context}
    return HttpResponse(render_to_string("taskqueue/answer_page.html", values, request), status=status)
