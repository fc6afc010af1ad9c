"""Every example of the help and of the documentation is one that the command line accepts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from taskqueue.cli.arguments import EXIT_CODES, VERBS
from taskqueue.cli.client import ExitCode
from taskqueue.cli.main import parser

PAGE = (Path(__file__).parents[2] / "docs" / "capabilities" / "command-line.md").read_text()
EXAMPLES = [f"{name} {example}" for name, verb in VERBS.items() for example in verb.examples]
SHELL = "\n".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL))
DOCUMENTED = re.findall(rf"taskqueue ((?:{'|'.join(VERBS)})\b[^|)#\n]*)", SHELL)
ID = "019a2b3c-4d5e-7f60-8192-a3b4c5d6e7f8"


@pytest.fixture(autouse=True)
def _payload_file(tmp_path, monkeypatch):
    (tmp_path / "request.json").write_text("{}")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("example", [*EXAMPLES, *DOCUMENTED])
def test_an_example_is_accepted(example):
    words = shlex.split(example.replace('"$id"', ID))
    if words == ["retry"]:
        words.append(ID)  # from xargs

    assert parser().parse_args(words).verb == words[0]


def test_the_documentation_has_examples():
    assert len(DOCUMENTED) >= 7


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help_with_examples(verb, cli):
    result = cli(verb, "--help")

    assert result.code == 0
    assert f"{'taskqueue' if cli.mode == 'http' else 'manage.py taskqueue'} {verb}" in result.out
    assert "examples:" in result.out
    assert ("--token" in result.out) == (cli.mode == "http")


def test_every_exit_code_is_documented(cli):
    for code in ExitCode:
        assert re.search(rf"^  {code:<4} ", EXIT_CODES, flags=re.MULTILINE)
        assert f"| {code:d} | " in PAGE
    assert EXIT_CODES in cli("--help").out


def test_a_missing_verb_is_wrong_use(cli):
    assert cli().code == 2
    assert cli("frobnicate").code == 2
