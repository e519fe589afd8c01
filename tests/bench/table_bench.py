#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the presence table with many hosts: adding, memory, restart, cold start, and many changes at once.

proxzzyd is at one end of a cable (tests/bench/cable.py); each host has one IPv4 and two IPv6 addresses and the default
wake rules.  Every figure of a round is of one daemon's life, and every round begins with an empty state."""

import argparse
import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from cable import (CLIENT_PROCESSOR, GATEWAY_PROCESSOR, Cable, build_folder, control_load, on_processor, wait_quiet,
                   wait_until)
from control_load import host_numbered
from frames import PacketSocket, arp, arp_request, ethernet, neighbour_solicitation
from netns import run
from proxy import program
from results import Results

IPV6 = 2  # addresses of each host
SAMPLE = 500  # hosts that are asked for to see whether all are answered for
CHANGES = 10_000  # hosts that change their state within a second
LARGE = 100_000  # more hosts than that take minutes: fewer rounds, and none is added by a request of its own
CLIENT_MAC, CLIENT_IP, CLIENT_IP6 = "02:00:00:00:00:98", "192.0.2.98", "fe80::98"
BROADCAST, ETH_ARP = "ff:ff:ff:ff:ff:ff", 0x0806
ASKED_EACH_SECOND = 1000  # while the daemon is restarted
ARP_REPLIES = [(0x28, 0, 0, 12), (0x15, 0, 3, 0x0806), (0x28, 0, 0, 20), (0x15, 0, 1, 2), (0x06, 0, 0, 65535),
               (0x06, 0, 0, 0)]  # EtherType, operation


def label(count):
    return f"{count // 1_000_000}M" if count % 1_000_000 == 0 else f"{count // 1000}k"


def mac_of(number):
    return host_numbered(number)[1].hex(":")


def ip_of(number):
    return str(host_numbered(number)[2])


def write_site(path, count):
    """The hosts as a file for `proxzzyctl apply`."""
    with open(path, "w") as file:
        for number in range(count):
            name, mac, *addresses = host_numbered(number, IPV6)
            file.write(f"[{name}]\nmac = {mac.hex(':')}\n" + "".join(f"ip = {a}\n" for a in addresses))


def apply(proxy, site, count):
    """Seconds that the bulk import took, with reading and checking the file."""
    started = time.monotonic()
    with on_processor(CLIENT_PROCESSOR):
        done = subprocess.run([program("proxzzyctl"), "--control", proxy.control, "apply", site], capture_output=True,
                              text=True, check=False, timeout=3600)
    assert done.returncode == 0, done.stderr
    assert proxy.ctl("status")["hosts"] == count, done.stdout
    return time.monotonic() - started


def kernel_bytes(proxy):
    """What the kernel has set aside for the pinned maps."""
    return sum(json.loads(run(["bpftool", "-j", "map", "show", "pinned", path]).stdout)["bytes_memlock"]
               for path in (proxy.pins / "maps").iterdir())


def unreclaimable_slab():
    """Of the whole machine."""
    return next(int(line.split()[1]) * 1024 for line in open("/proc/meminfo") if line.startswith("SUnreclaim:"))


def own_bytes(proxy):
    """The daemon's anonymous memory."""
    with open(f"/proc/{proxy.process.pid}/status") as file:
        return sum(int(line.split()[1]) * 1024 for line in file if line.startswith(("RssAnon:", "VmSwap:")))


def disk_bytes(proxy):
    return sum(path.stat().st_blocks * 512 for path in proxy.state_folder.iterdir())


def asleep(proxy):
    """How many hosts are not awake; None if the daemon is too busy to say."""
    done = proxy.run_ctl("status")
    return json.loads(done.stdout)["hosts_asleep"] if done.returncode == 0 else None


