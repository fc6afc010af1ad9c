"""The engine: how a task gets from a call to its end. It knows neither HTTP nor django-q2.

A map, in the order in which a task lives through it:

    intake       a call becomes a row, in the caller's transaction
    starting     whether a task that is there already stands in for the call
    wakeups      idle workers are told, after the commit
    duty         timers fall due, dead workers' tasks come back, and how much could be claimed
    claims       a worker takes the lease of the next task
    drains       the loop of a worker: claim, execute, settle and claim again, until nothing is left
    execution    the pipeline's body runs; each step is recalled, or called and checkpointed
    siblings     async steps beside each other wait for rates and places while one of them executes
    journal      what a task has recorded so far, and the fenced writes that add to it
    drift        where the record and the code that runs disagree
    pausing      what a body waits for is recorded, and the worker goes free
    outcomes     the closed set of ways in which an execution can end
    settlement   an outcome is written and the next task claimed, in one commit
    chores       sweeps that nobody calls for
    retention    what ended long ago is pruned
    control      what people ask for: retry, cancel, rerun
    deeds        the same with who asked for it, written down in one transaction
    rights       what one caller may do with a pipeline's tasks
    sights       a task's values as its viewer may see them
    tokens       with which programs call: made, found, counted, revoked
    schedules    when the clock starts which pipeline
    clock        its ticks become tasks
    replay       what the present code would make of the tasks under way
    liveness     worker rows, their locks and heartbeats
    reports      what a step that lasts has logged so far, and where its code stands
    skips        the requests that made no task
    mirror       pipelines of the code, as rows
    queries      the read side, for the API and the admin
    why          what keeps a task from running (`reasons` has the words, `obstacles` what keeps a queued one)
    statements   the SQL of all of it
"""
