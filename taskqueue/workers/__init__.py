"""Workers: the only place that knows django-q2, which lends us its pool of processes.

A map: `doorbell` rings when a task can be claimed, `wakeup` is what a worker process does then, `sentinel` guards the
processes of one pool, `cluster` keeps a sentinel running for as long as `manage.py worker` does, `watchdog` tells it
when a pool has got stuck.
"""
