# SPDX-License-Identifier: Apache-2.0
"""The kernel program by itself: a ratio is the time of a frame over that of the cheapest program with that verdict."""

from row import Row

SIZES = ["1", "10k", "1M", "4M"]

# What a frame is, and what is compared: {size: target} for each way of choosing its address.
ANSWERS = {
    "arp": ("ARP request", {"hot": dict.fromkeys(SIZES, 2.6), "random": {"10k": 4, "1M": 9}}),
    "ns": ("Neighbour Solicitation", {"hot": dict.fromkeys(SIZES, 4.8), "random": {"1M": 24}}),
    "dad": ("duplicate address detection", {}),
    "echo4": ("ICMP echo", {}),
    "echo6": ("ICMPv6 echo", {}),
}
TRIGGERS = {
    "syn-hit4": "SYN that wakes, IPv4",
    "syn-hit6": "SYN that wakes, IPv6",
    "syn-closed4": "SYN to a closed port, IPv4",
    "syn-closed6": "SYN to a closed port, IPv6",
    "magic4": "Magic Packet, IPv4",
    "magic6": "Magic Packet, IPv6",
}
NOBODYS = {
    "syn-miss4": "nobody's SYN, IPv4",
    "syn-miss6": "nobody's SYN, IPv6",
    "tcp4": "TCP data, IPv4",
    "tcp6": "TCP data, IPv6",
    "tcp4-tagged": "TCP data, IPv4, tagged",
    "udp4": "UDP, IPv4",
    "udp6": "UDP, IPv6",
    "arp-miss": "nobody's ARP request",
    "mdns": "mDNS",
}
PASS_TARGETS = {"hot": 1.7, "random": 2.2}  # with a million sleepers
# What the guard accepts where the target is still far away: two to four times what was measured, more where memory that
# others use, too, has the greatest share.
ACCEPTED = {
    "arp-hot": 12,
    "arp-random/10k": 20,
    "arp-random/1M": 100,
    "ns-hot": 15,
    "ns-random/1M": 150,
    "hot": 6,  # what is nobody's
    "random": 40,
    "arp-miss-hot": 12,
    "arp-miss-random": 40,
    "mdns-hot": 9,
}
SCANS = {
    "random": 15,
    "text": 15,
    "attack-ones": 260,
    "attack-zeros": 260,
    "attack-one-byte": 260,
    "attack-period-2": 260,
    "attack-period-3": 260,
    "attack-period-6": 260,
    "attack-period-6-ones": 260,
    "attack-strangers": 260,
    "attack-15-repeats": 260,
    "attack-sleeper": 260,
    "attack-stretches-14": 260,
    "attack-stretches-82": 260,
}


def subjects(what, how, size):
    """plain-hash is the same program on hash tables alone; one-read is what memory alone costs, least-answer an answer
    that asks for nothing but its target, filtered-answer one that looks into a filter first, two-filters a program that
    does no more than pass what is in neither."""
    if size == "4M":
        return ["proxzzy"]
    floors = {"arp": ["least-answer", "filtered-answer"], "ns": ["least-answer"], "tcp4": ["two-filters"]}.get(what, [])
    if what in ("arp", "ns") and how != "dependent":
        return ["proxzzy", "plain-hash", "one-read", *floors]
    return ["proxzzy", *floors]


def row(what, size, subject, bare, target, text):
    """A ratio; only of proxzzy itself something is demanded."""
    if subject != "proxzzy":
        target = None
    accepted = (ACCEPTED.get(key) for key in (f"{what}/{size}", what, what.rpartition("-")[2]))
    return Row(
        f"program/{what}/{size}/{subject}",
        f"program/loop/{size}/{bare}",
        "<=" if target else None,
        target,
        text,
        guard=next(filter(None, accepted), None),
    )


def make_rows():
    rows = [
        Row("program/loop/1M/xdp-pass", text="bare XDP_PASS"),
        Row("program/loop/1M/xdp-tx", text="bare XDP_TX, MACs swapped"),
    ]
    for what, (text, targets) in ANSWERS.items():
        for how in ("hot", "random", "dependent"):
            for size in SIZES if how == "hot" else SIZES[1:]:
                for subject in subjects(what, how, size):
                    target = targets.get(how, {}).get(size)
                    rows.append(row(f"{what}-{how}", size, subject, "xdp-tx", target, f"{text}, {how}"))
    for what, text in (TRIGGERS | NOBODYS).items():
        for how in ("hot", "random") if what != "mdns" else ("hot",):
            for size in SIZES if how == "hot" or what in NOBODYS else SIZES[1:]:
                target = PASS_TARGETS[how] if what in NOBODYS and size == "1M" else None
                for subject in subjects(what, how, size):
                    rows.append(row(f"{what}-{how}", size, subject, "xdp-pass", target, f"{text}, {how}"))
    for what, target in SCANS.items():
        text = f"search for a Magic Packet in {what.replace('-', ' ')}"
        rows.append(Row(f"program/scan-{what}/1M/proxzzy", None, "<=", target, text, "scan", "ns"))
    for what, text in {"load": "ingress", "load-egress": "egress"}.items():
        name = f"program/{what}/default/proxzzy"
        rows.append(Row(name, None, "<=", 60, f"loading the {text} program"))
        rows.append(Row(name, None, "<=", 120_000, f"verified instructions, {text}", "instructions"))
    return rows


ROWS = make_rows()
# What only the guard looks at: the search for a Magic Packet by the time of a packet that is too short for one, and
# what the tables are worth.
GUARDS = [
    *(
        Row(f"program/scan-{what}/1M/proxzzy", "program/scan-none/1M/proxzzy", "<=", target, guard=2 * target)
        for what, target in {
            "random": 1.3,
            "text": 1.3,
            "attack-zeros": 2.8,
            "attack-sleeper": 3,
            "attack-stretches-14": 2.5,
            "attack-strangers": 5.8,
        }.items()
    ),
    Row("program/arp-random/1M/proxzzy", "program/arp-random/1M/plain-hash", "<=", 0.3, guard=0.6),
]
