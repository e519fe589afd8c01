# SPDX-License-Identifier: Apache-2.0
"""What a benchmark's table consists of: rows_GROUP.py has a list ROWS of these."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table.

    With a baseline, what is shown and compared is the ratio of the two medians; without one the median itself, in the
    unit of the results.
    """

    name: str  # of the results: GROUP/WHAT/SIZE/SUBJECT
    baseline: str | None = None  # the name of what it is divided by
    comparison: str | None = None  # "<=" or ">="; None: shown, and no target
    target: float | None = None
    text: str = ""  # what the row measures
    field: str = "real_time"  # of the results: real_time, items_per_second, or a counter
    unit: str = ""  # of a counter
    guard: float | None = None  # what the guard accepts of a ratio; None: twice the target, or half of it for ">="

    def __post_init__(self):
        assert self.comparison in (None, "<=", ">=") and (self.comparison is None) == (self.target is None), self

    def guarded(self):
        """The row for the guard: with a wide margin for a ratio, as it is for a count; None: not for the guard."""
        is_count = self.field not in ("real_time", "items_per_second") and not self.unit
        if self.comparison is None or (self.baseline is None and not is_count):
            return None
        margin = (2 if self.comparison == "<=" else 0.5) if self.baseline else 1
        return dataclasses.replace(self, target=self.guard or self.target * margin)

    def is_met(self, value):
        """Whether `value`, a ratio or a median, meets the target; None without a target."""
        if self.comparison is None:
            return None
        return value <= self.target if self.comparison == "<=" else value >= self.target
