"""Exception classes for ends that no exception of the task's own code has caused; see `TaskError.exception_class`."""


class WorkerLost(Exception):
    """The worker died, or sent no heartbeat, while it executed the task."""


class TaskCancelled(Exception):
    """The task was cancelled, by a user or by its deadline."""
