# ruff: noqa: F403 - a list of all names here would be longer than some of the modules, and say nothing new
"""The engine's SQL statements, a module per concern. `docs/sql/` lists them, and shows each as PostgreSQL receives it.

They bypass the ORM because a third of an ORM update is the database and the rest is Python. Each is one round trip.
Times come from `statement_timestamp()`: the database's clock, stable within a statement (so that an index can use it),
yet moving inside a test's transaction, where `now()` would stand still.

A constant that begins with WITH, SELECT, INSERT, UPDATE or DELETE is a whole statement; any other is a part of some.
Callers write `sql.CLAIM`; those of rollups, ends, stats and tokens import the module, whose names are shorter.
"""

from taskqueue.engine.sql.children import *
from taskqueue.engine.sql.claims import *
from taskqueue.engine.sql.enqueue.bulk import *
from taskqueue.engine.sql.enqueue.deduplicate import *
from taskqueue.engine.sql.enqueue.single import *
from taskqueue.engine.sql.events import *
from taskqueue.engine.sql.flow_control.admission import *
from taskqueue.engine.sql.flow_control.rate_limits import *
from taskqueue.engine.sql.flow_control.slots import *
from taskqueue.engine.sql.history.retention import *
from taskqueue.engine.sql.history.samples import *
from taskqueue.engine.sql.journal import *
from taskqueue.engine.sql.limited_claims import *
from taskqueue.engine.sql.maintenance import *
from taskqueue.engine.sql.parallel_slots import *
from taskqueue.engine.sql.queries.alerts import *
from taskqueue.engine.sql.queries.explain import *
from taskqueue.engine.sql.queries.task_state import *
from taskqueue.engine.sql.queries.tasks import *
from taskqueue.engine.sql.queues import *
from taskqueue.engine.sql.run import fetch as fetch
from taskqueue.engine.sql.run import instance as instance
from taskqueue.engine.sql.streams.changes import *
from taskqueue.engine.sql.streams.chunks import *
from taskqueue.engine.sql.suspend import *
