"""What is executed while workers die and the database goes away."""

from __future__ import annotations

from uuid import uuid4

from django.db import connection

from taskqueue import current_task, pipeline, step


@step
def draw(number: int) -> str:
    """Another value each time that it is called, so that a second recorded output would show."""
    return f"{number} {uuid4()}"


@step.atomic
def leave(number: int) -> int:
    """Leave a row. Nothing keeps a second one from being left, but that the step is atomic."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO drill_effect (task, number) VALUES (%s, %s)", [current_task().id, number])
    return number


@pipeline("drill/five-steps")
def five_steps(number: int) -> list[str]:
    """Three plain steps and two atomic ones."""
    first = draw(1)
    leave(1)
    second = draw(2)
    leave(2)
    return [first, second, draw(3)]
