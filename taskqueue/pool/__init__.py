"""The pool of worker processes, built on django-q2. No other package knows django-q2.

startup          checks and settings before a pool starts
cluster          the pool of one `manage.py worker`, until a signal stops it
sentinel         replaces dead worker processes, and stops all of them in order
notifier         the process that wakes idle workers: it waits for notifications and timers
claimed_tasks    what an awake worker process does: claim and execute tasks until nothing is due
stuck_pool       detects a pool that hangs
worker_exits     reports how a worker process ended to the task that it executed
"""
