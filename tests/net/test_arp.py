# SPDX-License-Identifier: Apache-2.0
"""ARP for a sleeper, asked by iputils' arping and by the kernel."""

from case import (arp_replies, assert_proper_arp_reply, assert_slept, sleeper, test)
from frames import BROADCAST, UNSPECIFIED4, arp_request
from lan import wait_until


@test("arping")
def R18_R20_R22_arping_by_broadcast_gets_the_sleepers_mac(lan):
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    wire = client.capture()
    before = proxy.counters()["arp-answered"]
    done = client.run("arping", "-b", "-c", "2", "-w", "5", "-I", "eth0", host.ip4)
    assert done.stdout.count(f"[{host.mac.upper()}]") == 2, done.stdout
    replies = wire.frames(arp_replies(host))
    assert len(replies) == 2, [str(f) for f in replies]
    for reply in replies:
        assert_proper_arp_reply(reply, host, client.mac, client.ip4)
    assert proxy.counters()["arp-answered"] - before == 2
    assert_slept(lan, proxy)


@test("arping")
def R19_R22_arping_by_unicast_gets_the_sleepers_mac(lan):
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    to_gateway = lan.segments[0].capture("gateway", "out")
    done = client.run("arping", "-c", "3", "-w", "6", "-I", "eth0", host.ip4)
    assert done.stdout.count(f"[{host.mac.upper()}]") == 3, done.stdout
    unicast = to_gateway.frames(lambda f: f.arp and f.src == client.mac and f.dst == host.mac)
    assert unicast, "after the first answer arping asks by unicast, and that must reach the gateway"
    assert_slept(lan, proxy)


@test("arping")
def R21_arping_D_learns_that_the_address_is_taken(lan):
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    wire = client.capture()
    done = client.run("arping", "-D", "-c", "1", "-w", "2", "-I", "eth0", host.ip4, check=False)
    assert done.returncode == 1, f"arping -D found no duplicate:\n{done.stdout}"
    replies = wire.frames(arp_replies(host))
    assert replies
    assert_proper_arp_reply(replies[0], host, client.mac, UNSPECIFIED4)
    assert_slept(lan, proxy)


@test("ip", "ping")
def R19_the_kernels_unicast_arp_probe_finds_the_sleeper_reachable(lan):
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    wire = lan.segments[0].capture("gateway", "out")
    client.ns.ip("neigh", "replace", host.ip4, "lladdr", host.mac, "nud", "probe", "dev", "eth0")
    wait_until("the entry is REACHABLE", lambda: client.neighbour(host.ip4).get("state") == ["REACHABLE"])
    assert client.neighbour(host.ip4)["lladdr"] == host.mac
    assert wire.frames(lambda f: f.arp and f.src == client.mac and f.dst == host.mac), "the probe was no unicast"
    assert_slept(lan, proxy)


@test()
def R20_only_requests_for_the_sleepers_address_are_answered(lan):
    """An answer, an announcement and a request for another address are not for the proxy to answer."""
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    wire = lan.segments[0].gateway_port()
    raw = client.packet_socket()
    reply = bytearray(arp_request(client.mac, client.ip4, host.ip4))
    reply[21] = 2
    odd_operation = bytearray(arp_request(client.mac, client.ip4, host.ip4))
    odd_operation[21] = 9
    for frame in (bytes(reply), bytes(odd_operation), arp_request(client.mac, client.ip4, client.ip4),
                  arp_request(client.mac, client.ip4, "192.0.2.99")):
        raw.send(frame)
    raw.send(arp_request(client.mac, client.ip4, host.ip4, dst=BROADCAST))  # comes last
    wire.wait("the answer to the one proper request", arp_replies(host))
    assert len(wire.frames(lambda f: f.arp)) == 1, [str(f) for f in wire.seen]
    assert_slept(lan, proxy)


@test()
def the_switch_learns_where_the_sleeper_is_answered(lan):
    """Nobody has asked yet, but unicast for the sleeper already goes to the gateway."""
    host, segment = lan.host, lan.segments[0]
    assert segment.switch_port_of(host.mac) == "host"
    proxy = sleeper(lan)
    wait_until("the sleeper's frames go to the gateway", lambda: segment.switch_port_of(host.mac) == "gateway", 3)
    lan.client.connect(host.ip4)
    proxy.wait_state("awake")
    host.wait_settled()
    assert segment.switch_port_of(host.mac) == "host", "the host is awake, but its frames still go to the gateway"
