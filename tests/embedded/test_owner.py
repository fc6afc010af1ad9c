"""Directories of the server, made by several processes at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskqueue.embedded.owner import make_directory


def test_a_directory_is_never_seen_without_its_mode(tmp_path, monkeypatch):
    path, seen = tmp_path / "parent" / "data", []
    change_mode = Path.chmod

    def watch(directory: Path, mode: int) -> None:
        seen.append(path.exists())
        change_mode(directory, mode)

    monkeypatch.setattr(Path, "chmod", watch)
    make_directory(path, mode=0o750)

    assert seen == [False, False]
    assert path.stat().st_mode & 0o777 == 0o750


def test_the_second_of_two_makers_keeps_what_the_first_has_put_into_it(tmp_path, monkeypatch):
    path, change_mode = tmp_path / "data", Path.chmod

    def be_overtaken(directory: Path, mode: int) -> None:
        path.mkdir()
        (path / "kept").touch()
        change_mode(directory, mode)

    monkeypatch.setattr(Path, "chmod", be_overtaken)
    make_directory(path, mode=0o700)

    assert [each.name for each in tmp_path.iterdir()] == ["data"]
    assert (path / "kept").exists()


def test_a_file_in_its_place_is_an_error_and_stays(tmp_path, monkeypatch):
    path, change_mode = tmp_path / "data", Path.chmod

    def be_overtaken(directory: Path, mode: int) -> None:
        path.write_text("kept")
        change_mode(directory, mode)

    monkeypatch.setattr(Path, "chmod", be_overtaken)
    with pytest.raises(NotADirectoryError):
        make_directory(path, mode=0o700)

    assert path.read_text() == "kept"
