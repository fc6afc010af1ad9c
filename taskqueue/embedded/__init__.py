"""A Django database backend that brings its own PostgreSQL: ENGINE = "taskqueue.embedded".

The server starts with the first connection of whichever process, serves every process that uses the same data
directory, and stops a few seconds after the last of them has ended. Deleting the data directory is the reset.
"""
