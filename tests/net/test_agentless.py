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
        since = time.monotonic()
        lan.host.suspend()
        proxy.wait_state("asleep", timeout=20)
        done = lan.client.run("arping", "-c", "1", "-w", "3", "-I", "eth0", lan.host.ip4)
        assert lan.host.mac.upper() in done.stdout, done.stdout
        assert_slept(lan, proxy, since)
        connect_and_check(lan, proxy, lan.host.ip4)
    probes = wire.frames(is_probe(lan))
    assert all(frame.multicast for frame in probes), "a NIC may wake its host for unicast"
    edges = [(e["from"], e["to"]) for e in events(proxy, "state")]
    # a host that gets no processor for seconds is found asleep once more
    assert set(edges) <= {("awake", "asleep"), ("asleep", "waking"), ("waking", "awake"), ("asleep", "awake")}, edges
    assert edges.count(("asleep", "waking")) >= 2, edges
    assert not proxy.counters()["conflict"]
    print(f"{len(probes)} probes in {time.time() - begin:.0f} s")


@test()
def R32_probing_wakes_nobody_and_ends_when_the_host_sleeps(lan):
    """A probe in each interval, three in all; asleep the host costs none but the base line."""
    proxy = lan.proxy("--probe-interval", "2")
    since = time.monotonic()
    lan.host.suspend()
    wire = lan.segments[0].gateway_port()
    proxy.add(lan.host, "sleeper", "--auto")
    proxy.wait_state("asleep", timeout=30)
    asked = [frame.when for frame in wire.frames(is_probe(lan))]
    addresses = len(lan.host.own_addresses)
    wait_until("the base line", lambda: len(wire.frames(is_probe(lan))) >= PROBES + addresses)
    apart = [later - earlier for earlier, later in zip(asked[:PROBES], asked[1:PROBES])]
    assert all(gap > 1 for gap in apart), apart
    time.sleep(5)  # more than two intervals
    assert len(wire.frames(is_probe(lan))) == PROBES + addresses, "a sleeper is probed"
    assert not wire.frames(lambda frame: frame.ethertype == ETH_MAGIC)
    assert_slept(lan, proxy, since)


@test("arping", hosts=2, ipv6=False)
def R32_whom_the_gateway_cannot_ask_is_not_taken_for_silent(lan):
    """The gateway has no IPv4 address: an agentless host stays awake, or unanswered after a restart; the host that said
    that it sleeps is answered for.  With the address everything goes its way."""
    printer, desk = lan.segments[0].hosts
    own = f"{lan.gateway.ip4}/24"

    def is_answered(host):
        done = lan.client.run("arping", "-c", "1", "-w", "1", "-I", "eth0", host.ip4, check=False)
        return host.mac.upper() in done.stdout

    def not_asked(proxy):
        return [e for e in events(proxy, "failed") if f"printer: cannot probe {printer.ip4}" in e["text"]]

    proxy = lan.proxy("--probe-interval", "1")
    proxy.add(printer, "printer", "--auto")
    proxy.add(desk, "desk")
    proxy.put_to_sleep(desk, "desk")
    printer.suspend()
    proxy.wait_state("asleep", "printer", 20)
    proxy.stop()

    lan.gateway.ns.ip("addr", "del", own, "dev", lan.gateway.interface)
    proxy.start()
    wait_until("who said that he sleeps is answered for", lambda: is_answered(desk), 20)
    wait_until("it is told", lambda: len(not_asked(proxy)) > 3, 20)
    assert proxy.state("printer") == "asleep"
    assert not is_answered(printer), "answered for without having been asked"
    lan.gateway.ns.ip("addr", "add", own, "dev", lan.gateway.interface)
    wait_until("the printer is answered for", lambda: is_answered(printer), 20)

    printer.power_on()
    printer.run("arping", "-c", "1", "-w", "3", "-I", "eth0", lan.client.ip4)
    proxy.wait_state("awake", "printer")
    lan.gateway.ns.ip("addr", "del", own, "dev", lan.gateway.interface)
    before = len(not_asked(proxy))
    wait_until("four probes more could not be sent", lambda: len(not_asked(proxy)) > before + PROBES, 40)
    assert proxy.state("printer") == "awake"
    assert [e["to"] for e in events(proxy, "state") if e["host"] == "printer"] == ["awake"]
    printer.suspend()
    lan.gateway.ns.ip("addr", "add", own, "dev", lan.gateway.interface)
    proxy.wait_state("asleep", "printer", 20)
