# SPDX-License-Identifier: Apache-2.0
"""report.py: medians, ratios, targets, and what the guard makes of them."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import types
import unittest

sys.dont_write_bytecode = True

import report  # noqa: E402
from row import Row  # noqa: E402

FAST = Row("g/a/1/ours", "g/a/1/bare", "<=", 2, "a frame")
MANY = Row("g/a/1/ours", "g/a/1/bare", ">=", 0.5, "frames a second", "items_per_second")
COUNT = Row("g/load/1/ours", None, "<=", 100, "instructions", "instructions")
SIZE = Row("g/load/1/ours", None, "<=", 300, "memory", "memory", "B")


def entries(name, times, **fields):
    always = {"name": name, "run_type": "iteration", "time_unit": "ns"}
    return [always | {"real_time": time, "items_per_second": 1e9 / time} | fields for time in times]


class Report(unittest.TestCase):
    def report(self, rows, *benchmarks, options=()):
        """Exit status and output of the report of group g."""
        sys.modules["rows_g"] = types.SimpleNamespace(ROWS=rows)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as out:
            results = {"context": {}, "benchmarks": [entry for some in benchmarks for entry in some]}
            (pathlib.Path(folder) / "g.json").write_text(json.dumps(results))
            status = report.main([folder, "g", *options])
        return status, out.getvalue()

    def test_a_ratio_is_that_of_medians(self):
        _, out = self.report([FAST], entries("g/a/1/ours", [12, 11, 99]), entries("g/a/1/bare", [8, 1, 9]))
        self.assertRegex(out, r"a/1/ours +12\.0 ns +11\.0 +99\.0 +1\.50 of bare +<= 2\.00 +yes")
        self.assertIn("1 of 1 targets are met", out)

    def test_a_target_that_is_not_met_is_said_and_is_no_error(self):
        status, out = self.report([FAST], entries("g/a/1/ours", [30]), entries("g/a/1/bare", [10]))
        self.assertRegex(out, r"3\.00 of bare +<= 2\.00 +NO")
        self.assertIn("0 of 1 targets are met", out)
        self.assertEqual(0, status)

    def test_rates_are_compared_the_other_way(self):
        _, out = self.report([MANY], entries("g/a/1/ours", [10]), entries("g/a/1/bare", [6]))
        self.assertRegex(out, r"100,000,000/s .* 0\.60 of bare +>= 0\.50 +yes")

    def test_a_baseline_of_the_same_subject_is_called_by_what_it_is(self):
        row = Row("g/a-2cpu/1/ours", "g/a/1/ours", ">=", 1.5, "two processors", "items_per_second")
        _, out = self.report([row], entries("g/a-2cpu/1/ours", [5]), entries("g/a/1/ours", [10]))
        self.assertRegex(out, r"2\.00 of a +>= 1\.50 +yes")

    def test_what_was_not_measured_is_named(self):
        _, out = self.report([FAST, COUNT], entries("g/a/1/ours", [10]))
        self.assertIn("not measured in this run: g/a/1/bare, g/load/1/ours", out)
        self.assertIn("0 of 0 targets", out)

    def test_markdown_has_a_line_for_each_row(self):
        results = entries("g/a/1/ours", [12]), entries("g/a/1/bare", [6])
        _, out = self.report([FAST], *results, options=["--markdown"])
        self.assertIn("| a frame | a/1/ours | 12.0 ns | 12.0 | 12.0 | 2.00 of bare | <= 2.00 | yes |  |", out)

    def test_aggregates_do_not_count_and_errors_end_it(self):
        aggregate = entries("g/a/1/ours", [99], run_type="aggregate")
        _, out = self.report([FAST], aggregate, entries("g/a/1/ours", [8]), entries("g/a/1/bare", [8]))
        self.assertIn("1.00 of bare", out)
        failed = entries("g/a/1/ours", [8], error_occurred=True, error_message="lost")
        with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()) as errors:
            self.report([FAST], failed)
        self.assertIn("g/a/1/ours: lost", errors.getvalue())

    def test_the_guard_takes_the_best_rounds_and_twice_the_target(self):
        near = entries("g/a/1/ours", [39, 90]), entries("g/a/1/bare", [10, 10])
        self.assertEqual(0, self.report([FAST], *near, options=["--guard"])[0])
        far = entries("g/a/1/ours", [41, 90]), entries("g/a/1/bare", [10, 10])
        self.assertEqual(1, self.report([FAST], *far, options=["--guard"])[0])

    def test_the_guard_has_no_margin_for_counts_and_no_eye_for_sizes_and_times(self):
        loaded = entries("g/load/1/ours", [1e9], instructions=101, memory=1e9)
        status, out = self.report([COUNT, SIZE], loaded, options=["--guard"])
        self.assertEqual(1, status)
        self.assertIn("0 of 1 targets are met", out)


if __name__ == "__main__":
    unittest.main()
