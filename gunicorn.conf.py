"""How gunicorn serves the project, wherever it is started from the top level: `gunicorn demo.wsgi`.

Each setting can be given otherwise by the environment variable named here, or on gunicorn's command line.
"""

import os

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
