# SPDX-License-Identifier: Apache-2.0
"""A thousand sleeps and wakes: many hosts on one LAN, each asleep and woken again and again, and nothing is lost."""

import collections
import json
import queue
import struct
import subprocess
import threading
import time
from typing import NamedTuple

import control
from case import test
from frames import ETH_MAGIC, TCP_ACK, TCP_SYN, mac_bytes
from lan import Connection, wait_until
from netns import IFA_F_DADFAILED, IFA_F_TENTATIVE, ipv6_addresses
from proxy import program, sanitized
from tables import entries
from test_daemon import assert_nothing_left, traces

FIRST_PORT = 20000  # of the client, below those that its kernel gives away; a port of its own for each connection
HOST_NAME = 1  # PZ_A_HOST_NAME
TROUBLE = {"address-not-back", "conflict", "dropped", "failed", "lost", "nic-answers", "not-held", "ring-loss",
           "sleep-abandoned", "unreachable"}


def hosts():
    return 10 if sanitized() else 50


def cycles():
    """Of each host."""
    return 4 if sanitized() else 20


class Wake(NamedTuple):
    host: object
    address: str
    connection: Connection


class Operator:
    """Speaks with the daemon for all hosts, by one connection, and knows the state of each from the events."""

    def __init__(self, proxy):
        self.requests = control.Raw(proxy.control, timeout=60)
        self.lock = threading.Lock()
        self.events, self.states, self.delivered = [], {}, collections.Counter()
        self.changed = threading.Condition()
        command = [program("proxzzyctl"), "--control", proxy.control, "--json", "events", "--follow"]
        self.follower = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        for line in self.follower.stdout:
            event = json.loads(line)
            with self.changed:
                self.events.append(event)
                if event["kind"] == "state":
                    self.states[event["host"]] = event["to"]
                elif event["kind"] == "delivered":
                    self.delivered[event["host"]] += 1
                self.changed.notify_all()

    def sleep(self, name):
        request = control.message(control.HOST_SLEEP, control.text(HOST_NAME, name), control.REQUEST | control.ACK)
        with self.lock:
            answer = control.error_of(self.requests.ask(request))
        assert answer is not None and answer[0] == 0, f"{name}: {answer}"

    def wait(self, name, state, delivered, timeout=60):
        """Until the host is in `state` and `delivered` packets in all have gone out to it."""
        with self.changed:
            there = self.changed.wait_for(
                lambda: (self.states.get(name), self.delivered[name]) == (state, delivered), timeout)
        assert there, f"{name} is {self.states.get(name)} with {self.delivered[name]} packets, not {state} with {delivered}"

    def of(self, kind):
        return [event for event in self.events if event["kind"] == kind]


def settled(host):
    """Whether every IPv6 address is there and past duplicate address detection; none may ever fail it."""
    with host.ns.entered():
        have = ipv6_addresses("eth0")
    failed = [address for address, flags in have.items() if flags & IFA_F_DADFAILED]
    assert not failed, f"{host.ns.name} lost {failed} to duplicate address detection"
    return all(a in have and not have[a] & IFA_F_TENTATIVE for a in (host.ip6, host.temp, host.ll))


def live(lan, operator, name, host, number, wakes):
    """One host's life.  A cold client has to ask for the address first.  The hosts begin one after the other, for a
    cycle takes 5 s of each."""
    time.sleep(number * 5 / len(lan.segments[0].hosts))
    for cycle in range(cycles()):
        address = (host.ip4, host.ip6)[(number + cycle) % 2]
        host.suspend()
        operator.sleep(name)
        operator.wait(name, "asleep", cycle)
        if cycle % 4 < 2:
            lan.client.ns.ip("neigh", "del", address, "dev", "eth0", check=False)
        connection = lan.client.connect(address, 22, 60, own_port=FIRST_PORT + cycles() * number + cycle)
        wakes.append(Wake(host, address, connection))
        operator.wait(name, "awake", cycle + 1)
        wait_until(f"{name}'s addresses are settled", lambda: settled(host), 60, 0.05)


def timestamps(frame):
    """The TCP segment's timestamp, and the one that it echoes (RFC 7323 §3.2)."""
    options = frame.l4.data[20:(frame.l4.data[12] >> 4) * 4]
    while options:
        if options[0] == 8:
            return struct.unpack("!II", options[2:10])
        options = options[1 if options[0] == 1 else options[1]:]
    raise AssertionError(f"no timestamp: {frame}")


def by_connection(frames, flags, outward):
    """(client's port, host's address) -> the segments with these flags.  `outward`: from the client to a host."""
    found = {}
    for frame in frames:
        l4 = frame.l4
        if l4 and l4.protocol == 6 and l4.tcp_flags & (TCP_SYN | TCP_ACK) == flags:
            key = (l4.sport, l4.dst) if outward else (l4.dport, l4.src)
            found.setdefault(key, []).append(frame)
    return found


def print_story(host, begin, at_client, from_gateway):
    """What the client's port and the gateway's saw of the host while it woke."""
    for where, frames in (("client", at_client), ("gateway", from_gateway)):
        for frame in frames:
            about = mac_bytes(host.mac) in frame.raw or any(a in str(frame) for a in (host.ip4, host.ip6))
            if about and begin - 0.5 < frame.when < begin + 5:
                print(where, frame)


