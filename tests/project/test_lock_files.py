"""The lock files hold every package that is asked for, pinned and by its hashes, and name no index."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = {"requirements.lock": ["service"], "requirements-dev.lock": ["service", "embedded", "test"]}


def locked(name: str) -> list[tuple[Requirement, list[str]]]:
    """Each pinned package and its hashes."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    found = []
    for line in filter(None, text.splitlines()):
        pin, *hashes = re.split(r"\s+--hash=", line.strip())
        found.append((Requirement(pin), hashes))
    return found


def version_of(pin: Requirement) -> str:
    return str(pin.specifier).removeprefix("==")


@pytest.mark.parametrize("name", EXTRAS)
def test_each_package_is_pinned_and_has_its_hashes(name):
    for pin, hashes in locked(name):
        assert re.fullmatch(r"==[\w.+!-]+", str(pin.specifier)), pin
        assert hashes, pin
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", found) for found in hashes), pin


@pytest.mark.parametrize("name", EXTRAS)
def test_every_dependency_is_locked_at_a_matching_version(name):
    """After a change of pyproject.toml run `make lock`."""
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    asked += [requirement for extra in EXTRAS[name] for requirement in extras[extra]]
    pins: dict[str, list[str]] = {}
    for pin, _hashes in locked(name):
        pins.setdefault(re.sub(r"[-_.]+", "-", pin.name).lower(), []).append(version_of(pin))

    for requirement in map(Requirement, asked):
        found = pins.get(re.sub(r"[-_.]+", "-", requirement.name).lower(), [])
        assert found, requirement
        assert all(requirement.specifier.contains(version) for version in found), (requirement, found)


@pytest.mark.parametrize("name", EXTRAS)
def test_no_index_and_no_address_is_named(name):
    text = (ROOT / name).read_text()

    assert re.findall(r"^\s*-[-\w]+|[a-z]+://|@", re.sub(r"\s--hash=\S+", "", text), flags=re.MULTILINE) == []


def test_the_image_and_the_developers_have_the_same_versions():
    image = {(pin.name, str(pin.specifier), str(pin.marker)) for pin, _hashes in locked("requirements.lock")}
    developers = {(pin.name, str(pin.specifier)) for pin, _hashes in locked("requirements-dev.lock")}

    assert {(name, version) for name, version, _marker in image} <= developers
