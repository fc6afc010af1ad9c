"""The workers that execute tasks now: list them, drain and resume one."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.authentication import actor_of
from taskqueue.api.json_parser import parse_body
from taskqueue.api.openapi.operations import operation
from taskqueue.api.requests import NoBody
from taskqueue.api.serializers import Time, choices_of
from taskqueue.api.views import ApiView
from taskqueue.engine.actions import drain
from taskqueue.engine.runtime import worker_states
from taskqueue.engine.runtime.worker_states import WorkerState
from taskqueue.models import Worker


class UnendedWorker(serializers.Serializer[Any]):
    """A thread of a worker process, which executes a task at a time, or its event loop, which executes many."""

    id = serializers.IntegerField()
    name = serializers.CharField(source="__str__", help_text="Host, process id and thread, for people.")
    state = serializers.ChoiceField(choices=choices_of(WorkerState))
    host = serializers.CharField()
    pid = serializers.IntegerField()
    thread = serializers.IntegerField(help_text="From 0; -1 is the event loop of async tasks.")
    version = serializers.CharField(help_text="Its version of taskqueue.")
    queues = serializers.ListField(child=serializers.CharField(), help_text="The queues that it takes; empty for all.")
    not_queues = serializers.ListField(child=serializers.CharField(), help_text="The queues that it does not take.")
    slots = serializers.IntegerField(help_text="How many tasks it executes at once.")
    executing = serializers.IntegerField(help_text="How many tasks it executed at its last heartbeat.")
    task = serializers.UUIDField(source="task_id", allow_null=True, help_text="One of these tasks.")
    step = serializers.CharField(allow_blank=True, help_text="The step of that task; empty between steps.")
    step_started_at = Time(allow_null=True)
    claim_error = serializers.CharField(allow_blank=True, help_text="The error of its last claims, or empty.")
    draining_at = Time(allow_null=True, help_text="Since when it claims no new tasks.")
    started_at = Time()
    heartbeat_at = Time()


class WorkerList(serializers.Serializer[Any]):
    """The workers that have not ended, by host and process."""

    workers = UnendedWorker(many=True)


class WorkerListView(ApiView):
    required_permissions = {"GET": ("taskqueue.view_worker",)}

    @operation(
        "listWorkers",
        "List workers",
        "Every thread and event loop of the worker processes, with its state and what it executed at its last "
        "heartbeat. Workers that have ended are left out.",
        tag="workers",
        success={200: (WorkerList, "The workers.")},
    )
    def get(self, request: Request) -> Response:
        return Response(WorkerList({"workers": worker_states.unended()}).data)


class WorkerDrainView(ApiView):
    required_permissions = {"POST": ("taskqueue.change_worker",)}

    @operation(
        "drainWorker",
        "Drain a worker",
        "It finishes its tasks and claims no others until it is resumed. Answers 409 if it drains or has ended.",
        tag="workers",
        success={200: (UnendedWorker, "The draining worker.")},
        body=NoBody,
    )
    def post(self, request: Request, worker_id: int) -> Response:
        parse_body(NoBody, request.data)
        return changed(drain.drain_worker(worker_id, actor=actor_of(request)).pk)


class WorkerResumeView(ApiView):
    required_permissions = {"POST": ("taskqueue.change_worker",)}

    @operation(
        "resumeWorker",
        "Resume a worker",
        "A draining worker claims tasks again. Answers 409 if it does not drain or has ended.",
        tag="workers",
        success={200: (UnendedWorker, "The worker.")},
        body=NoBody,
    )
    def post(self, request: Request, worker_id: int) -> Response:
        parse_body(NoBody, request.data)
        return changed(drain.resume_worker(worker_id, actor=actor_of(request)).pk)


def changed(worker_id: int) -> Response:
    return Response(UnendedWorker(worker_states.with_state(Worker.objects.filter(pk=worker_id)).get()).data)
