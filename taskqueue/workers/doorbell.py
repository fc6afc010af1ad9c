"""The former name of `taskqueue.pool.notifier.NotifierBroker`, which existing Q_CLUSTER settings may contain."""

from taskqueue.pool.notifier import NotifierBroker as Doorbell

__all__ = ["Doorbell"]
