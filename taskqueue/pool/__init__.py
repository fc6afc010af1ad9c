"""The pool of worker processes: the only place that knows django-q2, which lends it.

startup          what has to be right before a pool starts
cluster          the pool of one `manage.py worker`, until it is told to stop
sentinel         keeps its worker processes alive, and stops them in good order
notifier         the process that tells idle workers of work: it hears notifications and timers
claimed_tasks    what a worker process does then: claim and execute tasks until nothing is due
stuck_pool       notices a pool that hangs
worker_exits     how a worker process ended, for the task that it executed
"""
