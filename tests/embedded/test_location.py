"""Where the data lies, and who can reach it."""

import os
import pwd
import stat
from pathlib import Path

import pytest

from taskqueue.embedded.location import LONGEST_SOCKET_PATH, SYSTEM_DIRECTORY, Layout, data_directory
from tests.support.processes.embedded import House, Refused, modes_above, needs_root

not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root's data lies below /var/lib")


def test_each_project_has_its_own_directory_outside_itself(tmp_path: Path) -> None:
    one, other = tmp_path / "one" / "my project", tmp_path / "other" / "my project"

    assert data_directory(one) != data_directory(other)
    assert data_directory(one) == data_directory(one / ".." / "my project")
    assert data_directory(one).name.startswith("my-project-")
    assert one not in data_directory(one).parents


@not_as_root
def test_the_directory_is_in_the_users_data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert data_directory(Path("/srv/project")).parent == tmp_path / "taskqueue"

    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert data_directory(Path("/srv/project")).parent == Path.home() / ".local" / "share" / "taskqueue"


@needs_root
def test_roots_directory_is_where_the_servers_user_can_reach_it() -> None:
    assert data_directory(Path("/root/project")).parent == SYSTEM_DIRECTORY


@pytest.mark.parametrize("root", [Path("/srv/a b"), Path("/srv/a,b"), Path("/srv") / ("long" * 30)])
def test_a_path_that_a_socket_cannot_have_puts_it_into_tmp(root: Path) -> None:
    directory = Layout(root).socket_directory

    assert directory.parent == Path("/tmp")  # noqa: S108 - where it is expected
    assert len(f"{directory}/.s.PGSQL.5432") <= LONGEST_SOCKET_PATH


def test_a_plain_path_holds_its_socket_itself() -> None:
    assert Layout(Path("/srv/project")).socket_directory == Path("/srv/project/socket")


@pytest.mark.process
def test_data_and_socket_are_closed_to_others_and_no_parent_is_opened(house: House) -> None:
    before = modes_above(house.layout.root)

    house.visit().sql("SELECT 1")

    assert modes_above(house.layout.root) == before
    for private in (house.layout.pgdata, Path(house.running_server().socket_directory)):
        status = private.stat()
        assert stat.S_IMODE(status.st_mode) == 0o700
        assert status.st_uid != 0


@pytest.mark.process
def test_somebody_elses_socket_directory_is_refused(house: House) -> None:
    squatted = house.layout.socket_directory
    squatted.mkdir()
    squatted.chmod(0o777)

    try:
        with pytest.raises(Refused, match="somebody else made it"):
            house.visit().sql("SELECT 1")
    finally:
        squatted.rmdir()


@needs_root
@pytest.mark.process
def test_a_directory_that_the_servers_user_cannot_reach_is_refused_not_opened(house: House) -> None:
    house.home.chmod(0o700)

    with pytest.raises(Refused, match=r"ImproperlyConfigured: .* cannot enter .*data_dir"):
        house.visit().sql("SELECT 1")

    assert stat.S_IMODE(house.home.stat().st_mode) == 0o700
    assert not house.layout.root.exists()


@pytest.mark.slow
@needs_root
@pytest.mark.process
def test_another_users_processes_are_kept_out(house: House, house_of_nobody: House) -> None:
    house.visit().sql("SELECT 1")
    house.uid, house.python = house_of_nobody.uid, house_of_nobody.python

    with pytest.raises(Refused, match="belongs to another user"):
        house.visit().sql("SELECT 1")
    assert pwd.getpwuid(house.layout.pgdata.stat().st_uid).pw_name != "root"
