"""The configuration of `gunicorn demo.wsgi`, which gunicorn reads when it is started at the top level.

The environment variables named here, or options on gunicorn's command line, override each setting.
"""

import logging
import os
import time
import traceback
from contextlib import suppress
from pathlib import Path

from environ import Env
from gunicorn.reloader import Reloader, reloader_engines
from gunicorn.util import make_fail_app
from gunicorn.workers.gthread import ThreadWorker


class WebProcess(ThreadWorker):
    """A thread worker that, in development, survives code that cannot be imported and waits for the next change."""

    def load_wsgi(self) -> None:
        """Load the application; if that fails, serve the traceback."""
        try:
            self.wsgi = self.app.wsgi()
        except Exception as error:
            if not self.reloader:
                raise
            places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
            if isinstance(error, SyntaxError) and error.filename:
                places.append((error.filename, error.lineno))
            for file, _line in places:
                self.reloader.add_extra_file(file)
            file, line = [place for place in places if "site-packages" not in place[0]][-1]
            said = traceback.format_exception_only(error)[-1].strip()
            # The page has the traceback.
            self.log.error("%s, line %s: %s. Loading again after the next change.", file, line, said)  # noqa: TRY400
            self.wsgi = make_fail_app("".join(traceback.format_exception(error)))


TICK = 0.02
"""Seconds by which a file's time may be before the clock's: the kernel moves it on some hundred times a second."""


class SinceLoading(Reloader):
    """gunicorn's own compares with its first look, which comes after the loading: it misses what is saved meanwhile."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self._began = time.time() - TICK

    def run(self) -> None:
        """Reload when a file was saved after the loading began."""
        times: dict[str, float] = {}
        while True:
            for file in self.get_files():
                with suppress(OSError):  # removed
                    saved = Path(file).stat().st_mtime
                    # A file server's clock may be ahead: what is of the future now has not been saved since.
                    known = times.setdefault(file, 0 if self._began <= saved <= time.time() else saved)
                    if saved != known:
                        logging.getLogger("gunicorn.error").warning("%s has changed: loading it again.", file)
                        self._callback(file)
            time.sleep(self._interval)


worker_class = WebProcess
reloader_engines["since-loading"] = SinceLoading
reload_engine = "since-loading"
# The default of demo/settings.py, which is not imported here: a reload would not load it again.
reload = Env().bool("RELOAD", default=Env().bool("DEBUG", default=not os.environ.get("DATABASE_URL")))
bind = os.environ.get("BIND", f"127.0.0.1:{os.environ.get('PORT', '8000')}")
workers = int(os.environ.get("WEB_PROCESSES", "2"))
# Long polls occupy at most TASKQUEUE["STATUS_WAITERS"] of them; the others serve all other requests.
threads = int(os.environ.get("WEB_THREADS", "8"))
# Longer than the longest `?wait=`. It kills a process that no longer responds, not a slow thread.
timeout = 75
graceful_timeout = 5
# As long as common proxies keep connections, so that a proxy does not write to a closed one.
keepalive = 75
loglevel = "warning"
accesslog = os.environ.get("ACCESS_LOG") or None
if os.environ.get("LOG_FORMAT") == "json":
    accesslog = None  # the logger taskqueue.requests has a line for each request
    output = {"handlers": ["stderr"], "level": "WARNING"}
    logconfig_dict = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "taskqueue.logs.JsonFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": output,
        "loggers": {"gunicorn.error": {**output, "propagate": False}},
    }
if reload:
    # For a developer: honcho shows the time at the start of each line.
    access_log_format = "%(r)s: %(s)s in %(M)s ms"
# The containers can write only below /tmp.
control_socket_disable = True
