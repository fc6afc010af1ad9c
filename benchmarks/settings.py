"""The demo project's settings as in a deployment, on a database of their own."""

import os

os.environ["DEBUG"] = os.environ.get("BENCHMARKS_DEBUG", "false")
os.environ.setdefault("SECRET_KEY", "a key for benchmarks only")
os.environ.setdefault("HTTPS", "false")
os.environ.setdefault("ALLOWED_HOSTS", "127.0.0.1")
os.environ.setdefault("LOG_LEVEL", "WARNING")

from demo.settings import *  # noqa: F403 - Django's settings are names in a module

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks"]  # noqa: F405
DATABASES["default"]["NAME"] = "taskqueue_benchmarks"  # noqa: F405
ROOT_URLCONF = "benchmarks.urls"
