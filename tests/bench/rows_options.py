# SPDX-License-Identifier: Apache-2.0
"""The options group: answers per second of CPU time, which is what one core can do."""

from row import Row

HOSTS = {"1": "one host", "1k": "1,000 hosts"}


def answers(name, text, baseline=None, target=None):
    goal = {"comparison": ">=", "target": target} if target else {}
    return Row(f"options/{name}", baseline and f"options/{baseline}", text=text, field="items_per_second", **goal)


def next_to(what, protocol, peer):
    """A protocol's answers next to those of a daemon that answers for its own host."""
    yield answers(f"{what}/1/{peer}", f"{protocol}, {peer}, its own name")
    for size, hosts in HOSTS.items():
        yield answers(f"{what}/{size}/proxzzyd", f"{protocol}, {hosts}", f"{what}/1/{peer}", 5)


ROWS = [
    *next_to("mdns", "mDNS", "avahi-daemon"),
    *next_to("llmnr", "LLMNR", "systemd-resolved"),
    answers("steered/1/events", "mDNS to the host's address, without AF_XDP"),
    answers("steered/1/proxzzyd", "mDNS to the host's address, AF_XDP, next to events", "steered/1/events"),
    *(answers(f"steered/{size}/proxzzyd", f"mDNS to the host's address, AF_XDP, {hosts}, next to the group's",
              f"mdns/{size}/proxzzyd") for size, hosts in HOSTS.items()),
]
