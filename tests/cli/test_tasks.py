"""The verbs submit, list and show, over HTTP and inside the project."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from taskqueue.models import Step, Task
from taskqueue.webhooks.signatures import new_secret
from tests.support.api import enqueue_order

ORDER = '{"number": "A1"}'
MISSING = "019a2b3c-4d5e-7f60-8192-a3b4c5d6e7f8"


def test_submit_prints_the_id_alone(cli):
    result = cli("submit", "shop/order", "--payload", ORDER)

    assert result.code == 0
    task = Task.objects.get(pk=result.out.strip())
    assert (task.pipeline_id, task.payload["number"]) == ("shop/order", "A1")
    assert f"Submitted: shop/order {task.pk}, queued." in result.err


def test_submit_passes_all_options_on(cli):
    options = ["--key", "k", "--priority", "5", "--run-at", "2030-01-01T08:00Z", "--label", "tenant=a=b", "--json"]

    data = cli("submit", "shop/order", "--payload", ORDER, *options).data

    task = Task.objects.get(pk=data["id"])
    assert (task.key, task.priority, task.labels) == ("k", 5, {"tenant": "a=b"})
    assert (data["status"], data["next_run_at"], data["duplicate"]) == ("scheduled", "2030-01-01T08:00:00Z", False)


def test_submit_takes_a_callback_url(cli, settings):
    settings.TASKQUEUE = {**getattr(settings, "TASKQUEUE", {}), "WEBHOOKS_SECRET": new_secret()}
    address = "https://example.com/ended"

    task = cli("submit", "shop/order", "--payload", ORDER, "--callback-url", address, "--json").data

    assert task["callback_url"] == Task.objects.get().callback_url == address
    assert address in cli("show", task["id"]).out


def test_a_used_key_returns_its_task_unless_forced(cli):
    words = ("submit", "shop/order", "--payload", ORDER, "--key", "k")
    first, second, third = cli(*words), cli(*words), cli(*words, "--force")

    assert first.out == second.out != third.out
    assert "An existing task is returned" in second.err


def test_a_duration_is_a_time_from_now(cli):
    data = cli("submit", "shop/order", "--payload", ORDER, "--run-at", "2h", "--json").data

    until = datetime.fromisoformat(data["next_run_at"]) - datetime.fromisoformat(data["created_at"])
    assert timedelta(minutes=118) < until <= timedelta(minutes=121)


def test_a_payload_comes_from_a_file_or_stdin(cli, tmp_path):
    (tmp_path / "order.json").write_text(ORDER)

    assert cli("submit", "shop/order", "--payload", f"@{tmp_path}/order.json").code == 0
    assert cli("submit", "shop/order", "--payload", "-", stdin=ORDER).code == 0
    assert [task.payload["number"] for task in Task.objects.all()] == ["A1", "A1"]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("{bad", "the payload is not JSON"),
        ("NaN", "NaN is no JSON number"),
        ("@missing.json", "missing.json cannot be read: No such file"),
    ],
)
def test_an_unreadable_payload_is_wrong_use(cli, payload, said):
    result = cli("submit", "shop/order", "--payload", payload)

    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_each_error_of_a_refused_payload_is_shown(cli):
    result = cli("submit", "shop/order", "--payload", '{"quantity": 0}')

    assert (result.code, result.out) == (1, "")
    assert "/payload/quantity: " in result.err
    assert "/payload/number: " in result.err


def test_an_unknown_pipeline_is_answered_with_similar_names(cli):
    for words in (("submit", "shop/ordr"), ("list", "--pipeline", "shop/ordr"), ("pipelines", "shop/ordr")):
        result = cli(*words)

        assert (result.code, result.out) == (3, "")
        assert "Did you mean shop/order" in result.err


def test_list_prints_a_table_with_the_newest_first(cli, failed, succeeded):
    result = cli("list")

    assert result.code == 0
    heading, newest, oldest = result.out.splitlines()
    assert heading.split() == ["ID", "STATUS", "CREATED", "PIPELINE", "STEPS", "TOOK", "NOTE"]
    assert newest.split()[:2] == [str(succeeded.pk), "succeeded"]
    assert oldest.split()[:2] == [str(failed.pk), "failed"]
    assert oldest.endswith("Permanent in step ship: ship is broken")


def test_list_filters_as_the_api_does(cli, failed, succeeded):
    labelled = enqueue_order("labelled", key="k", labels={"tenant": "acme"})

    def listed(*words):
        return cli("list", "-q", *words).out.split()

    assert listed("--status", "failed,succeeded") == [str(succeeded.pk), str(failed.pk)]
    assert listed("--status", "failed", "--status", "queued") == [str(labelled.pk), str(failed.pk)]
    assert listed("--label", "tenant=acme") == listed("--key", "k") == [str(labelled.pk)]
    assert listed("--pipeline", "anything") == listed("--created-before", "1h") == []
    assert len(listed("--created-after", "1h")) == 3


def test_list_follows_cursors_up_to_the_limit(cli, monkeypatch):
    monkeypatch.setattr("taskqueue.cli.tasks.PAGE_SIZE", 2)
    ids = [str(enqueue_order(str(number)).pk) for number in range(5)][::-1]

    first = cli("list", "--limit", 3, "--json").data
    rest = cli("list", "--limit", 3, "--cursor", first["next_cursor"], "--json").data

    assert [task["id"] for task in first["tasks"]] == ids[:3]
    assert ([task["id"] for task in rest["tasks"]], rest["next_cursor"]) == (ids[3:], None)
    assert f"--cursor {first['next_cursor']}" in cli("list", "--limit", 3).err


def test_an_empty_list_says_so_on_stderr(cli):
    assert cli("list").out == ""
    assert "No tasks match." in cli("list").err
    assert cli("list", "--json").data == {"tasks": [], "next_cursor": None}


def test_show_prints_steps_attempts_and_the_error(cli, failed):
    result = cli("show", failed.pk)

    assert result.code == 0
    for text in (str(failed.pk), "Permanent in step ship: ship is broken", "charged failed", "Failed attempts"):
        assert text in result.out
    assert "Why it is not done" not in result.out


def test_show_shortens_large_values(cli):
    task = enqueue_order("large")
    Task.objects.filter(pk=task.pk).update(payload={"text": "x" * 5_000})

    assert "(--json has all 5,012 characters)" in cli("show", task.pk).out
    assert len(cli("show", task.pk, "--json").data["payload"]["text"]) == 5_000


def test_show_says_why_a_task_is_not_done(cli, queued):
    assert "No worker is alive." in cli("show", queued.pk).out
    assert cli("show", queued.pk, "--why", "--json").data["why"]["reasons"][0]["code"]
    assert "why" not in cli("show", queued.pk, "--json").data


def test_show_prints_logs_on_request(cli, succeeded):
    Step.objects.filter(task=succeeded, key="ship").update(
        logs={"dropped": 3, "lines": [[1500, "WARNING", "shop", "the last\x1b[31m box"]]}
    )

    result = cli("show", succeeded.pk, "--logs")

    assert "Log of ship\n(older lines that were not kept: 3)\n   1.500 s  WARNING  shop: the last" in result.out
    assert "\x1b" not in result.out
    assert "Nothing was logged." in cli("show", enqueue_order("new").pk, "--logs").err


@pytest.mark.parametrize("verb", ["show", "watch", "retry", "cancel", "run-now"])
def test_a_missing_task_is_not_found(cli, verb):
    result = cli(verb, MISSING)

    assert (result.code, result.out) == (3, "")
    assert f"No task has the id {MISSING}" in result.err


@pytest.mark.parametrize("verb", ["show", "watch", "retry", "cancel", "run-now"])
def test_what_is_no_id_is_wrong_use(cli, verb):
    result = cli(verb, "abc")

    assert result.code == 2
    assert "'abc' is no id of a task" in result.err


def test_json_is_printed_on_one_document(cli, succeeded):
    shown = cli("show", succeeded.pk, "--json")

    assert json.loads(shown.out)["created_at"].endswith("Z")
    assert shown.err == ""


def test_list_takes_the_other_filters_of_the_api(cli, failed, succeeded):
    words = ("--ended-after", "1d", "--pipeline-prefix", "shop/", "--took-less-than", "1h", "--quiet")

    assert cli("list", "--error", "Permanent", "--error-text", "IS BROKEN", *words).out.split() == [str(failed.pk)]
    assert set(cli("list", *words).out.split()) == {str(failed.pk), str(succeeded.pk)}
    assert cli("list", "--took-at-least", "1h").out == cli("list", "--subject", "shop.order:7").out