class Client:
    """The other end of the cable, with what it asks.  Its sockets are open no longer than needed: what they receive is
    the kernel's memory too."""

    def __init__(self, cable):
        self.cable = cable

    @contextlib.contextmanager
    def socket(self):
        with self.cable.client_ns.entered():
            opened = PacketSocket("eth0")
        opened.keep_only(ARP_REPLIES)  # the daemon's probes are more than Python can read
        try:
            yield opened
        finally:
            opened.close()

    def answered(self, numbers):
        """Those of the hosts that somebody answers for within a moment."""
        answers = set()
        with self.socket() as wire:
            for number in numbers:
                wire.send(arp_request(CLIENT_MAC, CLIENT_IP, ip_of(number)))
            time.sleep(0.02)
            while (frame := wire.receive()) is not None:
                if frame.arp and frame.arp[0] == 2 and frame.dst == CLIENT_MAC:
                    answers.add(frame.arp[2])
        return {number for number in numbers if ip_of(number) in answers}

    def announce(self, count, seconds):
        """The owners of the first `count` hosts show that they are alive, evenly over time; seconds it took."""
        owners = [(mac_of(number), ip_of(number)) for number in range(count)]
        frames = [ethernet(BROADCAST, mac, ETH_ARP, arp(1, mac, ip, "00:00:00:00:00:00", ip)) for mac, ip in owners]
        batch = max(count // 100, 1)
        with self.socket() as wire:
            started = time.monotonic()
            for first in range(0, count, batch):
                for frame in frames[first:first + batch]:
                    wire.send(frame)
                time.sleep(max(0, started + seconds * (first + batch) / count - time.monotonic()))
        return time.monotonic() - started

    def asker(self, number):
        """Asks for a host all the time, by ARP and by Neighbour Solicitations (tests/support/asker.cpp)."""
        questions = (arp_request(CLIENT_MAC, CLIENT_IP, ip_of(number)),
                     neighbour_solicitation(CLIENT_MAC, CLIENT_IP6, str(host_numbered(number, IPV6)[-1])))
        return self.cable.start(self.cable.client_ns, build_folder() / "tests" / "net" / "asker", "eth0", "600",
                                str(ASKED_EACH_SECOND), *(q.hex() for q in questions), stdout=subprocess.PIPE,
                                text=True)


def kill(proxy):
    """Without a word, and waits for the end: the locks of the state file and of the pins."""
    process, proxy.process = proxy.process, None
    process.kill()
    process.wait()


def start(proxy, timeout):
    """Seconds until the control socket answers."""
    started = time.monotonic()
    with on_processor(GATEWAY_PROCESSOR):
        proxy.start(wait=False)
    while not proxy.ready():  # waits by itself, for some seconds
        assert time.monotonic() - started < timeout, proxy.text()
        time.sleep(0.05)
    return time.monotonic() - started


class Round:
    """The lives of two daemons with `count` hosts."""

    def __init__(self, results, count, timeout):
        self.results, self.count, self.timeout = results, count, timeout
        self.sample = random.Random(1).sample(range(count), min(SAMPLE, count))

    def add(self, what, seconds, path, items=None, subject="proxzzyd", **counters):
        rate = {"items_per_second": items / seconds} if items else {}
        name = f"{what}/{label(self.count)}/{subject}"
        self.results.add(name, seconds * 1000, "ms", path, **rate, **counters)
        text = ", ".join(f"{key} {value:.0f}" for key, value in (rate | counters).items())
        print(f"{name}: {seconds:.2f} s {text}", file=sys.stderr)

    def run(self):
        with Cable("table", client_passes=True) as cable:
            if self.count <= LARGE:
                self.by_control(cable)
            proxy = cable.proxy("--max-hosts", self.count, "--log-level", "warn", name="bulk")
            client = Client(cable)
            site = cable.folder / "site.conf"
            write_site(site, self.count)
            self.add("bulk-add", apply(proxy, site, self.count), "proxzzyctl apply", self.count)
            site.unlink()
            wait_quiet(proxy, self.timeout)
            self.memory("memory-awake", proxy)
            self.by_state_file(cable)
            self.sleep(proxy, client)
            self.change(proxy, client)
            self.restart(proxy, client)
            self.cold_start(proxy, client)
            kill(proxy)
            proxy.detach_killed()

    def by_control(self, cable):
        proxy = cable.proxy("--max-hosts", self.count, "--log-level", "warn", name="control")
        seconds = control_load(proxy, "add", self.count, str(IPV6))
        self.add("control-add", seconds, "HOST_SET, 64 connections", self.count)
        assert proxy.ctl("status")["hosts"] == self.count
        kill(proxy)
        proxy.detach_killed()

    def by_state_file(self, cable):
        folder = cable.folder / "alone.state"
        with on_processor(GATEWAY_PROCESSOR):
            took = float(run([build_folder() / "tests" / "bench" / "state_rate", folder, self.count]).stdout)
        self.add("bulk-add", took, "SQLite, one transaction", self.count, subject="state-file")
        shutil.rmtree(folder)

    def wait_answered(self, proxy, client):
        """Until a sample of the hosts is answered for; seconds to the first of them."""
        waiting = set(self.sample)
        started = time.monotonic()
        first = None
        while waiting:
            waiting -= client.answered(waiting)
            if first is None and len(waiting) < len(self.sample):
                first = time.monotonic() - started
            assert time.monotonic() - started < self.timeout, f"{len(waiting)} hosts are not answered for"
            assert proxy.process.poll() is None, proxy.text()
        return first

    def sleep(self, proxy, client):
        """All of them, and what they cost then."""
        slab = unreclaimable_slab()
        started = time.monotonic()
        acknowledged = control_load(proxy, "sleep", self.count)
        proxy.wait_state("asleep", f"h{self.count - 1}", self.timeout)
        self.wait_answered(proxy, client)
        self.add("sleep", acknowledged, "HOST_SLEEP, 64 connections", self.count,
                 until_asleep_ms=(time.monotonic() - started) * 1000)
        wait_quiet(proxy, self.timeout)
        self.memory("memory", proxy, slab_bytes=max(unreclaimable_slab() - slab, 0) / self.count)

    def memory(self, what, proxy, **more):
        """Of each host."""
        kernel, own, disk = (size(proxy) / self.count for size in (kernel_bytes, own_bytes, disk_bytes))
        self.add(what, 0, "memlock of the pinned maps, RssAnon, st_blocks, SUnreclaim", kernel_bytes=kernel,
                 own_bytes=own, all_bytes=kernel + own, disk_bytes=disk, **more)

    def change(self, proxy, client):
        """Many owners are back within a second; the kernel lets go on each one's frame, the daemon follows."""
        changes = min(CHANGES, self.count)
        before = proxy.counters()
        with on_processor(CLIENT_PROCESSOR):
            sent = client.announce(changes, 1.0)
        started = time.monotonic() - sent
        wait_until("every owner is known to be awake", lambda: asleep(proxy) == self.count - changes, self.timeout)
        took = time.monotonic() - started
        now = proxy.counters()
        assert now["sign-of-life"] - before["sign-of-life"] == changes, "the kernel missed owners"
        self.add("change", took, "ARP announcements of the owners, to the last one awake in the table", changes,
                 sent_ms=sent * 1000, ring_full=now["ring-full"] - before["ring-full"])
        control_load(proxy, "sleep", changes)
        proxy.wait_state("asleep", f"h{changes - 1}", self.timeout)
        wait_quiet(proxy, self.timeout)

    def restart(self, proxy, client):
        """kill -9 and a new daemon, while the kernel goes on answering."""
        assert client.answered([self.count - 1]), "nobody answers for the last host"
        asker = client.asker(self.count - 1)
        time.sleep(0.5)
        kill(proxy)
        took = start(proxy, self.timeout)
        wait_until("every host is in care", lambda: asleep(proxy) == self.count, self.timeout)
        wait_quiet(proxy, self.timeout)
        asker.send_signal(signal.SIGTERM)
        told = json.loads(asker.communicate(timeout=30)[0])
        asked, answered = 2 * told["asked"], told["arp"] + told["nd"]
        assert asked == answered, f"{asked} questions, {answered} answers"
        self.add("restart", took, "pinned maps; until the control socket answers", asked=asked, answered=answered,
                 unanswered=asked - answered)

    def cold_start(self, proxy, client):
        """As after a reboot: the state file is all that is left."""
        kill(proxy)
        proxy.detach_killed()
        assert not client.answered(self.sample), "somebody answers for hosts without a daemon"
        started = time.monotonic()
        with on_processor(GATEWAY_PROCESSOR):
            proxy.start(wait=False)
        first = self.wait_answered(proxy, client)
        self.add("cold-start", time.monotonic() - started, "state file; until the last of a sample is answered for",
                 first_ms=first * 1000, sample=len(self.sample))
        wait_until("every host is in care", lambda: asleep(proxy) == self.count, self.timeout)


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--out", type=Path, required=True, help="the results, as Google Benchmark writes them")
    options.add_argument("--short", action="store_true", help="3 rounds with 10,000 hosts")
    options.add_argument("--rounds", type=int, help="default 9; of more than 100,000 hosts 1")
    options.add_argument("--sizes", type=int, nargs="+", help="default 10000 100000 1000000")
    args = options.parse_args()
    rounds = args.rounds or (3 if args.short else 9)
    sizes = args.sizes or ([10_000] if args.short else [10_000, 100_000, 1_000_000])

    results = Results("table")
    for number in range(rounds):
        for size in random.Random(number).sample(sizes, len(sizes)):
            if size > LARGE and number > 0 and not args.rounds:
                continue
            Round(results, size, timeout=60 + size / 1000).run()
    results.write(args.out)


if __name__ == "__main__":
    main()
