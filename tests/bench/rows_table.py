# SPDX-License-Identifier: Apache-2.0
"""The table group: adding hosts, what they cost, and starting with them."""

from row import Row

SIZES = {"10k": "10,000", "100k": "100,000", "1M": "1 million"}
LARGE = ("100k", "1M")  # targets are for tables of a size that matters


def of_size(size, hosts):
    """The rows of one size."""

    def row(what, text, comparison=None, target=None, field="real_time", unit="", subject="proxzzyd"):
        judged = (comparison, target) if size in LARGE else (None, None)
        return Row(f"table/{what}/{size}/{subject}", None, *judged, f"{hosts} hosts: {text}", field, unit)

    return [
        *([] if size == "1M" else [row("control-add", "added by one request each", field="items_per_second")]),
        row("bulk-add", "imported from a file", ">=", 200_000, "items_per_second"),
        row("bulk-add", "the same: written to the state file, and nothing else", field="items_per_second",
            subject="state-file"),
        row("memory-awake", "each has, awake, of the maps in the kernel", "<=", 300, "kernel_bytes", "B"),
        row("memory-awake", "awake, of the daemon's memory", field="own_bytes", unit="B"),
        row("memory-awake", "awake, both together", "<=", 700, "all_bytes", "B"),
        row("memory-awake", "awake, on disk", field="disk_bytes", unit="B"),
        row("sleep", "put to sleep by one request each", field="items_per_second"),
        row("memory", "each has, asleep, of the maps in the kernel", "<=", 300, "kernel_bytes", "B"),
        row("memory", "asleep, of the daemon's memory", field="own_bytes", unit="B"),
        row("memory", "asleep, both together", "<=", 700, "all_bytes", "B"),
        row("memory", "asleep, of neighbour entries and the like", field="slab_bytes", unit="B"),
        row("memory", "asleep, on disk", field="disk_bytes", unit="B"),
        row("change", "10,000 owners back in one second, until the table has the last"),
        row("change", "the same: events that found no room in the ring", "<=", 0, "ring_full"),
        row("restart", "killed and started again, until control answers"),
        row("restart", "the same: questions of clients without an answer", "<=", 0, "unanswered"),
        row("cold-start", "start from the state file, until the last is answered for", "<=", 10_000),
    ]


ROWS = [row for size, hosts in SIZES.items() for row in of_size(size, hosts)]
