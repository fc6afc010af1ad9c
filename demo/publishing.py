"""The demo's second pipeline: an article is typeset, waits for approval, and is printed by a child task."""

from __future__ import annotations

import time
from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field

from taskqueue import (
    Permanent,
    Rate,
    Retry,
    StepFailed,
    current_task,
    each,
    emit,
    gather,
    pipeline,
    sleep,
    step,
    wait_for,
)

DEMO_API = Rate(10, per=timedelta(seconds=1), burst=5, name="demo-api")
"""The simulated services accept ten calls a second, from all pipelines together."""

SOON = Retry.exponential(first=timedelta(seconds=1), retries=3)


class PublishRequest(BaseModel):
    """The article that is to be published."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"title": "On waiting", "pages": 4, "approve_within": 600}]}
    )

    title: str = Field(min_length=1, max_length=100, description="The approval event has this title.")
    pages: int = Field(default=4, ge=1, le=50)
    approve_within: float = Field(
        default=600, gt=0, le=86_400, description="Seconds; without an approval by then, nothing is published."
    )
    printer_jams: bool = Field(default=False, description="Let the child task fail, so that the shelf is released.")


class Approval(BaseModel):
    """The data of the event demo/approved; its title is that of the article."""

    title: str
    approved: bool = True
    by: str = "an editor"


class Published(BaseModel):
    """The result."""

    published: bool
    reason: str
    pages: list[str]
    copies: int = 0


class PrintRequest(BaseModel):
    """What the child task prints."""

    title: str
    pages: list[str]
    jams: bool = False


@pipeline("demo/publish", concurrency=5, finish_within=timedelta(days=2))
def publish(request: PublishRequest) -> Published:
    """Typeset two pages at a time, then cover and summary; sleep; wait for approval; print; compensate a failure."""
    pages = each(typeset, [f"{request.title}, page {number + 1}" for number in range(request.pages)], limit=2)
    cover, summary = gather(draw_cover.defer(request.title), summarise.defer(pages))
    sleep("let-the-ink-dry", timedelta(seconds=1))
    shelf = reserve_shelf(cover, summary)
    approval = wait_for(
        "demo/approved",
        match={"title": request.title},
        timeout=timedelta(seconds=request.approve_within),
        model=Approval,
        assignees=["group:editors"],
        question=f"Publish “{request.title}”?",
    )
    if approval is None or not approval.approved:
        release_shelf(shelf)
        reason = "it was not approved in time" if approval is None else f"declined by {approval.by}"
        return Published(published=False, reason=reason, pages=pages)
    try:
        copies = print_copies(PrintRequest(title=request.title, pages=pages, jams=request.printer_jams))
    except StepFailed:
        release_shelf(shelf)  # compensate, and let the task fail
        raise
    emit("demo/published", {"title": request.title, "copies": copies})
    return Published(published=True, reason=f"approved by {approval.by}", pages=pages, copies=copies)


@step(retry=SOON)
def typeset(text: str) -> str:
    time.sleep(0.2)
    return text.upper()


@step(retry=SOON, rate=DEMO_API)
def draw_cover(title: str) -> str:
    """Call the drawing service, which demo/task calls too: both share one rate."""
    return f"cover of {title}"


@step(retry=SOON, rate=DEMO_API)
def summarise(pages: list[str]) -> str:
    """Call the summarising service, under the shared rate."""
    return f"{len(pages)} pages"


@step
def reserve_shelf(cover: str, summary: str) -> str:
    """Reserve a shelf, which must be released if nothing is published."""
    return f"shelf for {cover} ({summary})"


@step
def release_shelf(shelf: str) -> str:
    return f"{shelf} is free again"


@pipeline("demo/print")
def print_copies(request: PrintRequest) -> int:
    """A child task with its own steps."""
    return run_press(request)


@step(retry=SOON)
def run_press(request: PrintRequest) -> int:
    """Print, unless the press jams."""
    if request.jams:
        raise Permanent("the press is jammed, as the request asked")
    current_task().progress(1.0, f"{len(request.pages)} pages")
    return 100 * len(request.pages)
