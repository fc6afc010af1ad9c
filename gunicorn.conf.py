"""How gunicorn serves the project, wherever it is started from the top level: `gunicorn demo.wsgi`.

Each setting can be given otherwise by the environment variable named here, or on gunicorn's command line.
"""

import os
import traceback

from environ import Env
from gunicorn.util import make_fail_app
from gunicorn.workers.gthread import ThreadWorker


class WebProcess(ThreadWorker):
    """gunicorn's own, which in development outlives code that cannot be imported, and waits for its next change."""

    def load_wsgi(self) -> None:
        """Load the application; while that fails, answer with the traceback instead."""
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


worker_class = WebProcess
# As in demo/settings.py, which is not imported here: what this process has loaded, a reload does not load again.
reload = Env().bool("RELOAD", default=Env().bool("DEBUG", default=not os.environ.get("DATABASE_URL")))
bind = os.environ.get("BIND", f"127.0.0.1:{os.environ.get('PORT', '8000')}")
workers = int(os.environ.get("WEB_PROCESSES", "2"))
# Long polls hold TASKQUEUE["STATUS_WAITERS"] of them; the others answer everything else.
threads = int(os.environ.get("WEB_THREADS", "8"))
# Longer than the longest `?wait=`. Threads are not killed by it; a process that no longer answers at all is.
timeout = 75
graceful_timeout = 5
# As long as common proxies keep theirs, or they would write into a connection that has just been closed.
keepalive = 75
loglevel = "warning"
accesslog = os.environ.get("ACCESS_LOG") or None
# The containers can write nowhere but below /tmp.
control_socket_disable = True