def assert_first_syns_delivered(lan, wakes, at_client, from_gateway, dropped):
    """The client's first SYN reached the host, once, and the connection is the one that it began.  On a slow machine the
    client's timer may have sent a second one which the host, just back, answered first; then nothing was lost either.
    Returns how often that was.  `dropped` frames were lost by the machine that is client, switch and host in one: no
    more may be missing."""
    asked = by_connection([f for f in at_client if not f.outgoing], TCP_SYN, True)
    answered = by_connection([f for f in at_client if f.outgoing], TCP_SYN | TCP_ACK, False)
    delivered = by_connection(from_gateway, TCP_SYN, True)
    overtaken = lost = 0
    for wake in wakes:
        key = (wake.connection.port, wake.address)
        try:
            first, = delivered.get(key, [])
            assert (first.src, first.dst) == (lan.gateway.mac, wake.host.mac), str(first)
            assert timestamps(first) == timestamps(asked[key][0]), "not the first SYN was delivered"
            echoed = timestamps(answered[key][0])[1]
            begun = next(f for f in asked[key] if timestamps(f)[0] == echoed)
            lost += begun.when > first.when
            assert lost <= dropped, "the delivered SYN was lost, a later one began the connection"
        except Exception:
            print_story(wake.host, asked[key][0].when, at_client, from_gateway)
            raise
        overtaken += begun is not asked[key][0]
    assert len(delivered) == len(wakes), f"{len(delivered)} connections were delivered a SYN, {len(wakes)} were made"
    return overtaken


def assert_woken_by_triggers_only(names, operator, from_gateway):
    """Each Magic Packet belongs to a wake of its host that a packet triggered."""
    windows = {}
    for name, host in names.items():
        mine = [e for e in operator.events if e.get("host") == name]
        begin = [e["time_ns"] / 1e9 for e in mine if e["kind"] == "trigger"]
        end = [e["time_ns"] / 1e9 for e in mine if e["kind"] == "state" and e["to"] == "awake"]
        assert len(begin) == len(end) == cycles(), f"{name}: {len(begin)} triggers, {len(end)} times awake"
        windows[mac_bytes(host.mac)] = list(zip(begin, end))
    packets = [f for f in from_gateway if f.ethertype == ETH_MAGIC]
    clock = 2.5  # a daemon that is not let run hears late of a sign of life
    for packet in packets:
        assert any(begin - clock <= packet.when <= end + clock for begin, end in windows[packet.payload[6:12]]), \
            f"a Magic Packet without a trigger: {packet}"
    assert len(packets) >= len(names) * cycles()


def dropped_by_the_machine():
    """Frames that found the queue of a processor full (/proc/net/softnet_stat): losses of the rig."""
    with open("/proc/net/softnet_stat") as file:
        return sum(int(line.split()[1], 16) for line in file)


@test("bpftool", "tc", hosts=hosts, resume=0.1)
def R30_R32_a_thousand_sleeps_and_wakes_lose_nothing(lan):
    """Real hosts with real duplicate address detection; each sleep ends with one connect()."""
    segment = lan.segments[0]
    before, dropped = traces(lan), dropped_by_the_machine()
    proxy = lan.proxy()
    operator = Operator(proxy)
    names = {f"sleeper{number}": host for number, host in enumerate(segment.hosts)}
    for name, host in names.items():
        proxy.add(host, name)
    at_client, from_gateway = segment.capture("client"), segment.gateway_port()
    wakes, failures = [], queue.SimpleQueue()

    def run_life(*what):
        try:
            live(lan, operator, *what, wakes)
        except Exception as problem:
            failures.put(problem)

    started = time.monotonic()
    lives = [threading.Thread(target=run_life, args=(name, host, number), daemon=True)
             for number, (name, host) in enumerate(names.items())]
    for thread in lives:
        thread.start()
    for thread in lives:
        thread.join()
    dropped = dropped_by_the_machine() - dropped
    print(f"{dropped} frames were lost in this machine's own queues")
    if not failures.empty():
        raise failures.get()
    took = time.monotonic() - started
    wanted = len(names) * cycles()
    assert len(wakes) == wanted, f"{len(wakes)} connections"
    for host in segment.hosts:
        assert host.ns.run("cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6").stdout.strip() == "0"

    sent = from_gateway.frames()
    overtaken = assert_first_syns_delivered(lan, wakes, at_client.frames(), sent, dropped)
    assert_woken_by_triggers_only(names, operator, sent)
    trouble = [event for event in operator.events if event["kind"] in TROUBLE]
    assert not trouble, trouble
    counters = proxy.counters()
    assert counters["ring-full"] == counters["conflict"] == counters["trigger-throttled"] == 0, counters

    status = proxy.ctl("status")
    assert status["hosts_asleep"] == status["held_packets"] == status["held_bytes"] == 0, status
    for table in ("pz_index4_v2", "pz_index6_v2", "pz_by_mac_v2"):
        left = entries(proxy.pins, table)
        assert not left, f"{table} has {left} entries, and every host is awake"
    proxy.stop()
    operator.follower.wait(10)
    assert_nothing_left(lan, before)
    times = sorted(w.connection.connected - w.connection.started for w in wakes)
    print(f"{wanted} wakes in {took:.0f} s; connect() took {times[0]:.2f} to {times[-1]:.2f} s, half of them at most "
          f"{times[wanted // 2]:.2f} s; {overtaken} times a second SYN was answered first; {len(sent)} frames sent")
