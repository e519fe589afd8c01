# SPDX-License-Identifier: Apache-2.0
"""The wake group: from the packet that wakes to the Magic Packet, and to the connection."""

from row import Row


def syn_to_magic(load, text, p99=None, p99_9=None):
    """The rows of one case.  The 99.9th percentile takes more wakes than a round has."""
    place = f"wake/syn-to-magic/{load}"
    one, bare = f"{place}/proxzzyd", f"{place}/thread"
    pooled, all_bare = f"{one}, all rounds", f"{bare}, all rounds"
    return [
        Row(one, bare, text=f"{text}: SYN to Magic Packet, p50"),
        Row(one, None, p99 and "<=", p99, f"{text}: p99", "p99", "us"),
        Row(bare, text=f"{text}: p99 of a bare thread's wake-up", field="p99", unit="us"),
        Row(pooled, None, p99_9 and "<=", p99_9, f"{text}: p99.9", "p99_9", "us"),
        Row(all_bare, text=f"{text}: p99.9 of a bare thread's wake-up", field="p99_9", unit="us"),
        Row(one, text=f"{text}: the trigger thread ran for a wake", field="run_us", unit="us"),
        Row(pooled, None, "<=", 0, f"{text}: wakes lost", "lost"),
    ]


ROWS = [
    *syn_to_magic("idle", "idle", p99=50),
    *syn_to_magic("arp", "500,000 ARP requests/s", p99=50),
    *syn_to_magic("cpu", "two spinners on each processor", p99_9=1000),
    Row("wake/connect/ipv4/proxzzyd", text="the host can use its IPv4 address, to established connection"),
    Row("wake/connect/ipv6/proxzzyd", text="the host can use its IPv6 address, to established connection"),
]
