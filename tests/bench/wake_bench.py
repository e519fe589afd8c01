#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures wakes: SYN on the wire to Magic Packet on the wire, and SYN to established connection.

The first part is proxzzyd and tests/bench/wake_probe.cpp at the two ends of a cable, the second a LAN whose hosts
really sleep (tests/support/lan.py).  Every SYN is one to another sleeping host, and is counted: by the kernel program
as a trigger, and at the client's end as its Magic Packets and as a held packet that was delivered."""

import argparse
import contextlib
import json
import random
import statistics
import subprocess
import sys
from pathlib import Path

from cable import Cable, build_folder, control_load, wait_quiet, wait_until
from lan import Lan
from results import Results, nearest_rank

LOADS = {"idle": "idle", "cpu": "two spinners on each processor", "arp": "500,000 ARP requests/s"}
ARP_RATE = 500_000
ASKED = 1024  # hosts that the ARP requests are for
WARM_UP = 200  # wakes that are not counted
# Who says what may wake whom: nobody, so that the kernel sends the first Magic Packet; or a rule, which the daemon looks at.
SUBJECTS = {"proxzzyd": (), "asked": ("--no-wake-from", "203.0.113.0/24")}
PATHS = {"proxzzyd": "XDP_TX, in the place of the SYN", "asked": "XDP, ring, trigger thread, AF_PACKET"}
MAGIC_PACKETS = {"proxzzyd": 2, "asked": 1}  # in Ethernet for each wake: the kernel's, the trigger thread's
OTHERS = {"thread": "eventfd, real-time thread", "reply": "ARP request, XDP_TX"}  # what the machine takes for less


