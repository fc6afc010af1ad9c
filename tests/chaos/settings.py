"""Settings of the chaos run's processes: those of the worker tests, with its pipelines."""

import os

os.environ.setdefault("WORKER_TEST_DATABASE", "postgres")
os.environ.setdefault("LOG_LEVEL", "WARNING")

from tests.support.processes.settings import *  # noqa: F403 - Django's settings are names in a module

INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos"]  # noqa: F405
TASKQUEUE = {**TASKQUEUE, "WEBHOOKS_ALLOW_PRIVATE": True}  # noqa: F405 - the receiver is on this machine
