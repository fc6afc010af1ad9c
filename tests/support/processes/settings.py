"""Settings of a `manage.py worker` that a test starts: the demo's without API and admin, on the test's database."""

import os
from datetime import timedelta

from demo import settings as demo
from demo.settings import *  # noqa: F403
from taskqueue.defaults import Q_CLUSTER as DEFAULTS

# A worker starts in half the time without API and admin, and these tests start many.
INSTALLED_APPS = [
    "django.contrib.contenttypes", "django.contrib.auth", "django.contrib.postgres", "taskqueue", "django_q",
    "tests.support.processes", *os.environ.get("WORKER_TEST_APPS", "").split(),
]  # fmt: skip
SILENCED_SYSTEM_CHECKS = ["taskqueue.E010"]
ROOT_URLCONF = "tests.support.processes.settings"
MIDDLEWARE = []
TASKS = {"default": {"BACKEND": "taskqueue.django_tasks.TaskqueueBackend", "QUEUES": []}}
if "tests.support.django_tasks" not in INSTALLED_APPS:
    TASKS = {}
urlpatterns: list[object] = []
DATABASES = {**demo.DATABASES, "default": {**demo.DATABASES["default"], "NAME": os.environ["WORKER_TEST_DATABASE"]}}
TASKQUEUE = {
    "WORKER_DATABASE": demo.TASKQUEUE["WORKER_DATABASE"],
    "STOP_GRACE": timedelta(seconds=float(os.environ.get("WORKER_TEST_GRACE", "20"))),
    "WORKER_LOOP_TIME": timedelta(seconds=float(os.environ.get("WORKER_TEST_LOOP_TIME", "2"))),
    "HARD_TIMEOUT_GRACE": timedelta(seconds=float(os.environ.get("WORKER_TEST_HARD_TIMEOUT_GRACE", "10"))),
    "STUCK_POOL_TIMEOUT": timedelta(seconds=float(os.environ.get("WORKER_TEST_STUCK_POOL_TIMEOUT", "10"))),
}
Q_CLUSTER = {
    **demo.Q_CLUSTER,
    "recycle": int(os.environ.get("WORKER_TEST_RECYCLE", "5000")),
    "broker_class": os.environ.get("WORKER_TEST_BROKER", DEFAULTS["broker_class"]),
}
