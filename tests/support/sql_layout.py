"""Indent a statement that was put together from parts, each written at the left margin."""

from __future__ import annotations

import re
from dataclasses import dataclass

NOT_CODE = re.compile(r"'[^']*'|--.*")
STEP = 4


@dataclass
class Group:
    """Parentheses that one line opens together: their content is indented once.

    Attributes:
        parens: how many of them are open.
        shift: by how much its lines are indented, since they are of a part; None before the first one.
        inner: the same for the lines of a part that is put into these lines.
    """

    parens: int
    shift: int | None = None
    inner: int = 0

    def shift_of(self, line: str, least: int) -> int:
        """By how much to indent a line so that it stands at least so far in."""
        own = len(line) - len(line.lstrip())
        if self.shift is None:
            self.shift = max(least - own, 0)
        if own + self.shift >= least:
            return self.shift
        self.inner = max(self.inner, least - own)
        return self.inner


def laid_out(text: str) -> str:
    """The statement with every line at least as far in as its parentheses say."""
    lines: list[str] = []
    groups = [Group(parens=0)]
    for line in filter(None, map(str.rstrip, text.strip().splitlines())):
        code = NOT_CODE.sub("", line).strip()
        rest = code.lstrip(")")
        closes_group = close(groups, len(code) - len(rest))
        level = len(groups) - (1 if closes_group else 2)
        lines.append(" " * groups[level].shift_of(line, STEP * level) + line)
        opens = rest.count("(") - rest.count(")")
        if opens > 0:
            groups.append(Group(parens=opens))
        close(groups, -opens)
    return "\n".join(lines)


def close(groups: list[Group], parens: int) -> bool:
    """Close so many parentheses; whether the last one was the last of its group."""
    closes_group = True
    for _ in range(parens):
        groups[-1].parens -= 1
        closes_group = groups[-1].parens == 0
        if closes_group:
            groups.pop()
    return closes_group
