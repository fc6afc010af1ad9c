"""`manage.py worker`: execute tasks until it is stopped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error, connection

from taskqueue.conf import settings
from taskqueue.definitions import INTERNAL, registry
from taskqueue.engine.runtime.queue_workers import queues_without_pipelines
from taskqueue.engine.runtime.taken_queues import take_queues, taken_queues
from taskqueue.pool import cluster, orphans, startup
from taskqueue.pool.reload import reloading
from taskqueue.queues import TakenQueues, queue_names, reserved_slots


class Command(BaseCommand):
    help = (
        "Executes tasks in a pool of worker processes until SIGTERM or Ctrl-C. Then running steps have "
        'TASKQUEUE["STOP_GRACE"] to end, and unfinished tasks are released for other workers; a second signal stops '
        "without waiting. Start any number of these commands on any number of machines."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--processes",
            type=_at_least_one,
            metavar="N",
            help='Number of worker processes (default: Q_CLUSTER["workers"], or one per core).',
        )
        parser.add_argument(
            "--threads",
            type=_at_least_one,
            metavar="N",
            help='Number of plain tasks that each process executes at once (default: TASKQUEUE["THREADS"]). '
            "1 for tasks that need the CPU, not the network.",
        )
        parser.add_argument(
            "--async-slots",
            type=_at_least_zero,
            metavar="N",
            help="Number of async tasks that each process executes at once on its event loop (default: "
            'TASKQUEUE["ASYNC_SLOTS"]). 0: each async task takes a thread.',
        )
        parser.add_argument(
            "--reload",
            action=argparse.BooleanOptionalAction,
            default=False,
            help="For development: restart the worker when a Python file of the project changes.",
        )
        _add_queue_arguments(parser)
        # The reloading process passes its pid to the worker, which must not outlive it.
        parser.add_argument(reloading.DIE_WITH, type=int, help=argparse.SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        signals = cluster.Signals()
        signals.watch()
        if options["reload"]:
            sys.exit(reloading.run(signals, self._print))
        if parent := options["die_with"]:
            orphans.die_with(parent)
        startup.apply_log_level()
        startup.use_worker_database()
        startup.persist_connections()
        queues, threads = _queues_of(options), options["threads"] or settings().THREADS
        reserved = _reserved_of(options, queues, threads)
        is_full = sum(reserved.values()) == threads
        # No thread is left for other queues: then the workers' rows say so, and `why` for their tasks.
        take_queues(queues.only(reserved) if is_full else queues)
        processes = startup.set_pool_size(options["processes"])
        if refusal := startup.broker_error() or startup.wait_for_database(self._print):
            raise CommandError(refusal)
        for warning in _queues_warnings(queues, reserved, threads if is_full else None):
            self._print(warning)
        async_slots = settings().ASYNC_SLOTS if options["async_slots"] is None else options["async_slots"]
        if not any(definition.is_async for definition in registry.all()):
            async_slots = 0
        if warning := startup.connections_warning(processes, threads, is_async=bool(async_slots)):
            self._print(warning)
        size = _size(processes, threads, async_slots, reserved)
        self._print(f"Worker: {size} on {_database()}, for {_pipelines()}. Stop with Ctrl-C.")
        code = cluster.run(signals, processes=processes, threads=threads, async_slots=async_slots, reserved=reserved)
        self._print("Worker stopped." if code == 0 else "Worker stopped before all of its steps had ended.")
        sys.exit(code)

    def _print(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _at_least_zero(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be at least 0")
    return number


def _size(processes: int, threads: int, async_slots: int, reserved: dict[str, int]) -> str:
    in_threads = f"with {threads} {'thread' if threads == 1 else 'threads'}"
    if reserved:
        in_threads += f" (reserved: {_slots(reserved)})"
    if async_slots:
        in_threads += f" and {async_slots} async {'slot' if async_slots == 1 else 'slots'}"
    return f"1 process {in_threads}" if processes == 1 else f"{processes} processes {in_threads} each"


def _database() -> str:
    database = connection.settings_dict
    address = f" at {database['HOST']}:{database['PORT'] or 5432}" if database["HOST"] else ""
    return f"database {database['NAME']}{address}"


def _pipelines() -> str:
    queues = taken_queues()
    of_queues = "" if queues.takes_all else f"queues: {queues}; "
    names = [name for name in registry.names() if name not in INTERNAL]
    known = f"{'pipeline' if len(names) == 1 else 'pipelines'} {', '.join(names)}" if names else "no pipelines yet"
    return f"{of_queues}{known}"


def _queues_of(options: dict[str, Any]) -> TakenQueues:
    """The queues of the options, else those of the settings.

    Raises:
        CommandError: strict order without named queues.
    """
    is_strict = settings().STRICT_QUEUES if options["strict"] is None else options["strict"]
    names, excluded = options["queues"] or (), options["not_queues"] or ()
    if not names and not excluded:
        names, excluded = queue_names(settings().QUEUES), queue_names(settings().NOT_QUEUES)
    if is_strict and not names:
        origin = 'TASKQUEUE["STRICT_QUEUES"]' if options["strict"] is None else "--strict"
        remedy = " Or leave strict order out for this command with --no-strict." if options["strict"] is None else ""
        raise CommandError(
            f"{origin} needs the queues in their order: name them, the most urgent first, with --queues urgent,default "
            f'or TASKQUEUE["QUEUES"].{remedy}'
        )
    return TakenQueues(names, excluded, is_strict)


def _reserved_of(options: dict[str, Any], queues: TakenQueues, threads: int) -> dict[str, int]:
    """The reserved slots of the option, else those of the setting for the queues that this command takes.

    Raises:
        CommandError: a queue is not taken, or there are more slots than threads.
    """
    reserved: dict[str, int] | None = options["reserve"]
    if reserved is None:
        configured = reserved_slots(settings().RESERVE)
        reserved = {queue: number for queue, number in configured.items() if queues.takes(queue)}
    if missing := next((queue for queue in reserved if not queues.takes(queue)), None):
        raise CommandError(
            f"Queue {missing} has reserved slots, but this command takes {queues}. Let it take this queue too, or "
            "leave it out of --reserve."
        )
    total = sum(reserved.values())
    if total > threads:
        raise CommandError(
            f"{total} slots are reserved ({_slots(reserved)}), but each process has "
            f"{threads} {'thread' if threads == 1 else 'threads'}. Use --threads {total} or more, or reserve fewer."
        )
    return reserved


def _slots(reserved: dict[str, int]) -> str:
    return ", ".join(f"{queue}={number}" for queue, number in reserved.items())


def _add_queue_arguments(parser: argparse.ArgumentParser) -> None:
    queues = parser.add_mutually_exclusive_group()
    queues.add_argument(
        "--queues",
        type=_queue_names,
        metavar="NAMES",
        help="Take only tasks of pipelines and steps in these queues, such as mail,default (default: "
        'TASKQUEUE["QUEUES"], or all queues).',
    )
    queues.add_argument(
        "--not",
        dest="not_queues",
        type=_queue_names,
        metavar="NAMES",
        help='Take no tasks of pipelines and steps in these queues (default: TASKQUEUE["NOT_QUEUES"], or none).',
    )
    parser.add_argument(
        "--strict",
        action=argparse.BooleanOptionalAction,
        help="Take all tasks of a queue before those of the queues named after it with --queues, whatever their age "
        'and priority (default: TASKQUEUE["STRICT_QUEUES"]).',
    )
    parser.add_argument(
        "--reserve",
        type=_reserved_slots,
        metavar="QUEUE=N[,QUEUE=N]",
        help="Keep N threads of each process for tasks of this queue, so that they never wait for slow tasks of other "
        'queues; "" for none (default: TASKQUEUE["RESERVE"]).',
    )


def _queue_names(text: str) -> tuple[str, ...]:
    try:
        names = queue_names(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not names:
        raise argparse.ArgumentTypeError("name at least one queue")
    return names


def _reserved_slots(text: str) -> dict[str, int]:
    try:
        return reserved_slots(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _queues_warnings(queues: TakenQueues, reserved: dict[str, int], all_threads: int | None) -> Iterator[str]:
    """Warnings if this command names queues in which no pipeline is, or reserves all threads and leaves queues out.

    Args:
        queues: those that the command names.
        reserved: its reserved slots.
        all_threads: how many threads each process has, if all of them are reserved.
    """
    try:
        unknown, known = queues_without_pipelines(dict.fromkeys((*queues.names, *queues.excluded, *reserved)))
    except Error:
        return  # the database has gone away since the start; workers wait for it
    if unknown:
        known_queues = f"Known queues: {', '.join(known) or 'none'}."
        yield f"Warning: no pipeline and no step is in {_named(unknown)} now. {known_queues}"
    left_out = [queue for queue in known if queues.takes(queue) and queue not in reserved]
    if all_threads is not None and left_out:
        subject = (
            "the only thread of each process is"
            if all_threads == 1
            else f"all {all_threads} threads of each process are"
        )
        yield (
            f"Warning: {subject} reserved, so this command takes no tasks of {_named(left_out)}. "
            f"Use --threads {all_threads + 1} or more to take them too."
        )


def _named(queues: list[str]) -> str:
    return f"queue {queues[0]}" if len(queues) == 1 else f"the queues {', '.join(queues)}"
