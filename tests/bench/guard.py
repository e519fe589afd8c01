#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the kernel program briefly and fails on ratios far from their targets and on counts, never on times.

guard.py PROGRAM_BENCH.  Exit status: 0 passed, 1 failed, 77 skipped (a failure with PROXZZY_REQUIRE_ALL=1)."""

import os
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True

import report  # noqa: E402
import rows_program  # noqa: E402

SKIPPED = 77


def main(program):
    if os.geteuid() != 0:
        print("skipped: not root")
        return 1 if os.environ.get("PROXZZY_REQUIRE_ALL") == "1" else SKIPPED
    guarded = [row for row in rows_program.ROWS + rows_program.GUARDS if row.guarded()]
    whats = {name.split("/")[1] for row in guarded for name in (row.name, row.baseline) if name}
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "program.json"
        only = f"--benchmark_filter=^program/({'|'.join(sorted(whats))})/"
        subprocess.run([program, "--short", "--out", out, only], check=True)
        return report.main([folder, "program", "--guard"])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
