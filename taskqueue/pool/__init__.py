"""The pool of worker processes, built on django-q2. No other package knows django-q2.

Before a pool starts:
settings_check   a system check of the project's Q_CLUSTER and DATABASES
startup          settings of the process, and waiting for the database
signing          the key that signs django-q2's messages
queue_lists      hides django-q2's own admin pages
reload           `manage.py worker --reload`

The processes of one `manage.py worker`:
cluster          the main process: keeps a sentinel running until a signal stops it
sentinel         replaces dead worker processes, and stops all of them in order
notifier         wakes idle workers: it waits for timers, and with listener for notifications
claimed_tasks    what an awake worker process does: claim and execute tasks until nothing is due
threads          how many it executes at once: plain tasks in threads, async ones on an event loop

When one of them fails:
shared_memory    what each process does now, readable after its death
worker_exits     reports how a worker process ended to the task that it executed
stuck_pool       detects a pool that hangs
orphans          ends a process whose parent is gone
"""
