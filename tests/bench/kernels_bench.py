#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the verifier of each kernel of the matrix says of the kernel programs, as each compiler makes them.

The machine's own kernel loads them itself, and how long that takes is measured; the others do so in a guest
(tests/vm/run.sh), which is emulated: there are no times of it."""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from cable import build_folder
from results import Results

VM = Path(__file__).resolve().parent.parent / "vm"
GUESTS = ("6.1", "6.12")
SKIPPED = 77
LINE = re.compile(r"^(clang-\d+)-(INGRESS|EGRESS) (\d+) ([\d.]+)$", re.MULTILINE)


def loads(text):
    """(compiler, direction, instructions, milliseconds) of each line of object_load."""
    return [(compiler, direction.lower(), int(instructions), float(milliseconds))
            for compiler, direction, instructions, milliseconds in LINE.findall(text)]


def measure_own(results, rounds):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([VM / "objects.sh", folder], check=True)
        objects = sorted(Path(folder).iterdir())
        for _ in range(rounds):
            done = subprocess.run([build_folder() / "tests" / "bench" / "object_load", *objects], check=True,
                                  stdout=subprocess.PIPE, text=True)
            for compiler, direction, instructions, milliseconds in loads(done.stdout):
                results.add(f"{direction}/own/{compiler}", milliseconds, "ms", "BPF_PROG_LOAD",
                            instructions=instructions)


def measure_guest(results, release):
    done = subprocess.run([VM / "run.sh", release, "count"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == SKIPPED:
        print(f"kernels_bench: Linux {release}: {done.stdout.strip()}", file=sys.stderr)
        return
    assert done.returncode == 0, done.stdout
    for compiler, direction, instructions, _ in loads(done.stdout):
        results.add(f"{direction}/{release}/{compiler}", 0, "ms", "BPF_PROG_LOAD in a guest", instructions=instructions)


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--out", type=Path, required=True, help="the results, as Google Benchmark writes them")
    options.add_argument("--short", action="store_true", help="3 rounds on the machine's own kernel")
    args = options.parse_args()
    results = Results("kernels")
    measure_own(results, 3 if args.short else 9)
    for release in GUESTS:
        measure_guest(results, release)
    results.write(args.out)


if __name__ == "__main__":
    main()
