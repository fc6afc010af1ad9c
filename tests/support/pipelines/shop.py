"""Pipelines for the tests of a task's page."""

from __future__ import annotations

import logging
from datetime import timedelta

from taskqueue import Permanent, StepFailed, each, gather, pipeline, sleep, step

logger = logging.getLogger("shop.admin")
calls: list[str] = []
"""Names of called steps, in order; tests clear it."""


@step
def validate(number: int) -> int:
    calls.append("validate")
    logger.warning("order %s looks odd", number)
    return number


@step
def embed(number: int) -> int:
    calls.append("embed")
    return number


@step
def charge_card(number: int) -> int:
    calls.append("charge-card")
    logger.warning("the bank answered 51")
    if number < 0:
        raise Permanent("card declined")
    return number


@step
def send_receipt(number: int) -> int:
    calls.append("send-receipt")
    return number


@pipeline("admin/child")
def child(number: int) -> int:
    return embed(number)


@pipeline("admin/order")
def order(number: int) -> int:
    """A plain step, a sleep, parallel steps, a child, a step that may fail, and a last step."""
    validate(number)
    sleep("cool-off", timedelta(seconds=1))
    gather(embed.defer(1), embed.defer(2))
    child(3)
    charge_card(number)
    return send_receipt(number)


@pipeline("admin/forgiving")
def forgiving(number: int) -> int:
    """Its first step may fail; the body catches the error."""
    try:
        charge_card(number)
    except StepFailed:
        validate(number)
    return send_receipt(number)


@pipeline("admin/pages")
def pages(count: int) -> int:
    return len(each(embed, range(count)))
