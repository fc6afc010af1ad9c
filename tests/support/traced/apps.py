"""Sets a tracer provider before the worker processes are forked."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from django.apps import AppConfig
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

HOUR_MILLISECONDS = 3_600_000


class FileExporter(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with Path(os.environ["SPANS_FILE"]).open("a") as file:
            for span in spans:
                trace_id = trace.format_trace_id(span.context.trace_id) if span.context else ""
                file.write(json.dumps([span.name, trace_id]) + "\n")
        return SpanExportResult.SUCCESS


class TracedConfig(AppConfig):
    name = "tests.support.traced"

    def ready(self) -> None:
        provider = TracerProvider()
        # Nothing is sent but at the end of the process.
        provider.add_span_processor(BatchSpanProcessor(FileExporter(), schedule_delay_millis=HOUR_MILLISECONDS))
        trace.set_tracer_provider(provider)
