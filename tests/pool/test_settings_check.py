"""Harmful settings of workers cause warnings with a remedy; the demo's settings cause none."""

from typing import Any

import pytest
from django_q.conf import Conf

from taskqueue import defaults
from taskqueue.pool import startup
from taskqueue.pool.settings_check import check_cluster_settings

GOOD_DATABASE = {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}


@pytest.fixture
def warnings(settings, monkeypatch):
    """The ids of the warnings for these settings, on top of the demo's."""

    def found(*, database: dict[str, Any] | None = None, without: str = "", **cluster: Any) -> list[str]:
        conf = {name: value for name, value in {**settings.Q_CLUSTER, **cluster}.items() if name != without}
        settings.Q_CLUSTER = conf
        monkeypatch.setitem(settings.DATABASES, "default", {**GOOD_DATABASE, **(database or {})})
        return [str(message.id) for message in check_cluster_settings()]

    return found


def test_the_demos_settings_have_no_warnings():
    assert check_cluster_settings() == []


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ({"broker_class": "django_q.brokers.orm.ORM"}, "taskqueue.W001"),
        ({"without": "orm"}, "taskqueue.W002"),
        ({"sync": True}, "taskqueue.W003"),
        ({"without": "timeout"}, "taskqueue.W004"),
        ({"timeout": 30}, "taskqueue.W004"),
        ({"retry": 60}, "taskqueue.W005"),
        ({"without": "retry"}, "taskqueue.W005"),
        ({"ack_failures": False}, "taskqueue.W006"),
        ({"guard_cycle": 5}, "taskqueue.W007"),
        ({"daemonize_workers": False}, "taskqueue.W008"),
        ({"recycle": 1}, "taskqueue.W009"),
        ({"log_level": "INFO"}, "taskqueue.W011"),
    ],
)
def test_a_harmful_cluster_setting_is_reported(warnings, cluster, expected):
    assert warnings(**cluster) == [expected]


@pytest.mark.parametrize(
    ("database", "expected"),
    [
        ({"OPTIONS": {"pool": True}}, "taskqueue.W012"),
        ({"CONN_HEALTH_CHECKS": False}, "taskqueue.W014"),
    ],
)
def test_a_harmful_database_setting_is_reported(warnings, database, expected):
    assert warnings(database=database) == [expected]


def test_a_connection_per_request_is_accepted(warnings):
    assert warnings(database={"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False}) == []


def test_options_that_django_q2_read_too_early_are_an_error(monkeypatch):
    monkeypatch.setattr(Conf, "conf", {"name": "shop"})

    [error] = check_cluster_settings()

    assert (error.id, error.is_serious()) == ("taskqueue.E012", True)
    assert '"taskqueue" before "django_q"' in str(error.hint)


@pytest.mark.parametrize("broker", [None, "", "no.such.Broker", "django_q.brokers.orm.ORM"])
def test_a_worker_refuses_another_broker_without_instantiating_it(monkeypatch, broker):
    # An instance of django-q2's default would import Redis.
    monkeypatch.setattr(Conf, "BROKER_CLASS", broker)

    assert f"use {broker or 'a broker of its own'}, which" in startup.broker_error()


def test_missing_settings_are_completed(settings, monkeypatch):
    settings.Q_CLUSTER = {"name": "shop", "workers": 7, "poll": 9}
    monkeypatch.setitem(settings.DATABASES, "default", {"CONN_MAX_AGE": None})

    defaults.complete_settings()

    assert settings.Q_CLUSTER == {**defaults.Q_CLUSTER, "name": "shop", "workers": 7, "poll": 9}
    assert settings.DATABASES["default"] == {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
    assert check_cluster_settings() == []


def test_a_project_keeps_its_broker_and_is_warned(settings):
    settings.Q_CLUSTER = {"redis": {"host": "127.0.0.1"}}

    defaults.complete_settings()

    assert [str(message.id) for message in check_cluster_settings()] == ["taskqueue.W001", "taskqueue.W002"]


@pytest.mark.parametrize(("alias", "expected"), [("default", []), ("nowhere", ["taskqueue.E020"])])
def test_the_worker_database_must_exist(settings, alias, expected):
    settings.TASKQUEUE = {"WORKER_DATABASE": alias}

    assert [message.id for message in check_cluster_settings()] == expected


def test_each_warning_has_a_remedy(settings):
    settings.Q_CLUSTER = {"guard_cycle": 9, "sync": True, "recycle": 0, "daemonize_workers": False}

    found = check_cluster_settings()

    assert len(found) >= 8
    assert all(message.hint for message in found)
