"""What taskqueue costs, measured next to a floor: what the same work costs at the least. `make bench` runs it.

Each row prints our figure, the floor's, and ours divided by the floor's: the median of several rounds, and the lowest
and the highest round. Both are measured in turn in the same run, on the same server, so that the load of the machine
hits both. Compare the ratios of two runs, not their figures. Of a rate a high ratio is good, of a time a low one.

The floors are
- "sketch": benchmarks/sketch.py, the central promise in bare SQL, with psycopg and without Django. A task is a durable
  row; it is claimed under a lease, each step is recorded under that lease, and the tasks of a dead worker are queued
  again, with as many durable commits as ours. It lacks all other features, and claims one task at a time, where ours
  claims up to eight short ones. Two processes, as ours has.
- "bare view": a DRF view without authentication, which inserts or reads one row, in the same web server as ours.

CPU is in milliseconds for each unit of work, "processes + server": that of the worker command or web server with all
its processes (of the calling process, where there are neither), and that of all processes of the PostgreSQL server. The
load of the machine changes it less than it changes times. The last column is our sum divided by the floor's. The
server's is nan if it runs on another machine.

A "new database" has just filled tables, which were never analyzed; an "analyzed" one has a history and statistics. The
engine must not be slow on either.
"""
