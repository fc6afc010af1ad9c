"""The data directory, and who can read it."""

import os
import stat
from pathlib import Path

import pytest

from taskqueue.embedded.account import UNPRIVILEGED_ACCOUNT
from taskqueue.embedded.data_directory import SYSTEM_DIRECTORY, default_data_directory
from tests.support.processes.embedded import ClientError, Instance, modes_above, needs_root

not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root's data lies below /var/lib")


def test_each_project_has_its_own_directory_outside_itself(tmp_path: Path) -> None:
    one, other = tmp_path / "one" / "my project", tmp_path / "other" / "my project"

    assert default_data_directory(one) != default_data_directory(other)
    assert default_data_directory(one) == default_data_directory(one / ".." / "my project")
    assert default_data_directory(one).root.name.startswith("my-project-")
    assert one not in default_data_directory(one).root.parents


@not_as_root
def test_the_directory_is_in_the_users_data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_data_directory(Path("/srv/project")).root.parent == tmp_path / "taskqueue"

    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_data_directory(Path("/srv/project")).root.parent == Path.home() / ".local" / "share" / "taskqueue"


@needs_root
def test_roots_directory_is_where_the_servers_user_can_reach_it() -> None:
    assert default_data_directory(Path("/root/project")).root.parent == SYSTEM_DIRECTORY


@not_as_root
def test_a_long_path_of_the_data_home_leaves_the_projects_name_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/home/" + "long" * 10)

    directory = default_data_directory(tmp_path / "a-project-with-a-name")

    assert directory.allows_a_socket
    assert len(directory.root.name) == 10


@pytest.mark.process
@pytest.mark.parametrize("name", ["a,b", "long" * 30])
def test_a_path_that_a_socket_cannot_have_is_refused(instance: Instance, name: str) -> None:
    client = instance.client()
    client.ask(f"connection.settings_dict['EMBEDDED'].update(data_dir={str(instance.home / name)!r})")

    with pytest.raises(ClientError, match=r"ImproperlyConfigured: .* too long .* comma\. Choose another .*data_dir"):
        client.sql("SELECT 1")


@pytest.mark.process
def test_data_and_socket_are_closed_to_others_and_no_parent_is_opened(instance: Instance) -> None:
    before = modes_above(instance.directory.root)

    instance.client().sql("SELECT 1")

    assert modes_above(instance.directory.root) == before
    assert instance.directory.socket.parent == instance.directory.pgdata
    status = instance.directory.pgdata.stat()
    assert stat.S_IMODE(status.st_mode) == 0o700
    assert status.st_uid != 0
    assert stat.S_IMODE(instance.directory.log.stat().st_mode) == 0o600


@needs_root
@pytest.mark.process
def test_a_directory_that_the_servers_user_cannot_reach_is_refused_not_opened(instance: Instance) -> None:
    instance.home.chmod(0o700)

    with pytest.raises(ClientError, match=r"(?s)OperationalError: .*did not start.*Permission denied.*data_dir"):
        instance.client().sql("SELECT 1")

    assert stat.S_IMODE(instance.home.stat().st_mode) == 0o700


@pytest.mark.slow
@needs_root
@pytest.mark.process
def test_another_users_processes_are_kept_out(instance: Instance, instance_of_another_user: Instance) -> None:
    instance.client().sql("SELECT 1")
    instance.uid, instance.python = instance_of_another_user.uid, instance_of_another_user.python

    with pytest.raises(ClientError, match="belongs to another user"):
        instance.client().sql("SELECT 1")
    assert instance.server().username() not in {"root", UNPRIVILEGED_ACCOUNT}
