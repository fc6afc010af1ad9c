"""The benchmarks' settings with the soak test's pipelines, on a database of its own."""

from benchmarks.settings import *  # noqa: F403 - Django's settings are names in a module

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.soak"]  # noqa: F405
DATABASES["default"]["NAME"] = "taskqueue_soak"  # noqa: F405
