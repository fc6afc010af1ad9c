"""The admin's stylesheet: no rule is for a class that no page has."""

from __future__ import annotations

import re

from django.conf import settings
from django.contrib import admin

FOLDERS = [settings.BASE_DIR / name for name in ("taskqueue", "templates")]
STYLES = (FOLDERS[0] / "static/taskqueue/admin.css").read_text()


def test_each_model_in_the_stylesheet_is_registered() -> None:
    registered = {model._meta.model_name for model in admin.site._registry}

    assert names_after("model") - registered == set()


def test_each_class_in_the_stylesheet_is_in_the_code() -> None:
    files = (path for folder in FOLDERS for path in folder.rglob("*") if path.suffix in {".py", ".html", ".js"})
    code = "\n".join(path.read_text() for path in files)
    words = set(re.findall(r"[\w-]+", code))
    quoted = {f"tq-{word}" for word in re.findall(r'"([\w-]+)"', code)}  # a template puts "tq-" before it
    stems = tuple(re.findall(r"(tq-[\w-]+-)\{", code))  # the code fills in the rest
    named = names_after("field") | names_after("column") | {f"tq-{name}" for name in names_after("tq")}

    assert {name for name in named - words - quoted if not name.startswith(stems)} == set()


def names_after(prefix: str) -> set[str]:
    return set(re.findall(rf"\.{prefix}-([\w-]+)", STYLES))
