# SPDX-License-Identifier: Apache-2.0
"""The wake group: from the packet that wakes to the Magic Packet, and to the connection."""

from row import Row


def syn_to_magic(load, text, p99=None, p99_9=None):
    """The rows of one case.  The 99.9th percentile takes more wakes than a round has."""
    place = f"wake/syn-to-magic/{load}"
    one, asked, bare, reply = (f"{place}/{who}" for who in ("proxzzyd", "asked", "thread", "reply"))
    pooled, all_asked, all_bare, all_replies = (f"{who}, all rounds" for who in (one, asked, bare, reply))
    return [
        Row(one, reply, text=f"{text}: SYN to Magic Packet, p50"),
        Row(one, None, p99 and "<=", p99, f"{text}: p99", "p99", "us"),
        Row(pooled, None, p99_9 and "<=", p99_9, f"{text}: p99.9", "p99_9", "us"),
        Row(pooled, None, "<=", 0, f"{text}: wakes lost", "lost"),
        Row(asked, bare, text=f"{text}: where a policy is asked, p50"),
        Row(asked, None, p99 and "<=", p99, f"{text}: where a policy is asked, p99", "p99", "us"),
        Row(all_asked, None, p99_9 and "<=", p99_9, f"{text}: where a policy is asked, p99.9", "p99_9", "us"),
        Row(all_asked, None, "<=", 0, f"{text}: where a policy is asked, wakes lost", "lost"),
        Row(asked, text=f"{text}: the trigger thread ran for a wake", field="run_us", unit="us"),
        Row(bare, text=f"{text}: p99 of a bare thread's wake-up", field="p99", unit="us"),
        Row(all_bare, text=f"{text}: p99.9 of a bare thread's wake-up", field="p99_9", unit="us"),
        Row(reply, text=f"{text}: p99 of an ARP request's reply", field="p99", unit="us"),
        Row(all_replies, text=f"{text}: p99.9 of an ARP request's reply", field="p99_9", unit="us"),
        Row(all_replies, text=f"{text}: ARP requests without a reply", field="lost"),
    ]


ROWS = [
    *syn_to_magic("idle", "idle", p99=50),
    *syn_to_magic("arp", "500,000 ARP requests/s", p99=50),
    *syn_to_magic("cpu", "two spinners on each processor", p99_9=1000),
    Row("wake/connect/ipv4/proxzzyd", text="the host can use its IPv4 address, to established connection"),
    Row("wake/connect/ipv6/proxzzyd", text="the host can use its IPv6 address, to established connection"),
]
