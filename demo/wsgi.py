"""The demo project as a WSGI application, for gunicorn."""

import os

from taskqueue.web import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo.settings")

application = get_wsgi_application()
