"""The Kubernetes manifests and systemd units name commands, addresses and limits that fit the project.

They are checked by their structure, not by the schemas of Kubernetes and KEDA.
"""

from __future__ import annotations

import configparser
import re
import runpy
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands
from django.urls import resolve

from taskqueue.conf import Settings
from taskqueue.metrics import exposition

ROOT = Path(__file__).parents[2]
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yml").read_text()))
PODS = {each["metadata"]["name"]: each["spec"]["template"] for each in OBJECTS if "template" in each.get("spec", {})}
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
GRACEFUL_TIMEOUT = runpy.run_path(str(ROOT / "gunicorn.conf.py"))["graceful_timeout"]


def of_kind(kind: str, name: str) -> dict[str, Any]:
    return next(each for each in OBJECTS if (each["kind"], each["metadata"]["name"]) == (kind, name))


def container(name: str) -> dict[str, Any]:
    (found,) = PODS[name]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def unit(path: Path) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(strict=True, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]  # systemd's names have capitals
    parsed.read_string(path.read_text())
    return parsed


def test_objects_are_of_the_stable_versions():
    assert {(each["apiVersion"], each["kind"]) for each in OBJECTS} == {
        ("v1", "ConfigMap"),
        ("v1", "Service"),
        ("batch/v1", "Job"),
        ("apps/v1", "Deployment"),
        ("policy/v1", "PodDisruptionBudget"),
        ("keda.sh/v1alpha1", "ScaledObject"),
    }


def test_commands_are_those_of_the_compose_file():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

    assert {name.removeprefix("taskqueue-"): container(name)["command"] for name in PODS} == {
        name: services[name]["command"] for name in ("migrate", "web", "worker")
    }


@pytest.mark.parametrize("name", ["taskqueue-web", "taskqueue-worker"])
def test_selectors_find_the_pods(name):
    labels = PODS[name]["metadata"]["labels"]
    selectors = [
        of_kind(kind, name)["spec"]["selector"]["matchLabels"] for kind in ("Deployment", "PodDisruptionBudget")
    ]

    assert selectors == [labels, labels]
    assert of_kind("Service", "taskqueue-web")["spec"]["selector"] == PODS["taskqueue-web"]["metadata"]["labels"]
    assert of_kind("ScaledObject", "taskqueue-worker")["spec"]["scaleTargetRef"]["name"] in PODS


@pytest.mark.parametrize("name", PODS)
def test_pods_are_confined_and_write_only_to_tmp(name):
    assert PODS[name]["spec"]["securityContext"]["runAsNonRoot"] is True
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["mountPath"] for mount in container(name)["volumeMounts"]] == ["/tmp"]  # noqa: S108 - the pod's own


def test_variables_are_read_by_the_project():
    read = (ROOT / "demo" / "settings.py").read_text()
    names = of_kind("ConfigMap", "taskqueue")["data"]

    assert [name for name in names if f'"{name}"' not in read] == []
    assert {type(value) for value in names.values()} == {str}


@pytest.mark.parametrize("probe", ["livenessProbe", "readinessProbe"])
def test_probes_ask_the_health_checks_with_an_allowed_host(client, settings, db, probe):
    request = container("taskqueue-web")[probe]["httpGet"]
    settings.ALLOWED_HOSTS = of_kind("ConfigMap", "taskqueue")["data"]["ALLOWED_HOSTS"].split(",")
    settings.SECURE_SSL_REDIRECT, settings.DEBUG = True, False
    [host] = [header["value"] for header in request["httpHeaders"] if header["name"] == "Host"]

    assert resolve(request["path"]).namespace == "taskqueue"
    assert client.get(request["path"], headers={"host": host}).status_code == 200


def test_pods_get_the_time_that_they_need_to_stop():
    web, worker = PODS["taskqueue-web"]["spec"], PODS["taskqueue-worker"]["spec"]
    wait = int(container("taskqueue-web")["lifecycle"]["preStop"]["exec"]["command"][1])

    assert web["terminationGracePeriodSeconds"] > wait + GRACEFUL_TIMEOUT
    assert timedelta(seconds=worker["terminationGracePeriodSeconds"] - 5) > Settings().STOP_GRACE


def test_workers_are_scaled_by_the_tasks_that_one_pod_executes(db):
    scaled = of_kind("ScaledObject", "taskqueue-worker")["spec"]
    (trigger,) = scaled["triggers"]
    exposed = set(re.findall(r"^# TYPE (\w+)", exposition().decode(), flags=re.MULTILINE))

    assert set(re.findall(r"taskqueue_\w+", trigger["metadata"]["query"])) <= exposed
    workers = int(of_kind("ConfigMap", "taskqueue")["data"]["WORKERS"])
    assert trigger["metadata"]["threshold"] == str(workers * Settings().THREADS)
    assert scaled["minReplicaCount"] >= 1
    assert "replicas" not in of_kind("Deployment", "taskqueue-worker")["spec"], "KEDA sets it"


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_what_the_procfile_starts(path):
    service = unit(path)["Service"]
    lines = dict(re.findall(r"^(\w+): exec python (.*)$", (ROOT / "Procfile").read_text(), flags=re.MULTILINE))

    assert service["ExecStart"].split("/bin/python ")[1] == lines[path.stem.removeprefix("taskqueue-")]
    assert service["ExecStart"].startswith(service["WorkingDirectory"])
    assert service["Restart"] == "always"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_systemd_finds_no_fault_in_a_unit(path, tmp_path):
    """With a Python that exists here, since it looks for the command."""
    copy = tmp_path / path.name
    copy.write_text(re.sub(r"/srv/taskqueue/\S+/python", sys.executable, path.read_text()))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)

    assert [line for line in done.stderr.splitlines() if path.name in line] == []


def test_units_get_the_time_that_they_need_to_stop():
    web, worker = (unit(path)["Service"] for path in UNITS)

    assert int(web["TimeoutStopSec"]) > GRACEFUL_TIMEOUT
    assert timedelta(seconds=int(worker["TimeoutStopSec"]) - 5) > Settings().STOP_GRACE
    assert worker["KillMode"] == "mixed"
    assert "worker" in get_commands()
