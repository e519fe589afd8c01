# SPDX-License-Identifier: Apache-2.0
"""Hosts without an agent: silent probes tell that they sleep, and their first frame that they are awake; and hosts whose
addresses nobody configures, which are seen in use."""

import signal
import time

from case import arp_replies, assert_slept, connect_and_check, talking, test
from frames import (ALL_NODES, BROADCAST, ETH_ARP, ETH_IP4, ETH_IP6, ETH_MAGIC, arp, arp_request, ethernet, group_mac,
                    icmpv6, ip_bytes, ip_text, ipv4, ipv6, mac_bytes, neighbour_solicitation, udp)
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
    proxy.wait_state("awake")  # it answers
    assert not wire.frames(arp_replies(lan.host)), "answered for a host that is awake"

    for _ in range(2):
        since = time.monotonic()
        lan.host.suspend()
        proxy.wait_state("asleep", timeout=20)
        done = lan.client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", lan.host.ip4)
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
    printer.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", lan.client.ip4)
    proxy.wait_state("awake", "printer")
    lan.gateway.ns.ip("addr", "del", own, "dev", lan.gateway.interface)
    before = len(not_asked(proxy))
    wait_until("four probes more could not be sent", lambda: len(not_asked(proxy)) > before + PROBES, 40)
    assert proxy.state("printer") == "awake"
    assert [e["to"] for e in events(proxy, "state") if e["host"] == "printer"][-1] == "awake"
    printer.suspend()
    lan.gateway.ns.ip("addr", "add", own, "dev", lan.gateway.interface)
    proxy.wait_state("asleep", "printer", 20)


def learned(proxy):
    return set(proxy.ctl("host", "show", "sleeper")["learned"])


def speak(lan, *addresses):
    """The host asks for the client's MAC from each of the addresses."""
    for address in addresses:
        lan.host.flush_neighbours()
        to = lan.client.ip4 if ":" not in address else lan.client.ll if address == lan.host.ll else lan.client.ip6
        source = "eth0" if address == lan.host.ll else address
        lan.host.run("ping", "-n", "-c", "1", "-w", "5", "-I", source, to)


def learn(lan, proxy, *addresses):
    """The host uses them until all are learned; two that are used at once may be one to the kernel."""
    def missing():
        return set(addresses) - learned(proxy)

    def all_are_learned():
        speak(lan, *missing())
        time.sleep(0.1)
        return not missing()

    wait_until("its addresses are learned", all_are_learned, 20)


def is_answered(lan, address):
    """Whether somebody answers the client for `address`."""
    lan.client.ns.ip("neigh", "flush", "dev", "eth0")
    on = ("-I", "eth0") if address == lan.host.ll else ()
    lan.client.run("ping", "-n", "-c", "1", "-w", "2", *on, address, check=False)
    return lan.client.neighbour(address).get("lladdr") == lan.host.mac


def learning(lan, *more):
    """A daemon that is told of the host's MAC and no more, by a file."""
    files = Files(lan)
    files.write_config("probe-interval = 1")
    files.host("sleeper").write_text("\n".join([f"mac = {lan.host.mac}", "learn = yes", "wake = tcp/22", *more]) + "\n")
    return files.proxy()


@test(resume=1.0)
def R32_the_mac_is_enough_for_a_host_that_is_seen_in_use(lan):
    """A file with its MAC: what the host uses is learned, answered for when it sleeps, and there after a kill -9."""
    proxy = learning(lan, "auto = yes")
    assert not learned(proxy)
    own = set(lan.host.own_addresses)
    learn(lan, proxy, *own)
    assert learned(proxy) == own
    assert proxy.state() == "awake", "it answers, so it is awake"

    for address in (lan.host.ip4, lan.host.ip6):
        since = time.monotonic()
        lan.host.suspend()
        proxy.wait_state("asleep", timeout=20)
        for each in own:
            assert is_answered(lan, each), f"nobody answers for {each}"
        assert_slept(lan, proxy, since)
        proxy.stop(signal.SIGKILL)
        proxy.start()
        assert learned(proxy) == own, "learned addresses are lost with the daemon"
        assert proxy.state() == "asleep"
        for each in own:
            assert is_answered(lan, each), f"nobody answers for {each} after a restart"
        connect_and_check(lan, proxy, address)
    assert not proxy.counters()["conflict"]


