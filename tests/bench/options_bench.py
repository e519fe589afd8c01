#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""CPU time of an answer by name: proxzzyd's mDNS and LLMNR next to avahi-daemon's and systemd-resolved's.

Each daemon is at the end of a cable of its own.  At the other end questions leave by a packet socket at a steady rate,
from thousands of addresses, since proxzzyd does not answer one address as often as it can; a filter in the kernel
counts the answers.  Everything is in network namespaces of its own."""

import argparse
import contextlib
import ctypes
import dataclasses
import ipaddress
import itertools
import random
import shutil
import signal
import socket
import struct
import sys
import time
from pathlib import Path

from cable import (CLIENT_PROCESSOR, GATEWAY_MAC, GATEWAY_PROCESSOR, Cable, control_load, on_processor, processor_ns,
                   wait_quiet, wait_until)
from results import Results

import avahi
import resolved
from control import ACK, CREATE_NEW, HOST_SET, REQUEST, Raw, attribute, error_of, message, text
from control_load import host_numbered
from frames import ETH_IP4, Frame, ethernet, ipv4, udp
from lan import Node
from netns import Failed
from proxy import Proxy, WithoutXdpSockets

SIZES = {"1": 1, "1k": 1000}
A_NAME, A_MAC, A_IP, A_HOSTNAME, A_SERVICE = 1, 2, 3, 19, 20  # of a host, in control.h
MDNS, LLMNR = 5353, 5355
GROUPS = {MDNS: ("224.0.0.251", "01:00:5e:00:00:fb"), LLMNR: ("224.0.0.252", "01:00:5e:00:00:fc")}
RESPONSE, TENTATIVE = 0x8000, 0x0100
ANSWERER = "10.255.0.1"  # of the daemon's end, which has 10.0.0.0/8 on its link
ASKERS = [str(ipaddress.IPv4Address("10.128.0.1") + i) for i in range(4000)]  # proxzzyd knows 4,096
ASKER_MAC = "02:00:00:00:00:98"  # of them all
OWN_PORT = 40_000  # not 5353: so mDNS answers by unicast, and every question (RFC 6762 §6.7)
RATES = {"mdns": 4000, "steered": 4000, "llmnr": 900}  # questions a second; systemd-resolved sends 1,000 answers
LEAST_RATE = 100
BURST = 64  # that come together, so that waking the daemon is a small part of the work
ENOUGH = 0.9  # of them are answered, or the rate is too high
PATIENCE = 0.5  # seconds without an answer, until no more are expected
ATTEMPTS = 5  # in a round
PROXZZYD_PATH = {"mdns": "event, packet socket", "llmnr": "event, packet socket", "steered": "AF_XDP"}


class CountingSocket:
    """Counts the DNS responses with an answer that come to OWN_PORT, in the kernel; in the namespace that is current
    at construction."""

    SO_ATTACH_FILTER, PACKET_STATISTICS, SOL_PACKET = 26, 6, 263
    LOAD16, LOAD8, LOAD16_X, IP_LENGTH_TO_X, EQUAL, SET, RETURN = 0x28, 0x30, 0x48, 0xB1, 0x15, 0x45, 0x06

    def __init__(self, interface):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        program = self.program()
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
        self.socket.setsockopt(socket.SOL_SOCKET, self.SO_ATTACH_FILTER,
                               struct.pack("HP", len(program), ctypes.addressof(code)))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # what finds no room counts too
        self.socket.bind((interface, ETH_IP4))  # and so nothing that leaves
        self.socket.setblocking(False)
        self.total = 0

    def program(self):
        ip, udp_at_x = 14, 14
        lines = [(self.LOAD16, 12), (self.EQUAL, ETH_IP4), (self.LOAD8, ip + 9), (self.EQUAL, 17),
                 (self.IP_LENGTH_TO_X, ip), (self.LOAD16_X, udp_at_x), (self.EQUAL, MDNS, 1), (self.EQUAL, LLMNR),
                 (self.LOAD16_X, udp_at_x + 2), (self.EQUAL, OWN_PORT), (self.LOAD16_X, udp_at_x + 10),
                 (self.SET, RESPONSE), (self.LOAD16_X, udp_at_x + 14), (self.EQUAL, 0, 1, 0)]
        accept, refuse = len(lines), len(lines) + 1
        program = []
        for at, (code, operand, *jumps) in enumerate(lines):
            if code not in (self.EQUAL, self.SET):
                jumps = [0, 0]
            elif len(jumps) == 2:  # the other way round: refused if true
                jumps = [refuse - at - 1, 0]
            elif len(jumps) == 1:  # else the next line is another chance
                jumps = [1, 0]
            else:
                jumps = [0, refuse - at - 1]
            program.append((code, *jumps, operand))
        assert len(program) == accept
        return [*program, (self.RETURN, 0, 0, 0xFFFF), (self.RETURN, 0, 0, 0)]

    def count(self):
        """So many since construction."""
        self.total += struct.unpack("II", self.socket.getsockopt(self.SOL_PACKET, self.PACKET_STATISTICS, 8))[0]
        return self.total

    def receive(self):
        """The next of the few that are kept, or None."""
        try:
            return Frame(self.socket.recv(4096))
        except BlockingIOError:
            return None


@dataclasses.dataclass(frozen=True)
class Asked:
    """A host: a name without .local, its address, and the MAC that unicast to it goes to."""

    name: str
    address: str
    mac: str


class Link(Cable):
    """A cable with askers, for whom there is no stack: the client's drops what is for another MAC than its own."""

    def create(self):
        super().create()
        self.gateway_ns.batch(["addr flush dev lan0 scope global", f"addr add {ANSWERER}/8 dev lan0"])
        with self.client_ns.entered():
            self.answers = CountingSocket("eth0")
            self.sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.sender.bind(("eth0", 0))

    def know_askers(self):
        """As neighbours for good, for a daemon that answers by the kernel's IP."""
        self.gateway_ns.batch([f"neigh replace {asker} lladdr {ASKER_MAC} dev lan0 nud permanent" for asker in ASKERS])

    def ask(self, questions, rate, seconds):
        """Sends so many a second, in bursts; how many of them were sent, answered."""
        before = self.answers.count()
        started = time.monotonic()
        bursts = max(int(rate * seconds / BURST), 1)
        for number in range(bursts):
            time.sleep(max(started + number * BURST / rate - time.monotonic(), 0))
            for frame in itertools.islice(questions, BURST):
                self.sender.send(frame)
        sent = bursts * BURST
        answered, last = 0, time.monotonic()
        while answered < sent and time.monotonic() - last < PATIENCE:
            time.sleep(0.02)
            now = self.answers.count() - before
            if now > answered:
                answered, last = now, time.monotonic()
        time.sleep(0.02)  # for one too many
        return sent, self.answers.count() - before