def trigger_thread(proxy):
    """Nanoseconds that the daemon's trigger thread has run, and that it was ready and did not run."""
    for task in Path(f"/proc/{proxy.process.pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "trigger":
            return [int(word) for word in (task / "schedstat").read_text().split()[:2]]
    raise AssertionError("the daemon has no trigger thread")


class Probe:
    """wake_probe on the client's end."""

    def __init__(self, cable, hosts):
        program = build_folder() / "tests" / "bench" / "wake_probe"
        self.process = cable.start(cable.client_ns, program, "eth0", "spare0", hosts, ASKED, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)

    def measure(self, load, first, count):
        self.process.stdin.write(f"{load} {first} {count}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "wake_probe ended"
        return json.loads(line)


def summary(times):
    return {"p50": nearest_rank(times, 0.5), "p99": nearest_rank(times, 0.99), "p99_9": nearest_rank(times, 0.999),
            "max": max(times), "wakes": len(times)}


def say(times):
    return ", ".join(f"{name} {value:.1f}" for name, value in summary(times).items())


class Subject:
    """A gateway with sleeping hosts, and its client; every wake is another host's first."""

    def __init__(self, stack, name, wakes):
        self.name, self.next = name, WARM_UP
        hosts = WARM_UP + wakes
        cable = stack.enter_context(Cable(f"wake-{name}"))
        self.proxy = cable.proxy("--max-hosts", hosts + ASKED, "--log-level", "warn", *SUBJECTS[name])
        control_load(self.proxy, "add", hosts + ASKED)
        control_load(self.proxy, "sleep", hosts + ASKED)
        self.proxy.wait_state("asleep", f"h{hosts + ASKED - 1}", 600)
        wait_quiet(self.proxy)
        self.probe = Probe(cable, hosts)
        self.probe.measure("idle", 0, WARM_UP)

    def measure(self, load, count):
        """A round of wakes in one case; checks that each took the path that it was meant to."""
        proxy, name = self.proxy, self.name
        before, thread_before = proxy.counters(), trigger_thread(proxy)
        result = self.probe.measure(load, self.next, count)
        self.next += count
        wait_until("every held packet is delivered", lambda: not proxy.ctl("status")["held_packets"])
        wait_quiet(proxy)
        result["run_us"], result["ready_us"] = (
            (now - before) / 1000 / count for now, before in zip(trigger_thread(proxy), thread_before))
        now = proxy.counters()
        counted = {name: now[name] - before[name] for name in now}
        assert counted["trigger-syn"] == count, f"{load}: {counted['trigger-syn']} of {count} SYNs are triggers"
        wanted = MAGIC_PACKETS[name] * count
        assert result["magic"] == wanted, f"{name}, {load}: {result['magic']} Magic Packets, not {wanted}"
        assert result["delivered"] >= count, f"{load}: {result['delivered']} of {count} SYNs were delivered"
        assert result["lost"] == 0, f"{load}: {result['lost']} of {count} wakes are lost"
        assert counted["sign-of-life"] == count, f"{load}: {counted['sign-of-life']} of {count} hosts came back"
        assert counted["ring-full"] == 0, f"{load}: {counted['ring-full']} events found no room"
        # what finds the gateway's queue full, a veth's of 256 frames, never arrives; all that arrives is answered
        answered = result["arp_answered"], counted["arp-answered"]
        assert answered[0] == answered[1], f"{answered[0]} and {answered[1]}"
        result["arp_per_second"] = result["arp_answered"] / result["seconds"]
        if load == "arp":
            assert result["arp_per_second"] >= 0.95 * ARP_RATE, f"{result['arp_per_second']:.0f} ARP requests/s"
        return result


def measure_syn_to_magic(results, rounds, wakes, seed):
    """Rounds of each case and subject in turn."""
    with contextlib.ExitStack() as stack:
        subjects = [Subject(stack, name, rounds * wakes * len(LOADS)) for name in SUBJECTS]
        all_times = {(load, who): [] for load in LOADS for who in (*SUBJECTS, *OTHERS)}
        lost = dict.fromkeys(all_times, 0)
        order = random.Random(seed)
        for _ in range(rounds):
            cases = [(load, subject) for load in LOADS for subject in subjects]
            for load, subject in order.sample(cases, len(cases)):
                result = subject.measure(load, wakes)
                times = {who: [ns / 1000 for ns in result[who]] for who in OTHERS}
                times[subject.name] = [ns / 1000 for ns in result["nanoseconds"]]
                lost[load, subject.name] += result["lost"]
                results.add(f"syn-to-magic/{load}/{subject.name}", statistics.median(times[subject.name]), "us",
                            PATHS[subject.name], lost=result["lost"], run_us=result["run_us"],
                            ready_us=result["ready_us"], arp_per_second=result["arp_per_second"],
                            **summary(times[subject.name]))
                for who, path in OTHERS.items():
                    missing = wakes - len(times[who])
                    lost[load, who] += missing
                    results.add(f"syn-to-magic/{load}/{who}", statistics.median(times[who]), "us", path,
                                lost=missing, **summary(times[who]))
                for who, values in times.items():
                    all_times[load, who] += values
                    print(f"{load}, {who}: {say(values)}", file=sys.stderr)
        for (load, who), times in all_times.items():
            results.add(f"syn-to-magic/{load}/{who}, all rounds", statistics.median(times), "us",
                        {**PATHS, **OTHERS}[who], lost=lost[load, who], **summary(times))
        for subject in subjects:
            subject.proxy.stop()


def measure_connect(results, rounds, hosts):
    """connect() to hosts that sleep, and resume 0.3 s after a Magic Packet."""
    with Lan("bench-wake", hosts=hosts) as lan:
        proxy = lan.proxy("--log-level", "warn")
        sleepers = {f"sleeper{i}": host for i, host in enumerate(lan.segments[0].hosts)}
        for name, host in sleepers.items():
            proxy.add(host, name)
        for _ in range(rounds):
            for name, host in sleepers.items():
                proxy.hand_over(host, name)
            for name in sleepers:
                proxy.wait_state("asleep", name, 20)
            for family in ("ipv4", "ipv6"):
                late, total = [], []
                for name, host in list(sleepers.items())[family == "ipv6"::2]:
                    address = host.ip4 if family == "ipv4" else host.ip6
                    connection = lan.client.connect(address)
                    late.append(connection.connected - host.wait_usable(address, connection.started))
                    total.append(connection.connected - connection.started)
                results.add(f"connect/{family}/proxzzyd", statistics.median(late) * 1000, "ms",
                            "first SYN held and delivered", max=max(late) * 1000, wakes=len(late),
                            since_syn_ms=statistics.median(total) * 1000)
            for name, host in sleepers.items():
                proxy.wait_state("awake", name)
                host.wait_settled()


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--out", type=Path, required=True, help="the results, as Google Benchmark writes them")
    options.add_argument("--short", action="store_true", help="3 rounds and fewer wakes")
    options.add_argument("--rounds", type=int, help="default 9")
    options.add_argument("--wakes", type=int, help="in each round of each case; default 1000")
    options.add_argument("--seed", type=int, default=1, help="of the order of the cases")
    args = options.parse_args()
    rounds = args.rounds or (3 if args.short else 9)
    wakes = args.wakes or (300 if args.short else 1000)

    results = Results("wake")
    measure_syn_to_magic(results, rounds, wakes, args.seed)
    measure_connect(results, rounds, 2 if args.short else 4)
    results.write(args.out)


if __name__ == "__main__":
    main()
