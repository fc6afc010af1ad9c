"""What Django does with the backend."""

from collections.abc import Iterator

import pytest

from tests.support.processes.embedded import House, Refused, make_home

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """One server for all of these."""
    house = House(make_home(None))
    house.visit().sql("SELECT 1")
    yield house
    house.close()


def test_a_missing_database_is_made_whatever_its_name(house: House) -> None:
    assert house.visit(name='it\'s "mine"').sql("SELECT current_database()") == 'it\'s "mine"'


def test_test_databases_are_made_cloned_and_destroyed(house: House) -> None:
    runner = house.visit()

    assert runner.ask("connection.creation.create_test_db(verbosity=0, autoclobber=True)") == "test_tasks"
    assert runner.sql("SELECT current_database()") == "test_tasks"
    runner.ask("connection.creation.clone_test_db('gw0', verbosity=0)")
    runner.ask("connection.creation.destroy_test_db(None, verbosity=0, suffix='gw0')")
    runner.ask("connection.creation.destroy_test_db('tasks', verbosity=0)")
    assert runner.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'test%'") == 0


def test_nothing_in_the_server_depends_on_the_machine(house: House) -> None:
    visitor = house.visit()

    assert (
        visitor.sql("SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname = 'tasks'") == "bC.UTF-8"
    )
    assert visitor.sql("SELECT current_setting('server_encoding')") == "UTF8"
    assert visitor.sql("SELECT current_setting('log_timezone')") == "UTC"
    assert visitor.sql("SELECT current_setting('default_text_search_config')") == "pg_catalog.simple"


def test_commits_are_durable(house: House) -> None:
    visitor = house.visit()

    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert visitor.sql(f"SELECT current_setting('{setting}')") == "on"


def test_dbshell_reaches_the_server(house: House) -> None:
    visitor = house.visit()

    assert visitor.ask("call_command('dbshell', '--', '-qc', 'CREATE TABLE made_in_shell ()')") is None
    assert visitor.sql("SELECT to_regclass('made_in_shell')::text") == "made_in_shell"


def test_a_host_is_refused(house: House) -> None:
    visitor = house.visit()
    visitor.ask("connection.settings_dict.update(HOST='db.example')")

    with pytest.raises(Refused, match=r"has no HOST.*django\.db\.backends\.postgresql"):
        visitor.sql("SELECT 1")