def question(asker, number, asked, port, direct):
    """A frame that asks for the host's IPv4 address."""
    name = f"{asked.name}.local" if port == MDNS else asked.name
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = struct.pack("!6H", number, 0, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)
    address, mac = (asked.address, asked.mac) if direct else GROUPS[port]
    return ethernet(mac, ASKER_MAC, ETH_IP4,
                    ipv4(asker, address, 17, udp(asker, address, OWN_PORT, port, query), ttl=255))


@dataclasses.dataclass
class Case:
    """One result."""

    what: str
    size: str
    subject: str
    path: str
    link: Link
    pid: int
    asked: list
    port: int
    proxy: Proxy | None = None
    rate: int = 0
    questions: object = None

    @property
    def name(self):
        return f"{self.what}/{self.size}/{self.subject}"

    def prepare(self):
        """Every host answers, for good, with its address."""
        frames = [question(asker, i, self.asked[i % len(self.asked)], self.port, self.what == "steered")
                  for i, asker in enumerate(ASKERS)]
        self.questions = itertools.cycle(frames)
        for number, asked in enumerate(self.asked):
            wait_until(f"{self.name}: {asked.name} is answered for", lambda: self.is_answered(frames, number), 20)

    def is_answered(self, frames, number):
        while self.link.answers.receive():
            pass
        self.link.sender.send(frames[number])
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline:
            if frame := self.link.answers.receive():
                found, flags = struct.unpack_from("!HH", frame.l4.data, 8)
                return (found == number and ipaddress.ip_address(self.asked[number].address).packed in frame.l4.data
                        and not (self.port == LLMNR and flags & TENTATIVE))
        return False

    def counted(self, before=None):
        if not self.proxy:
            return {}
        now = self.proxy.counters()
        return {name: now[name] - before.get(name, 0) for name in now} if before else now

    def measure(self, seconds):
        """Questions, answers, and nanoseconds of the daemon's CPU time; checks what proxzzyd itself counted."""
        before, used = self.counted(), processor_ns(self.pid)
        with on_processor(CLIENT_PROCESSOR):
            sent, answered = self.link.ask(self.questions, self.rate, seconds)
        used = processor_ns(self.pid) - used
        counted = self.counted(before)
        expected = {}
        if self.proxy and self.what != "llmnr":
            expected["mdns-replies"] = answered
        if self.what == "steered":
            expected["steered"] = sent
            expected["xsk-sent"] = answered if self.subject == "proxzzyd" else 0
        if self.proxy:
            expected |= {name: 0 for name in counted if name.endswith("-rate-limited")}
        wrong = {name: counted.get(name) for name, value in expected.items() if counted.get(name, 0) != value}
        assert not wrong and answered <= sent, f"{self.name}: {answered} answers to {sent} questions; counted {wrong}"
        return sent, answered, used

    def measure_well(self, seconds):
        """The same; what else the machine does may have been too much for one of both ends."""
        for attempt in range(ATTEMPTS):
            try:
                sent, answered, used = self.measure(seconds)
                assert answered >= ENOUGH * sent, f"{self.name}: {answered} answers to {sent} questions"
                return sent, answered, used
            except AssertionError as reason:
                if attempt + 1 == ATTEMPTS:
                    raise
                print(f"{reason}; once more", file=sys.stderr)

    def add_to(self, results, seconds):
        sent, answered, used = self.measure_well(seconds)
        results.add(self.name, used / answered, "ns", self.path, items_per_second=answered * 1e9 / used, asked=sent,
                    answered=answered, rate=self.rate)
        print(f"{self.name}: {used / answered / 1000:.2f} us; {answered} of {sent}, {self.rate}/s", file=sys.stderr)


