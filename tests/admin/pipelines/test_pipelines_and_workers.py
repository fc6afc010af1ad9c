"""Pipelines and workers: lists, pages, and what can be done there: pause, limit, drain."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from demo.pipelines import DemoRequest, demo_task
from taskqueue import Limit, Rate, Retry, gather, pipeline, step
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.catalog.sync import sync_pipeline
from taskqueue.engine.maintenance.rollups import roll_up
from taskqueue.engine.tasks import control
from taskqueue.models import ConcurrencyLimit, Pipeline, Pruning, RateLimit, Schedule, Task, Worker
from taskqueue.policies import Cron
from taskqueue.testing import advance, work
from tests.support.admin_pages import messages_of, page_of, text_of
from tests.support.users import client_of

PIPELINES = "/admin/taskqueue/pipeline/"
DEMO = f"{PIPELINES}demo_2Ftask/change/"
WORKERS = "/admin/taskqueue/worker/"
LIMITED = f"{PIPELINES}boards_2Flimited/"
PAUSE, RESUME = f"{PIPELINES}demo_2Ftask/pause/", f"{PIPELINES}demo_2Ftask/resume/"


@pipeline("boards/limited", concurrency=Limit(2), throttle=Rate(60, per=timedelta(minutes=1)))
def limited(number: int) -> int:
    """Two at a time, sixty a minute."""
    return number


@step(retry=Retry.fixed(timedelta(seconds=10), retries=1))
def torn_page(number: int) -> int:
    raise ValueError(number)


@pipeline("boards/torn-pages")
def torn_pages() -> None:
    gather(torn_page.defer(1))


@pytest.fixture
def pauser():
    return client_of("dana", "view_pipeline", "pause_pipeline")


@pytest.fixture
def limiter():
    return client_of("lars", "view_pipeline", "change_concurrencylimit", "change_ratelimit")


def register(**more) -> Worker:
    values = {"host": "moon", "pid": 7, "cluster": "c", "version": "1.2", **more}
    return Worker.objects.create(**values)


@pytest.mark.parametrize("address", [PIPELINES, DEMO, WORKERS])
def test_viewing_needs_its_permission(address, client, stranger, viewer):
    assert client.get(address).url.startswith("/admin/login/")
    assert stranger.get(address).status_code == 403
    assert viewer.get(address).status_code == 200


@pytest.mark.parametrize("address", [f"{PIPELINES}add/", f"{WORKERS}add/", f"{PIPELINES}demo_2Ftask/delete/"])
def test_adding_and_deleting_are_refused(admin, address):
    assert admin.get(address).status_code == 403


def test_changing_a_pipeline_is_refused(admin):
    assert admin.post(DEMO, {"description": "mine"}).status_code == 403


def test_a_pipeline_shows_its_steps_policies_and_example(viewer):
    text = text_of(viewer.get(DEMO))

    assert "Five steps: some work, a delay" in text
    assert "simulate-delay \N{EN DASH} \N{EN DASH} 0 up to 4 retries (1s, 2s, 4s, 8s) 1m 30s no" in text
    assert "up to 5 retries (5m, 30m, 2h, 6h, 15h 25m)" in text
    assert re.search(r'"failures_before_success" ?: 1', text)
    assert "DemoRequest" in text


def test_a_pipeline_shows_its_retention(viewer):
    assert "kept for 30d after their end. None has been pruned yet." in text_of(viewer.get(DEMO))

    Pipeline.objects.filter(pk="demo/task").update(keep=timedelta(hours=36))
    Pruning.objects.update_or_create(pk="demo/task", defaults={"total": 12_345, "pruned_at": Now()})
    assert "kept for 1d 12h after their end. Pruned: 12,345 in all, the last 20" in text_of(viewer.get(DEMO))

    Pipeline.objects.filter(pk="demo/task").update(keep_for_ever=True)
    assert "kept for ever" in text_of(viewer.get(DEMO))


def test_a_pipeline_links_to_its_tasks(viewer, queued):
    assert "/admin/taskqueue/task/?pipeline=demo%2Ftask" in viewer.get(DEMO).content.decode()


def test_the_lists_need_a_fixed_number_of_queries(admin, django_assert_num_queries, pipeline_without_code):
    for number in range(5):
        register(pid=number)
    limited.enqueue(1)
    for address, number in (
        (PIPELINES, 9),
        (WORKERS, 5),
    ):  # session, user, groups, queues, rows; stats: 3, buckets; pools
        with django_assert_num_queries(number):
            admin.get(address)


def test_workers_are_live_silent_or_ended(viewer, queued):
    register(
        host="mars",
        task_id=queued.pk,
        executing=1,
        step="simulate-delay",
        step_started_at=Now() - timedelta(seconds=125),
    )
    register(host="pluto", heartbeat_at=Now() - timedelta(minutes=3))
    register(host="vulcan", ended_at=Now(), end_reason="its process ended or sent no heartbeat", task_id=queued.pk)

    response = viewer.get(WORKERS)

    text = text_of(response)
    assert "Live mars:7 1 of 1 busy 1.2 just now simulate-delay" in text
    assert "2m 05s" in text
    assert "Silent pluto:7 0 of 1 busy 1.2 3m ago \N{EN DASH} \N{EN DASH}" in text
    assert "Ended its process ended or sent no heartbeat vulcan:7" in text
    assert response.content.decode().count(page_of(queued)) == 1
    assert text.index("mars") < text.index("pluto") < text.index("vulcan")


def test_a_claim_error_is_shown(viewer):
    register(host="mars", claim_error="permission denied for table taskqueue_task")
    register(host="pluto", claim_error="of old", ended_at=Now(), end_reason="stopped")

    text = text_of(viewer.get(WORKERS))

    assert "Claim error permission denied for table taskqueue_task mars:7" in text
    assert "Ended stopped pluto:7" in text


def test_the_list_shows_the_last_day_of_each_pipeline(viewer, failed):
    demo_task.enqueue(DemoRequest(label="queued", delay_seconds=0))
    limited.enqueue(1)
    work()
    limited.enqueue(2)
    RateLimit.objects.filter(pk="boards/limited").update(count=30)
    advance(minutes=2)
    roll_up()

    response = viewer.get(PIPELINES)

    text = text_of(response)
    assert "boards/limited Two at a time, sixty a minute. Running 0 of 2 30 of 30 per 1m 1 100% 1 ended" in text
    assert "demo/task Five steps" in text
    assert "Running 0 of 10 0 50.0% 2 ended, 1 failed" in text
    assert 'aria-label="The last 24 hours: 1 succeeded, 1 failed"' in response.content.decode()
    [address] = re.findall(r'href="([^"]+)">2 ended', response.content.decode())
    assert page_of(failed) in viewer.get(address.replace("&amp;", "&")).content.decode()


def test_a_full_limit_and_a_pause_are_marked(viewer, queued):
    sync_pipeline(limited.definition)
    ConcurrencyLimit.objects.filter(pk="boards/limited").update(tasks=1)
    limited.enqueue(1)
    Task.objects.filter(pipeline="boards/limited").update(slot_acquired_at=Now())
    control.pause_pipeline("demo/task", reason="<b>deploy</b>", actor=Actor(None, "dana"))

    response = viewer.get(PIPELINES)

    assert "1 of 1" in text_of(response)
    assert "tq-is-full" in response.content.decode()
    assert "Paused paused by dana: <b>deploy</b>" in text_of(response)
    assert "<b>deploy</b>" not in response.content.decode()


def test_the_switch_asks_for_a_reason_and_returns_to_the_list(pauser, queued):
    assert 'role="switch" aria-checked="true"' in pauser.get(PIPELINES).content.decode()

    asked = pauser.post(f"{PAUSE}?back=list")
    assert "Pause demo/task?" in text_of(asked)
    assert Pipeline.objects.get(pk="demo/task").paused_at is None
    assert "Enter a reason." in text_of(pauser.post(f"{PAUSE}?back=list", {"reason": " "}))

    response = pauser.post(f"{PAUSE}?back=list", {"reason": "deploy"}, follow=True)
    assert response.redirect_chain[-1][0] == PIPELINES
    assert 'role="switch" aria-checked="false"' in response.content.decode()

    assert pauser.post(f"{RESUME}?back=list").url == PIPELINES
    assert Pipeline.objects.get(pk="demo/task").paused_at is None
    assert "dana Resumed. just now dana Paused: deploy just now" in text_of(pauser.get(DEMO))


def test_pausing_a_paused_pipeline_is_refused(pauser, queued):
    control.pause_pipeline("demo/task", reason="stocktaking", actor=Actor(None, "olga"))

    response = pauser.post(PAUSE, {"reason": "deploy"}, follow=True)

    assert messages_of(response) == ["Pipeline 'demo/task' is paused already by olga: stocktaking"]
    assert "There is no pipeline no/such." in messages_of(pauser.post(f"{PIPELINES}no_2Fsuch/pause/", follow=True))


def test_pausing_needs_pause_pipeline(viewer, queued):
    page = viewer.get(PIPELINES).content.decode()

    assert page.count(" disabled>") == page.count('role="switch"')
    assert (viewer.post(PAUSE, {"reason": "x"}).status_code, viewer.post(RESUME).status_code) == (403, 403)
    assert viewer.get(PAUSE).status_code == 405


def test_a_page_shows_the_steps_of_the_last_tasks(viewer, failed, succeeded, django_assert_max_num_queries):
    with django_assert_max_num_queries(14):
        response = viewer.get(DEMO)

    text = text_of(response)
    assert "of the last 2 tasks" in text
    assert text.count("simulate-api-call 50.0%") == 2
    assert "deployed 2 tasks, last created just now" in text


def test_failed_attempts_are_counted_for_parallel_steps_and_across_retries(viewer):
    tasks = [torn_pages.enqueue() for _ in range(2)]
    for is_retried in (False, True):
        for task in tasks if is_retried else []:
            control.retry(task.pk)
        work()
        advance(minutes=1)
        work()

    text = text_of(viewer.get(f"{PIPELINES}boards_2Ftorn-pages/change/"))

    assert "Failed attempts 4" in text_of(viewer.get(page_of(tasks[0])))
    assert re.search(r"torn-page .*? 0\.0% \S 8 up to 1 retry", text)


def test_limits_are_changed_on_the_page_at_once(limiter, viewer):
    sync_pipeline(limited.definition)

    response = limiter.post(f"{LIMITED}limits/", {"limits-tasks": "1"}, follow=True)

    assert messages_of(response) == ["The limits are changed. They apply to all tasks that start from now on."]
    assert ConcurrencyLimit.objects.get(pk="boards/limited").tasks == 1
    limiter.post(f"{LIMITED}throttle/", {"throttle-count": "30", "throttle-per": "00:00:30"})
    rate = RateLimit.objects.get(pk="boards/limited")
    assert (rate.count, rate.per) == (30, timedelta(seconds=30))
    text = text_of(limiter.get(f"{LIMITED}change/"))
    assert "lars Changed count from the limit in code to 30, per from the limit in code to 30s." in text
    assert "lars Changed tasks from the limit in code to 1." in text
    assert "Change the limits" not in text_of(viewer.get(f"{LIMITED}change/"))
    assert viewer.post(f"{LIMITED}limits/", {"limits-tasks": "9"}).status_code == 403
    assert viewer.post(f"{LIMITED}throttle/", {"throttle-count": "9"}).status_code == 403


@pytest.mark.parametrize(
    ("form", "values", "error"),
    [
        ("limits", {"limits-tasks": "0"}, "A limit is 1 to 100,000; to stop all, pause."),
        ("limits", {"limits-tasks_per_key": "3"}, "The pipeline has no key"),
        ("throttle", {"throttle-count": "x"}, "Enter a whole number."),
        ("throttle", {"throttle-per": "0"}, "More than nothing."),
    ],
)
def test_invalid_limits_are_refused_at_their_field(limiter, form, values, error):
    sync_pipeline(limited.definition)

    response = limiter.post(f"{LIMITED}{form}/", values)

    assert error in text_of(response)
    assert f'value="{next(iter(values.values()))}"' in response.content.decode()
    assert ConcurrencyLimit.objects.get(pk="boards/limited").tasks is None
    assert RateLimit.objects.get(pk="boards/limited").count is None


def test_the_page_shows_the_next_three_runs(viewer):
    cron = Cron("30 3 * * *", timezone="Europe/Berlin")
    (now,) = Pipeline.objects.values_list(Now(), flat=True)[:1]
    Schedule.objects.create(
        pipeline_id="demo/task", expression=cron.expression, timezone=cron.timezone, misfire="once",
        next_at=cron.next_after(now),
    )  # fmt: skip

    text = text_of(viewer.get(DEMO))

    assert text.count("at 03:30 Europe/Berlin") == 3
    assert "in 1d , on" in text


def test_an_unknown_pipeline_leads_to_the_list(viewer):
    assert messages_of(viewer.get(f"{PIPELINES}no_2Fsuch/change/", follow=True)) == ["There is no pipeline no/such."]


def test_a_pipeline_whose_code_is_gone_has_a_page(viewer, pipeline_without_code):
    text = text_of(viewer.get(f"{PIPELINES}gone_2Faway/change/"))

    assert "No steps yet: the code names none, and no recent task has recorded one." in text
    assert "No schedule." in text
    assert "No limits yet." in text


def test_an_empty_list_explains_how_to_define_a_pipeline(viewer):
    Pipeline.objects.all().delete()

    assert "There are no pipelines yet." in text_of(viewer.get(PIPELINES))
    assert "No pipeline matches “zzz”." in text_of(viewer.get(PIPELINES, {"q": "zzz"}))


@pytest.fixture
def drainer():
    return client_of("drew", "view_worker", "change_worker")


def test_a_worker_is_drained_and_resumed_with_log_entries(drainer):
    worker = register()

    response = drainer.post(f"{WORKERS}{worker.pk}/drain/", follow=True)

    assert messages_of(response) == ["Worker moon:7 finishes its task and takes no other until you resume it."]
    assert "Drained requested just now" in text_of(response)
    Worker.objects.update(task_id=worker_task(), executing=1, step="one")
    assert "Draining requested just now" in text_of(drainer.get(WORKERS))
    again = drainer.post(f"{WORKERS}{worker.pk}/drain/", follow=True)
    assert messages_of(again) == ["Worker moon:7 drains already."]
    page = drainer.post(f"{WORKERS}{worker.pk}/resume/?back=page", follow=True)
    assert page.redirect_chain[-1][0] == f"{WORKERS}{worker.pk}/change/"
    assert "drew Resumed. just now drew Drained. just now" in text_of(page)
    assert Worker.objects.get().draining_at is None


def worker_task():
    return demo_task.enqueue(DemoRequest(label="in hand", delay_seconds=0)).pk


def test_several_workers_are_drained_at_once(drainer):
    first, second = register(pid=1), register(pid=2, draining_at=Now())

    form = {"action": "drain_selected", "_selected_action": [first.pk, second.pk]}
    response = drainer.post(WORKERS, form, follow=True)

    assert messages_of(response) == ["1 worker drained. Worker moon:2 drains already."]
    assert Worker.objects.filter(draining_at__isnull=False).count() == 2
    drainer.post(WORKERS, {**form, "action": "resume_selected"})
    assert Worker.objects.filter(draining_at__isnull=False).count() == 0


def test_draining_needs_its_permission(viewer, drainer):
    worker = register()

    assert viewer.post(f"{WORKERS}{worker.pk}/drain/").status_code == 403
    assert "Drain moon:7" not in viewer.get(WORKERS).content.decode()
    assert 'aria-label="Drain moon:7"' in drainer.get(WORKERS).content.decode()
    assert drainer.get(f"{WORKERS}{worker.pk}/drain/").status_code == 405
    assert messages_of(drainer.post(f"{WORKERS}{worker.pk + 1}/drain/", follow=True)) == [
        f"There is no worker {worker.pk + 1}."
    ]


def test_the_processes_of_a_pool_are_counted(viewer, queued):
    for pid in (1, 2, 3):
        register(pid=pid, cluster="one")
    register(pid=4, cluster="two")
    register(pid=5, cluster="one", ended_at=Now())
    Worker.objects.filter(pid=1).update(task_id=queued.pk, executing=1)

    text = text_of(viewer.get(WORKERS))

    assert text.count("1 of 3 busy") == 3
    assert text.count("0 of 1 busy") == 1


def test_the_threads_of_a_process_are_listed_together(viewer):
    for thread in (1, 0, 2):
        for pid in (7, 8):
            Worker.objects.create(host="moon", pid=pid, thread=thread, cluster="a", version="1")

    shown = re.findall(r"moon:\d(?: thread \d)?", text_of(viewer.get(WORKERS)))

    assert shown == [f"moon:{pid}{thread}" for pid in (7, 8) for thread in ("", " thread 2", " thread 3")]


def test_without_a_live_worker_the_list_says_so(viewer):
    assert "No worker has started yet. Start one: manage.py worker ." in text_of(viewer.get(WORKERS))
    register(heartbeat_at=Now() - timedelta(minutes=3))
    assert "No worker is live, so no task is executed. Start one: manage.py worker ." in text_of(viewer.get(WORKERS))
    register()
    assert "No worker is live" not in text_of(viewer.get(WORKERS))
