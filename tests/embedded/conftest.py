"""Embedded servers for tests."""

import os
import pwd
from collections.abc import Iterator

import pytest

from taskqueue.embedded.account import UNPRIVILEGED_ACCOUNT
from tests.support.processes.embedded import Instance, find_python, make_home


@pytest.fixture
def instance() -> Iterator[Instance]:
    instance = Instance(make_home(None))
    yield instance
    instance.close()


@pytest.fixture
def instance_of_another_user() -> Iterator[Instance]:
    """An instance whose clients are not root, whether or not the tests run as root."""
    if os.geteuid() != 0:
        instance = Instance(make_home(None))
    else:
        uid = pwd.getpwnam(UNPRIVILEGED_ACCOUNT).pw_uid
        python = find_python(uid)
        if python is None:
            pytest.skip("there is no Python here that a user other than root may run")
        instance = Instance(make_home(uid), uid=uid, python=python)
    yield instance
    instance.close()
