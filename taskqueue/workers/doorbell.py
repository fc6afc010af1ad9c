"""The broker of `taskqueue.pool.notifier`, under the name that Q_CLUSTER settings may have."""

from taskqueue.pool.notifier import Doorbell

__all__ = ["Doorbell"]
