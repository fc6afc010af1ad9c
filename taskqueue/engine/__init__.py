"""The engine takes a task from its submission to its end. It knows neither HTTP nor django-q2.

Its parts, in the order of a task's life. Imports run from `async_worker` down to `sql` (see import-linter):

    enqueue       a request becomes a task, or returns the existing task that serves it
    events        events are sent, then routed to the pipelines and waits that listen for their name
    maintenance   due work: timers, cron, sweeps, recovery, retention, rollups, bulk operations
    worker        claims tasks, executes them in a loop, settles them, sends heartbeats
    async_worker  executes many async tasks on one event loop, with the parts of worker and execution
    execution     runs a pipeline's body; each step is replayed from the journal, or called and recorded
    author_code   what surrounds a running step: its timeout, logs and chunks, and what it leaves in the process
    tasks         changes a task from outside of its execution: retry, cancel, suspend, children, completion
    actions       what users and programs do, each with its audit entry in one transaction
    queries       what the API and the admin read: tasks, filters, statistics, why a task is not running
    streams       what is new of the tasks that callers follow
    access        permissions, and redaction of values
    catalog       syncs the pipelines and schedules of the code to rows
    tracing       spans of tasks and steps, and the trace that a task continues
    runtime       leases, liveness, notifications, waiting for ends, outcomes, failures, database errors
    sql           the statements, a file per concern

`docs/architecture.md` follows one task through them, file by file.
"""
