"""Questions: list those that the caller may answer, and answer one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue import errors
from taskqueue.api.authentication import actor_of, pipeline_permissions_of
from taskqueue.api.json_parser import parse_body
from taskqueue.api.openapi.operations import operation
from taskqueue.api.pagination import PageQuery, keyset_page
from taskqueue.api.requests import Body
from taskqueue.api.serializers import Paged, Time
from taskqueue.api.views import ApiView
from taskqueue.engine.access.answering import open_questions, require_answer
from taskqueue.engine.actions import answers
from taskqueue.engine.queries import tasks


class QuestionQuery(PageQuery):
    """Which page of the open questions."""


class AnswerBody(Body):
    """An answer to a question of a task."""

    step: str = Field(min_length=1, max_length=200, description="The key of the step that waits for the answer.")
    data: Any = Field(description="The answer, as the question's schema has it.")


class QuestionRecord(serializers.Serializer[Any]):
    """An open question of a task."""

    task = serializers.UUIDField(source="task_id")
    pipeline = serializers.CharField(source="task.pipeline_id")
    step = serializers.CharField(source="step_key", help_text="The key of the step that waits for the answer.")
    question = serializers.CharField(allow_blank=True)
    assignees = serializers.ListField(child=serializers.CharField(), help_text="Users and `group:NAME` who may answer.")
    schema = serializers.JSONField(source="answer_schema", help_text="The JSON schema of the answer.")
    given = serializers.SerializerMethodField(
        help_text="The values of the answer that the question sets; an answer may leave them out."
    )
    asked_at = Time(source="created_at")
    until = Time(allow_null=True, help_text="When the question times out.")

    def get_given(self, question: Any) -> dict[str, Any]:
        return answers.fixed_values(question)


class AnswerRecord(serializers.Serializer[Any]):
    """A question that has been answered."""

    task = serializers.UUIDField(source="task_id")
    step = serializers.CharField(source="step_key")
    answered_by = serializers.CharField()
    answered_at = Time(source="resolved_at")


class QuestionPage(Paged):
    """Open questions, newest first."""

    questions = QuestionRecord(many=True, source="rows")


class QuestionListView(ApiView):
    @operation(
        "listQuestions",
        "List open questions",
        "The questions that wait for an answer of the caller: those that name the caller or one of their groups, and "
        "those of pipelines whose tasks the caller may retry. Newest first.",
        tag="questions",
        success={200: (QuestionPage, "A page of questions.")},
        query=QuestionQuery,
    )
    def get(self, request: Request) -> Response:
        query = QuestionQuery.of(request.query_params)
        found = open_questions(pipeline_permissions_of(request)).select_related("task").order_by("-id")
        return Response(QuestionPage(keyset_page(found, query)).data)


class TaskAnswerView(ApiView):
    http_method_names = ["post"]
    pointer_overrides = {errors.NotSerializable: "/data", errors.TooLarge: "/data"}

    @operation(
        "answerTask",
        "Answer a question of a task",
        "Ends the wait of a step, and the task continues with the answer. The caller is an assignee of the question, "
        "or may retry tasks of the pipeline. The question's schema and the pipeline's own model check the answer. "
        "Answers 409 if the question is answered already, timed out, or was closed by an event.",
        tag="questions",
        success={200: (AnswerRecord, "The answer counts, and the task continues.")},
        body=AnswerBody,
    )
    def post(self, request: Request, task_id: UUID) -> Response:
        body = parse_body(AnswerBody, request.data)
        pipeline = tasks.pipeline_of(task_id)
        question = answers.find_question(task_id, body.step)
        require_answer(question, pipeline, pipeline_permissions_of(request))
        actor = actor_of(request)
        return Response(AnswerRecord(answers.answer(question, body.data, by=actor.name, actor=actor)).data)
