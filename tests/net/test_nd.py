# SPDX-License-Identifier: Apache-2.0
"""Neighbour Discovery for a sleeper, asked by ndisc6 and by the kernel."""

from case import advertisements, assert_proper_advertisement, assert_slept, sleeper, test
from frames import ALL_NODES, group_mac, neighbour_solicitation
from lan import wait_until


@test("ndisc6")
def R25_R26_R27_R28_ndisc6_gets_the_sleepers_mac(lan):
    """Global, temporary and link-local address, by multicast."""
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    wire = client.capture()
    for address in (host.ip6, host.temp, host.ll):
        done = client.run("ndisc6", "-1", "-q", "-r", "3", "-w", "2000", address, "eth0")
        assert done.stdout.strip().lower() == host.mac, f"{address}: {done.stdout}"
        source = client.ll if address == host.ll else None
        answer = wire.frames(advertisements(address))[0]
        assert_proper_advertisement(answer, host, address, client.mac, source or answer.l4.dst)
        assert answer.l4.dst in (client.ip6, client.ll)
    assert proxy.counters()["nd-answered"] >= 3
    assert_slept(lan, proxy)


@test("ip")
def R25_R26_R27_R28_the_kernels_unicast_nd_probe_finds_the_sleeper_reachable(lan):
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    wire = lan.segments[0].capture("gateway", "out")
    for address in (host.ip6, host.temp, host.ll):
        client.ns.ip("neigh", "replace", address, "lladdr", host.mac, "nud", "probe", "dev", "eth0")
        wait_until(f"{address} is REACHABLE", lambda a=address: client.neighbour(a).get("state") == ["REACHABLE"])
        assert client.neighbour(address)["lladdr"] == host.mac
        assert "router" not in client.neighbour(address), "the sleeper is no router"
    probes = wire.frames(lambda f: f.icmp6 and f.icmp6[0] == 135 and f.dst == host.mac)
    assert len(probes) >= 3, "the kernel's probes were not unicast"
    assert_slept(lan, proxy)


@test("ip")
def R25_R26_duplicate_address_detection_of_a_sleepers_address_fails(lan):
    """Another node's kernel gives the address up, because the proxy defends it."""
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    wire = client.capture()
    client.ns.sysctl(ipv6__conf__eth0__accept_dad=1, ipv6__conf__eth0__dad_transmits=1)
    client.ns.ip("addr", "add", f"{host.ip6}/64", "dev", "eth0")
    client.ns.ip("addr", "add", "2001:db8:1::77/64", "dev", "eth0")
    wait_until("the kernel gave the sleeper's address up", lambda: "dadfailed" in client.addresses()[host.ip6])
    wait_until("a free address passes", lambda: "tentative" not in client.addresses()["2001:db8:1::77"])
    assert "dadfailed" not in client.addresses()["2001:db8:1::77"]
    answer = wire.frames(advertisements(host.ip6))[0]
    assert_proper_advertisement(answer, host, host.ip6, group_mac(ALL_NODES), ALL_NODES, solicited=False)
    assert proxy.counters()["nd-dad-answered"] >= 1
    assert_slept(lan, proxy)


@test()
def R29_solicitations_behind_extension_headers_are_answered(lan):
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    wire = client.capture()
    raw = client.packet_socket()
    padding = bytes([58, 0, 1, 4, 0, 0, 0, 0])  # a destination options header with nothing but padding
    two = bytes([60, 0, 1, 4, 0, 0, 0, 0]) + padding
    for count, extension in enumerate((padding, two), 1):
        raw.send(neighbour_solicitation(client.mac, client.ip6, host.ip6, extension=extension))
        answer = wire.wait("the advertisement", advertisements(host.ip6), count=count)[-1]
        assert_proper_advertisement(answer, host, host.ip6, client.mac, client.ip6)
    assert_slept(lan, proxy)


@test()
def R25_solicitations_without_the_link_layer_option_are_answered(lan):
    """By unicast it may be left out (RFC 4861 §4.3); the answer goes to where the question came from."""
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    wire = client.capture()
    client.packet_socket().send(neighbour_solicitation(
        client.mac, client.ip6, host.ip6, dst=host.ip6, dst_mac=host.mac, option=False))
    answer = wire.wait("the advertisement", advertisements(host.ip6))[0]
    assert_proper_advertisement(answer, host, host.ip6, client.mac, client.ip6)
    assert_slept(lan, proxy)
