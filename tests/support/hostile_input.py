"""Text that breaks pages, and the pages that it must not break."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.support.properties import quick_settings

hold = quick_settings(25)


any_text = st.text(st.characters(), max_size=30) | st.sampled_from(
    [
        "\x00", "a\x00b", "\ud800", "a" * 5000, "%", "_", "\\", "'", '"', "((", "-", "--", "0" * 40, "9" * 400, "-1",
        "1e9", "nan", "null", "null,null", "[]", "2030-99-99", "٣", "ß" * 300, "succeeded,\x00", "all", "<b>", "1.5",
    ]
)  # fmt: skip
