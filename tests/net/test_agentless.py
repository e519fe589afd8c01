# SPDX-License-Identifier: Apache-2.0
"""Hosts without an agent: silent probes tell that they sleep, and their first frame that they are awake."""

import time

from case import arp_replies, assert_slept, connect_and_check, test
from frames import ETH_MAGIC, ip_text
from lan import wait_until
from test_config import Files
from test_resume import events

PROBES = 3  # without an answer


def is_probe(lan):
    """Matches what the gateway asks for the host's addresses: ARP requests and solicitations from its own MAC."""
    def matches(frame):
        if frame.src != lan.gateway.mac:
            return False
        asked = frame.icmp6 and frame.icmp6[0] == 135 and ip_text(frame.icmp6[8:24])
        if frame.arp and frame.arp[0] == 1:
            asked = frame.arp[4]
        return asked in lan.host.own_addresses
    return matches


@test("arping", resume=1.0)
def R32_one_file_is_enough_for_a_host_without_an_agent(lan):
    """Nobody says anything to proxzzy: the host falls asleep, is woken by a connection, and falls asleep again."""
    files = Files(lan)
    files.write_config("probe-interval = 1")
    files.write_host("sleeper", lan.host, "auto = yes")
    wire = lan.segments[0].gateway_port()
    begin = time.time()
    proxy = files.proxy()
    wait_until("it was probed", lambda: len(wire.frames(is_probe(lan))) >= 2 * PROBES, 30)
    assert proxy.state() == "awake", "it answers, so it is awake"
    assert not wire.frames(arp_replies(lan.host)), "answered for a host that is awake"

    for _ in range(2):
        lan.host.suspend()
        since = lan.host.nic.events()[-1]["t"]
        proxy.wait_state("asleep", timeout=20)
        done = lan.client.run("arping", "-c", "1", "-w", "3", "-I", "eth0", lan.host.ip4)
        assert lan.host.mac.upper() in done.stdout, done.stdout
        assert_slept(lan, proxy, since)
        connect_and_check(lan, proxy, lan.host.ip4)
    probes = wire.frames(is_probe(lan))
    assert all(frame.multicast for frame in probes), "a NIC may wake its host for unicast"
    edges = [(e["from"], e["to"]) for e in events(proxy, "state")]
    assert edges == 2 * [("awake", "asleep"), ("asleep", "waking"), ("waking", "awake")], edges
    assert not proxy.counters()["conflict"]
    print(f"{len(probes)} probes in {time.time() - begin:.0f} s")


@test()
def R32_probing_wakes_nobody_and_ends_when_the_host_sleeps(lan):
    """A probe in each interval, three in all; asleep the host costs none but the base line."""
    proxy = lan.proxy("--probe-interval", "2")
    proxy.add(lan.host, "sleeper", "--auto")
    lan.host.suspend()
    since = lan.host.nic.events()[-1]["t"]
    wire = lan.segments[0].gateway_port()
    proxy.wait_state("asleep", timeout=30)
    asked = [frame.when for frame in wire.frames(is_probe(lan))]
    addresses = len(lan.host.own_addresses)
    wait_until("the base line", lambda: len(wire.frames(is_probe(lan))) >= PROBES + addresses)
    apart = [later - earlier for earlier, later in zip(asked[:PROBES], asked[1:PROBES])]
    assert all(gap > 1.5 for gap in apart), apart
    time.sleep(5)  # more than two intervals
    assert len(wire.frames(is_probe(lan))) == PROBES + addresses, "a sleeper is probed"
    assert not wire.frames(lambda frame: frame.ethertype == ETH_MAGIC)
    assert_slept(lan, proxy, since)
