"""A process that uses the embedded database: evaluates the Python lines on its stdin and answers each with JSON."""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

import django
from django.conf import settings

database, keep_seconds = json.loads(sys.argv[1])
settings.configure(DATABASES={"default": database})
django.setup()

from django.core.management import call_command  # noqa: E402 - needs the settings
from django.db import connection  # noqa: E402 - needs the settings

from taskqueue.embedded import server  # noqa: E402 - needs the settings

server.KEEP_SECONDS = keep_seconds


def sql(query: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0] if cursor.description else None


names = {"sql": sql, "connection": connection, "call_command": call_command, "sys": sys}
for line in sys.stdin:
    try:
        answer = {"value": eval(line, names)}  # noqa: S307 - the test's own line
    except Exception as error:  # noqa: BLE001 - the test wants to see it, whatever it is
        answer = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(answer, default=str) + "\n")
    sys.stdout.flush()
