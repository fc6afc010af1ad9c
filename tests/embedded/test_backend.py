"""Django's use of the backend."""

from collections.abc import Iterator

import pytest

from tests.support.processes.embedded import ClientError, Instance, make_home

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    instance = Instance(make_home(None))
    instance.client().sql("SELECT 1")
    yield instance
    instance.close()


def test_a_missing_database_is_created_whatever_its_name(instance: Instance) -> None:
    assert instance.client(name='it\'s "mine"').sql("SELECT current_database()") == 'it\'s "mine"'


def test_test_databases_are_made_cloned_and_destroyed(instance: Instance) -> None:
    runner = instance.client()

    assert runner.ask("connection.creation.create_test_db(verbosity=0, autoclobber=True)") == "test_tasks"
    assert runner.sql("SELECT current_database()") == "test_tasks"
    runner.ask("connection.creation.clone_test_db('gw0', verbosity=0)")
    runner.ask("connection.creation.destroy_test_db(None, verbosity=0, suffix='gw0')")
    runner.ask("connection.creation.destroy_test_db('tasks', verbosity=0)")
    assert runner.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'test%'") == 0


def test_nothing_in_the_server_depends_on_the_machine(instance: Instance) -> None:
    client = instance.client()

    assert client.sql("SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname = 'tasks'") == "bC.UTF-8"
    assert client.sql("SELECT current_setting('server_encoding')") == "UTF8"
    assert client.sql("SELECT current_setting('log_timezone')") == "UTC"
    assert client.sql("SELECT current_setting('default_text_search_config')") == "pg_catalog.simple"


def test_commits_are_durable(instance: Instance) -> None:
    client = instance.client()

    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert client.sql(f"SELECT current_setting('{setting}')") == "on"


def test_dbshell_reaches_the_server(instance: Instance) -> None:
    client = instance.client()

    assert client.ask("call_command('dbshell', '--', '-qc', 'CREATE TABLE made_in_shell ()')") is None
    assert client.sql("SELECT to_regclass('made_in_shell')::text") == "made_in_shell"


def test_a_host_is_refused(instance: Instance) -> None:
    client = instance.client()
    client.ask("connection.settings_dict.update(HOST='db.example')")

    with pytest.raises(ClientError, match=r"has no HOST.*django\.db\.backends\.postgresql"):
        client.sql("SELECT 1")
