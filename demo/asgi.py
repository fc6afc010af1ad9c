"""The demo project as an ASGI application, under which any number of callers may wait for their tasks."""

import os

from taskqueue.web import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo.settings")

application = get_asgi_application()
