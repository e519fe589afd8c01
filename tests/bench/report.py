#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the results of the benchmarks as tables: medians with the 5th and 95th percentile, ratios, targets.

A group's results are FOLDER/GROUP.json, in the form of Google Benchmark with one entry for each repetition; its rows
are in rows_GROUP.py."""

import argparse
import dataclasses
import importlib
import json
import math
import pathlib
import statistics
import sys

from row import Row

HEADER = ["", "result", "median", "p5", "p95", "ratio", "target", "met", "path"]


@dataclasses.dataclass(frozen=True)
class Summary:
    """All repetitions of one result, in one field."""

    least: float
    median: float
    greatest: float
    p5: float
    p95: float
    repetitions: int
    unit: str
    path: str


@dataclasses.dataclass(frozen=True)
class Line:
    """A row and what was measured."""

    row: Row
    summary: Summary
    value: float  # what the target is about
    met: bool | None


def percentile(sorted_values, share):
    """Nearest rank."""
    return sorted_values[max(math.ceil(share * len(sorted_values)) - 1, 0)]


def read_results(path):
    """{name: [entry of each repetition]}.  ValueError says what is wrong."""
    results = {}
    for entry in json.loads(path.read_text())["benchmarks"]:
        if entry.get("error_occurred"):
            raise ValueError(f"{path}: {entry['name']}: {entry.get('error_message')}")
        if entry["run_type"] == "iteration":
            results.setdefault(entry["name"], []).append(entry)
    return results


def summarize(entries, field, unit=""):
    """A Summary of one result.  ValueError if an entry lacks the field."""
    if any(field not in entry for entry in entries):
        raise ValueError(f"{entries[0]['name']} has no {field}")
    values = sorted(entry[field] for entry in entries)
    unit = {"real_time": entries[0].get("time_unit", "ns"), "items_per_second": "/s"}.get(field, unit)
    path = entries[0].get("path") or entries[0].get("label", "")
    return Summary(
        values[0],
        statistics.median(values),
        values[-1],
        percentile(values, 0.05),
        percentile(values, 0.95),
        len(values),
        unit,
        path,
    )


def evaluate(rows, results, best=False):
    """The Lines of rows that were measured, by their medians or their best rounds, and the names of what was not."""
    lines, missing = [], []
    for row in rows:
        absent = [name for name in (row.name, row.baseline) if name and name not in results]
        if absent:
            missing += absent
            continue
        statistic = {True: "greatest" if row.comparison == ">=" else "least", False: "median"}[best]
        summary = summarize(results[row.name], row.field, row.unit)
        value = getattr(summary, statistic)
        if row.baseline:
            value /= getattr(summarize(results[row.baseline], row.field), statistic)
        lines.append(Line(row, summary, value, row.is_met(value)))
    return lines, sorted(set(missing))


def format_number(value, unit=""):
    """Three digits, and at least the whole part; thousands of what is counted."""
    if value >= 10_000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.{max(0, 2 - max(0, math.floor(math.log10(abs(value)))))}f}" if value else "0"
    return text + (unit if unit == "/s" else unit and " " + unit)


def base_of(row):
    """What the ratio's baseline is called: its subject, or what else tells it from the row."""
    ours, theirs = row.name.split("/"), row.baseline.split("/")
    if ours[-1] != theirs[-1]:
        return theirs[-1]
    return "/".join(part for at, part in enumerate(theirs) if ours[at : at + 1] != [part])


def cells(line):
    """The line as text, one for each column."""
    row, summary = line.row, line.summary
    target = "" if row.target is None else f"{row.comparison} {format_number(row.target)}"
    return [
        row.text,
        row.name.partition("/")[2],
        format_number(summary.median, summary.unit),
        format_number(summary.p5),
        format_number(summary.p95),
        f"{format_number(line.value)} of {base_of(row)}" if row.baseline else "",
        target,
        {True: "yes", False: "NO", None: ""}[line.met],
        summary.path,
    ]


def print_table(table, markdown, out):
    """`table`: lines of cells below HEADER."""
    if markdown:
        print("| " + " | ".join(HEADER) + " |", file=out)
        print("|---|---|" + "---:|" * 6 + "---|", file=out)
        for line in table:
            print("| " + " | ".join(line) + " |", file=out)
        return
    widths = [max(len(line[i]) for line in [HEADER, *table]) for i in range(len(HEADER))]
    for line in [HEADER, *table]:
        numbers = range(2, 6)
        padded = [cell.rjust(widths[i]) if i in numbers else cell.ljust(widths[i]) for i, cell in enumerate(line)]
        print("  ".join(padded).rstrip(), file=out)


def print_group(group, folder, markdown, guard, out):
    """The table of one group; the Lines with a target."""
    module = importlib.import_module(f"rows_{group}")
    rows = module.ROWS
    if guard:
        rows = [row for row in map(Row.guarded, [*rows, *getattr(module, "GUARDS", [])]) if row]
    # what else the machine does makes a short run slower, and never faster
    lines, missing = evaluate(rows, read_results(folder / f"{group}.json"), best=guard)
    counts = sorted({line.summary.repetitions for line in lines})
    title = f"{group}: {', '.join(map(str, counts))} rounds" if counts else group
    print(f"\n### {title}\n" if markdown else f"\n{title}\n", file=out)
    print_table([cells(line) for line in lines], markdown, out)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        print(f"\nnot measured in this run: {', '.join(missing[:3])}{more}", file=out)
    return [line for line in lines if line.met is not None]


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="with GROUP.json: build/release/bench")
    parser.add_argument("groups", nargs="+", metavar="GROUP", help="program, wire, wake, table, options")
    parser.add_argument("--markdown", action="store_true", help="tables for docs/performance.md")
    parser.add_argument(
        "--guard",
        action="store_true",
        help="only ratios of the best rounds, with a wide margin, and counts; exit status 1 if one is not met",
    )
    options = parser.parse_args(arguments)
    judged = []
    try:
        for group in options.groups:
            judged += print_group(group, options.folder, options.markdown, options.guard, sys.stdout)
    except (OSError, KeyError, ValueError) as error:
        parser.exit(1, f"report: {error}\n")
    met = sum(line.met for line in judged)
    print(f"\n{met} of {len(judged)} targets are met")
    return 1 if options.guard and met < len(judged) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
