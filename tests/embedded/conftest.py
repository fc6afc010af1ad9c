"""Houses to test in."""

import os
import pwd
from collections.abc import Iterator

import pytest

from tests.support.processes.embedded import House, find_python, make_home


@pytest.fixture
def house() -> Iterator[House]:
    house = House(make_home(None))
    yield house
    house.close()


@pytest.fixture
def house_of_nobody() -> Iterator[House]:
    """The same for a user who is not root, whoever runs the tests."""
    if os.geteuid() != 0:
        house = House(make_home(None))
    else:
        uid = pwd.getpwnam("nobody").pw_uid
        python = find_python(uid)
        if python is None:
            pytest.skip("there is no Python here that a user other than root may run")
        house = House(make_home(uid), uid=uid, python=python)
    yield house
    house.close()
