"""The demo with a theme of the admin, as a project would install it: the theme first, Django's admin site."""

import os

from demo import settings as demo
from demo.settings import *  # noqa: F403

THEME = os.environ["THEME"]
INSTALLED_APPS = [
    THEME,
    "django.contrib.admin",
    *(app for app in demo.INSTALLED_APPS if app != "taskqueue.dashboard.DashboardConfig"),
]
DATABASES = {"default": {**demo.DATABASES["default"], "NAME": os.environ["THEME_TEST_DATABASE"]}}
