"""The engine: how a task gets from a call to its end. It knows neither HTTP nor django-q2.

Its rooms, in the order of a task's life. Imports run from `worker` and `actions` down to `sql`; import-linter holds it:

    enqueue       a call becomes a task, or an existing task stands in for it
    events        an event is sent, and routed to the pipelines and waits that listen for its name
    maintenance   what falls due without a caller: timers, cron, sweeps, recovery, retention, rollups, bulk operations
    worker        a worker claims tasks, executes them in a loop, settles them, and keeps its heartbeat
    execution     a pipeline's body runs; each step is replayed, or called and recorded in the journal
    tasks         what changes a task from outside of its execution: retry, cancel, suspend, children, completion
    actions       what people and programs ask for, each with its audit entry in one transaction
    queries       the read side for the API and the admin: tasks, filters, stats, why a task waits
    access        what a caller may do with a pipeline, and which values a viewer may see
    catalog       pipelines and schedules of the code, as rows
    runtime       what all of them share: leases, liveness, notifications, outcomes, failures, database errors
    sql           the statements, one file per concern

`docs/architecture.md` follows one task through them, file by file.
"""