def find_rate(cases, seconds):
    """All of them are asked as often as the slowest can answer."""
    rate = RATES[cases[0].what]
    for case in cases:
        case.rate = rate
        while True:
            try:
                case.measure_well(seconds)
                break
            except AssertionError:
                if case.rate // 2 < LEAST_RATE:
                    raise
                case.rate //= 2
        rate = case.rate
    for case in cases:
        case.rate = rate


def add_sleepers(proxy, count):
    """Hosts as control_load.py has them, each with a name and a service; the list of them."""
    sleepers = []
    with Raw(proxy.control) as connection:
        for number in range(count):
            name, mac, ip4, ip6 = host_numbered(number)
            ips = b"".join(attribute(A_IP, attribute(1, ip.packed), nested=True) for ip in (ip4, ip6))
            service = attribute(A_SERVICE, text(1, "_ssh._tcp") + attribute(3, struct.pack("<H", 22)), nested=True)
            answer = connection.ask(message(HOST_SET, text(A_NAME, name) + attribute(A_MAC, mac) + ips +
                                            text(A_HOSTNAME, f"{name}.local") + service, REQUEST | ACK | CREATE_NEW))
            assert error_of(answer)[0] == 0, f"host {name}: {error_of(answer)}"
            sleepers.append(Asked(name, str(ip4), mac.hex(":")))
    control_load(proxy, "sleep", count)
    proxy.wait_state("asleep", sleepers[-1].name, 60)
    wait_quiet(proxy)
    return sleepers


def proxzzyd_cases(stack, size):
    link = stack.enter_context(Link(f"options-{size}"))
    proxy = link.proxy("--log-level", "warn")
    sleepers = add_sleepers(proxy, SIZES[size])
    return [Case(what, size, "proxzzyd", path, link, proxy.process.pid, sleepers, LLMNR if what == "llmnr" else MDNS,
                 proxy) for what, path in PROXZZYD_PATH.items()]


def events_case(stack):
    link = stack.enter_context(Link("options-events"))
    proxy = WithoutXdpSockets(link, "--log-level", "warn")
    with on_processor(GATEWAY_PROCESSOR):
        proxy.start()
    return Case("steered", "1", "events", "event, packet socket", link, proxy.process.pid, add_sleepers(proxy, 1), MDNS,
                proxy)


class Resolved(resolved.Resolved):
    """One that does not write down every packet."""

    def start_with_own_run(self, script, *argv):
        return super().start_with_own_run(script + "\nexport SYSTEMD_LOG_LEVEL=warning\n", *argv)


def peer_case(stack, what, program, kind, port):
    """The daemon's answers for its own name."""
    missing = [name for name in (program, "dbus-daemon") if not shutil.which(name)]
    if missing:
        print(f"{program} is not measured: {', '.join(missing)} not found", file=sys.stderr)
        return []
    link = stack.enter_context(Link(f"options-{what}-peer"))
    link.know_askers()
    with on_processor(GATEWAY_PROCESSOR):
        peer = stack.enter_context(kind(link, Node(link.gateway_ns, "lan0", 1, 0), "peer"))
    return [Case(what, "1", program, "UDP socket", link, peer.daemon.pid, [Asked("peer", ANSWERER, GATEWAY_MAC)], port)]


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--out", type=Path, required=True, help="the results, as Google Benchmark writes them")
    options.add_argument("--short", action="store_true", help="3 rounds, and shorter ones")
    options.add_argument("--rounds", type=int, help="default 9")
    options.add_argument("--seconds", type=float, help="of each case in each round; default 1")
    options.add_argument("--seed", type=int, default=1, help="of the order of the cases")
    args = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rounds = args.rounds or (3 if args.short else 9)
    seconds = args.seconds or (0.5 if args.short else 1)

    results, order = Results("options"), random.Random(args.seed)
    with contextlib.ExitStack() as stack:
        cases = [*(case for size in SIZES for case in proxzzyd_cases(stack, size)), events_case(stack),
                 *peer_case(stack, "mdns", "avahi-daemon", avahi.Avahi, MDNS),
                 *peer_case(stack, "llmnr", "systemd-resolved", Resolved, LLMNR)]
        for case in cases:
            case.prepare()
        for what in RATES:
            find_rate([case for case in cases if case.what == what], seconds)
        for _ in range(rounds):
            for case in order.sample(cases, len(cases)):
                case.add_to(results, seconds)
        for proxy in {id(case.proxy): case.proxy for case in cases if case.proxy}.values():
            proxy.stop()
    results.write(args.out)


if __name__ == "__main__":
    try:
        main()
    except (Failed, AssertionError) as reason:
        sys.exit(f"options_bench: {reason}")
