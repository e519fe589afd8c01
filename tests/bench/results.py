# SPDX-License-Identifier: Apache-2.0
"""What a benchmark in Python measured, written as Google Benchmark writes it: one entry for each repetition."""

import datetime
import json
import os
import socket


def nearest_rank(values, share):
    """The percentile of unsorted values; no value between two of them is made up."""
    ordered = sorted(values)
    return ordered[max(-int(-share * len(ordered) // 1) - 1, 0)]


class Results:
    def __init__(self, group):
        self.group = group
        self.entries = []

    def add(self, name, real_time, unit, path, **counters):
        """One repetition of NAME, which is WHAT/SIZE/SUBJECT."""
        name = f"{self.group}/{name}"
        repetition = sum(entry["name"] == name for entry in self.entries)
        self.entries.append({"name": name, "run_name": name, "run_type": "iteration", "repetition_index": repetition,
                             "iterations": 1, "real_time": real_time, "cpu_time": real_time, "time_unit": unit,
                             "path": path, **counters})

    def write(self, path):
        context = {"date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
                   "host_name": socket.gethostname(), "executable": self.group, "num_cpus": os.cpu_count(),
                   "kernel": os.uname().release, "load_avg": os.getloadavg(), "library_build_type": "release"}
        path.write_text(json.dumps({"context": context, "benchmarks": self.entries}, indent=1) + "\n")
