# SPDX-License-Identifier: Apache-2.0
"""What the network tests share: the register of tests, and the steps that many of them begin with."""

import contextlib
import functools
import shutil
import struct
import subprocess

from frames import ALL_NODES, Frame, TCP_RST
from lan import Lan, OWN_PROGRAMS
from netns import PATIENCE

TESTS = {}


class Skip(Exception):
    """The machine lacks what the test needs."""


def test(*programs, **lan_settings):
    """Registers a function of a LAN as a test.  `programs` are what it runs besides what every LAN needs.  A setting may
    be a function that is asked when the test runs."""

    def register(function):
        @functools.wraps(function)
        def body():
            missing = [p for p in (*OWN_PROGRAMS, *programs) if shutil.which(p) is None]
            if missing:
                raise Skip(f"not installed: {', '.join(missing)}")
            settings = {name: value() if callable(value) else value for name, value in lan_settings.items()}
            with Lan(function.__name__, **settings) as lan:
                function(lan)

        assert function.__name__ not in TESTS, f"two tests have the name {function.__name__}"
        TESTS[function.__name__] = body
        return function

    return register


def sleeper(lan, *options, daemon=()):
    """A daemon, and the LAN's host asleep in its care as "sleeper".  `options` go to `proxzzyctl host add`."""
    proxy = lan.proxy(*daemon)
    proxy.add(lan.host, "sleeper", *options)
    proxy.put_to_sleep(lan.host)
    return proxy


@contextlib.contextmanager
def talking(lan):
    """The host is never silent for long, however slow the machine is: its frames reach the gateway."""
    ping = lan.host.ns.start("ping", "-n", "-q", "-i", "0.2", lan.gateway.ip4, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        ping.kill()
        ping.wait()


def sleeper_in_each(lan):
    """A daemon, and the host of each segment asleep in its care, as "host0", "host1", ..."""
    proxy = lan.proxy()
    for i, segment in enumerate(lan.segments):
        proxy.add(segment.host, f"host{i}")
        proxy.hand_over(segment.host, f"host{i}")
    for i in range(len(lan.segments)):
        proxy.wait_state("asleep", f"host{i}", 15)
    return proxy


def assert_slept(lan, proxy, since=0.0, name="sleeper"):
    """The host slept through everything since `since`, and the proxy still stands in for it."""
    assert not lan.host.awake, "the host woke up"
    magic = lan.host.magic(since)
    assert not magic, f"Magic Packets were sent: {magic}"
    state = proxy.state(name)
    assert state == "asleep", f"the host's state is {state}"


def connect_and_check(lan, proxy, address, port=22, sender=None):
    """The main promise: one connect() wakes the host and completes within a second of the host being up."""
    sender = sender or lan.client
    connection = sender.connect(address, port)
    up = lan.host.wait_up(since=connection.started)
    usable = lan.host.wait_usable(address, connection.started)
    late = connection.connected - usable
    print(f"magic after {lan.host.magic(connection.started)[0]['t'] - connection.started:.3f} s, up after "
          f"{up - connection.started:.3f} s, connected {late:.3f} s after the host was usable")
    assert late < PATIENCE, f"connected {late:.3f} s after the host was up"
    source = sender.ip6 if ":" in address else sender.ip4
    accepted = lan.host.service.wait("accept", since=connection.started)
    assert accepted["from"] == source, f"the host sees {accepted['from']}, not {source}"
    proxy.wait_state("awake")
    return connection


def assert_keeps_addresses(lan):
    """The host is back with every address, none lost to duplicate address detection, and nobody else answers for it."""
    lan.host.wait_settled()
    done = lan.host.run("arping", "-D", "-c", "1", "-w", "2", "-I", "eth0", lan.host.ip4, check=False)
    assert done.returncode == 0, f"arping -D on the host: somebody answers for {lan.host.ip4}:\n{done.stdout}"


def arp_replies(host):
    """Matches the ARP replies that give `host`'s first IPv4 address."""
    return lambda f: f.arp is not None and f.arp[0] == 2 and f.arp[2] == host.ip4


def announcements(address, mac):
    return lambda f: f.arp is not None and f.arp[:3] == (1, mac, address) and f.arp[4] == address


def is_syn_to(address):
    return lambda f: f.l4 is not None and f.l4.protocol == 6 and f.l4.dst == address


def advertisements(address):
    return lambda f: f.advertisement is not None and f.advertisement[1] == address


def is_reset(frame: Frame):
    l4 = frame.l4
    return l4 is not None and l4.protocol == 6 and bool(l4.tcp_flags & TCP_RST)


def assert_proper_arp_reply(frame, host, asker_mac, asker_ip, tags=()):
    """Every field of the answer that `host` itself would have given (RFC 826, R20, R22)."""
    assert frame.src == host.mac, f"Ethernet source {frame.src}"
    assert frame.dst == asker_mac, f"Ethernet destination {frame.dst}"
    assert [t & 0xFFF for t in frame.vlan] == list(tags), f"tags {frame.vlan}"
    assert frame.arp == (2, host.mac, host.ip4, asker_mac, asker_ip), f"{frame.arp}"
    assert struct.unpack("!HHBB", frame.payload[:6]) == (1, 0x0800, 6, 4), frame.payload[:6].hex()
    assert len(frame.raw) >= 60, f"{len(frame.raw)} bytes: shorter than the shortest Ethernet frame"


def assert_proper_advertisement(frame, host, address, asker_mac, asker_ip, solicited=True, tags=()):
    """Every field of the answer that `host` itself would have given (RFC 4861 §4.4, §7.2.4)."""
    flags, target, lladdr = frame.advertisement
    assert frame.src == host.mac, f"Ethernet source {frame.src}"
    assert frame.dst == asker_mac, f"Ethernet destination {frame.dst}"
    assert [t & 0xFFF for t in frame.vlan] == list(tags), f"tags {frame.vlan}"
    assert target == address and lladdr == host.mac, f"{target} at {lladdr}"
    assert flags == (0x60 if solicited else 0x20), f"flags {flags:#x}; R=0, S={int(solicited)}, O=1 would be right"
    assert frame.l4.hops == 255, f"hop limit {frame.l4.hops}"
    assert frame.l4.src == address, f"source {frame.l4.src}"
    assert frame.l4.dst == (asker_ip if solicited else ALL_NODES), f"destination {frame.l4.dst}"
