"""Serializers of health checks."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class Alive(serializers.Serializer[Any]):
    """The web process is up."""

    status = serializers.CharField(help_text="`ok`.")


class Ready(serializers.Serializer[Any]):
    """The service can take tasks."""

    status = serializers.CharField(help_text="`ready`.")
    workers = serializers.IntegerField(help_text="Live worker processes that can claim.")
    claim_errors = serializers.IntegerField(help_text="Live worker processes whose claims fail.")