@test()
def R32_a_host_that_changes_its_address_while_awake_is_answered_for_at_the_new_one(lan):
    proxy = learning(lan)
    new = "192.0.2.77"
    learn(lan, proxy, lan.host.ip4)
    lan.host.ns.ip("addr", "del", f"{lan.host.ip4}/24", "dev", "eth0")
    lan.host.ns.ip("addr", "add", f"{new}/24", "dev", "eth0")
    learn(lan, proxy, new)
    with talking(lan):
        wait_until("the old one is forgotten", lambda: lan.host.ip4 not in learned(proxy), 20)
    proxy.put_to_sleep(lan.host)
    assert is_answered(lan, new)
    assert not is_answered(lan, lan.host.ip4), "answered for an address that the host has given up"
    told = [(e["kind"], e["text"].split()[0]) for e in events(proxy, "address-learned", "address-forgotten")]
    told = [(kind, address) for kind, address in told if address in (lan.host.ip4, new)]
    assert told == [("address-learned", lan.host.ip4), ("address-learned", new),
                    ("address-forgotten", lan.host.ip4)], told


@test()
def what_others_say_and_what_a_host_forwards_teaches_nothing(lan):
    proxy = learning(lan)
    host, client, gateway = lan.host, lan.client, lan.gateway
    stranger, far, stray = "192.0.2.90", "203.0.113.9", "2001:db8:1::90"
    own = host.packet_socket()
    other = client.packet_socket()
    everybody = group_mac(ALL_NODES)

    def advertisement(sender, lladdr, flags):
        body = bytes([flags, 0, 0, 0]) + ip_bytes(stray) + b"\2\1" + mac_bytes(lladdr)
        return ethernet(everybody, sender, ETH_IP6, ipv6(stray, ALL_NODES, 58, icmpv6(stray, ALL_NODES, 136, body)))

    own.send(arp_request(host.mac, gateway.ip4, client.ip4))  # the gateway's own address
    # by another node, also with the host's MAC in the message
    other.send(arp_request(client.mac, stranger, gateway.ip4))
    other.send(ethernet(BROADCAST, client.mac, ETH_ARP, arp(1, host.mac, stranger, "00:00:00:00:00:00", gateway.ip4)))
    other.send(advertisement(client.mac, host.mac, 0x20))
    # by the host: what it routes, what it says of another MAC, what it probes, and what it answers for others
    datagram = udp(far, gateway.ip4, 4000, 4000, b"routed")
    own.send(ethernet(gateway.mac, host.mac, ETH_IP4, ipv4(far, gateway.ip4, 17, datagram)))
    own.send(ethernet(BROADCAST, host.mac, ETH_ARP, arp(1, client.mac, stranger, "00:00:00:00:00:00", gateway.ip4)))
    own.send(ethernet(BROADCAST, host.mac, ETH_ARP, arp(1, host.mac, "0.0.0.0", "00:00:00:00:00:00", stranger)))
    own.send(ethernet(client.mac, host.mac, ETH_ARP, arp(2, host.mac, stranger, client.mac, client.ip4)))
    own.send(neighbour_solicitation(host.mac, "::", stray, option=False))
    own.send(advertisement(host.mac, client.mac, 0x20))
    own.send(advertisement(host.mac, host.mac, 0x00))
    own.send(arp_request(host.mac, "127.0.0.1", client.ip4))

    def announced():
        own.send(arp_request(host.mac, host.ip4, host.ip4))  # what comes too fast is not looked at
        return host.ip4 in learned(proxy)

    wait_until("the last frame was looked at", announced, interval=0.3)
    assert learned(proxy) <= set(host.own_addresses), learned(proxy)


@test()
def a_host_that_nobody_ever_saw_sleeps_unanswered_and_wakes_by_magic_packet(lan):
    proxy = learning(lan)
    proxy.put_to_sleep(lan.host)
    assert not learned(proxy)
    assert not is_answered(lan, lan.host.ip4)
    proxy.ctl("host", "wake", "sleeper")
    lan.host.wait_up()
    speak(lan, lan.host.ip4)
    proxy.wait_state("awake")
