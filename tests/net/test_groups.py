# SPDX-License-Identifier: Apache-2.0
"""A sleeper stays in its multicast groups: as a switch that snoops sees it, with the kernel's own querier."""

import socket
import struct
import time

from case import assert_slept, sleeper, test
from frames import ETH_IP4, checksum, ethernet, ip_bytes, ip_text, ipv4
from lan import wait_until
from test_snooping import listeners

GROUP4, GROUP6 = "239.1.2.3", "ff05::1:2:3"
MDNS4, MDNS6, LLMNR4, LLMNR6 = "224.0.0.251", "ff02::fb", "224.0.0.252", "ff02::1:3"
ROUTERS, ALL_MLD = "224.0.0.2", "ff02::16"
OFFERS = ("--hostname", "desk.local", "--group", GROUP4, "--group", GROUP6)
QUERY, REPORT, LEAVE = 0x11, 0x16, 0x17
INTERVAL, MEMBERSHIP = 2, 5  # seconds between queries, and until a port falls away


def start_querier(lan, igmp=2, mld=2):
    """Timers as RFC 2236 §8 has them, a sixtieth of its defaults; the kernel counts hundredths."""
    lan.switch.sysctl(ipv6__conf__switch__disable_ipv6=0, ipv6__conf__switch__accept_dad=0)
    lan.switch.run("ip", "link", "set", "switch", "type", "bridge", "mcast_igmp_version", igmp,
                   "mcast_mld_version", mld, "mcast_query_interval", 100 * INTERVAL,
                   "mcast_query_response_interval", 100, "mcast_membership_interval", 100 * MEMBERSHIP,
                   "mcast_querier_interval", 100 * MEMBERSHIP,
                   "mcast_startup_query_interval", 100, "mcast_startup_query_count", 2, "mcast_querier", 1)


def igmp(frame):
    """(type, group, TTL, Router Alert, destination), or None."""
    l4 = frame.l4
    if not l4 or l4.protocol != 2 or ":" in l4.src:
        return None
    options = frame.payload[20:(frame.payload[0] & 15) * 4]
    return l4.data[0], ip_text(l4.data[4:8]), l4.hops, options == b"\x94\x04\0\0", l4.dst


def igmp_reports(group, kind=REPORT):
    return lambda f: (m := igmp(f)) is not None and m[:2] == (kind, group)


def mld_records(frame):
    """(record type, group) of an MLDv2 report (RFC 3810 §5.2)."""
    message = frame.icmp6
    if not message or message[0] != 143:
        return []
    records, at = [], 8
    for _ in range(struct.unpack("!H", message[6:8])[0]):
        kind, more, sources = struct.unpack("!BBH", message[at:at + 4])
        records.append((kind, ip_text(message[at + 4:at + 20])))
        at += 20 + 16 * sources + 4 * more
    return records


def mld_reports(group, kinds=(2, 4)):
    """MODE_IS_EXCLUDE or CHANGE_TO_EXCLUDE: a member."""
    return lambda f: any(kind in kinds and g == group for kind, g in mld_records(f))


def send_to(node, group, port=7000):
    with node.ns.entered():
        family = socket.AF_INET6 if ":" in group else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            index = socket.if_nametoindex(node.interface)
            if family == socket.AF_INET:
                one = struct.pack("=4s4si", bytes(4), ip_bytes(node.ip4), index)
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, one)
            else:
                sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            sender.sendto(b"to the group", (group, port))


def to_group(group):
    return lambda f: f.l4 and f.l4.protocol == 17 and f.l4.dst == group


@test("bridge", multicast_snooping=True)
def R39_R40_R60_R84_a_sleeper_stays_in_its_groups_over_many_queries(lan):
    """The switch asks every two seconds, and forgets a port after five without an answer."""
    start_querier(lan)
    wire = lan.segments[0].gateway_port()
    proxy = sleeper(lan, *OFFERS)
    slept = time.monotonic()
    for group in (GROUP4, GROUP6, MDNS6, LLMNR6):
        wait_until(f"the gateway is in {group}", lambda: "gateway" in listeners(lan, group), 5)
    while time.monotonic() < slept + 4 * MEMBERSHIP:
        for group in (GROUP4, GROUP6, MDNS6, LLMNR6):
            assert "gateway" in listeners(lan, group), f"{time.monotonic() - slept:.1f} s: {group} is gone"
        time.sleep(0.2)
    for group in (GROUP4, MDNS4, LLMNR4):  # the switch keeps no list of 224.0.0.x
        reports = wire.frames(igmp_reports(group))
        assert len(reports) >= 4 * MEMBERSHIP // INTERVAL, f"{len(reports)} reports of {group}"
        for frame in reports:
            assert igmp(frame)[2:] == (1, True, group), igmp(frame)
            assert frame.l4.src == lan.host.ip4 and frame.src == lan.gateway.mac, str(frame)
    for group in (GROUP6, MDNS6, LLMNR6):
        reports = wire.frames(mld_reports(group))
        assert len(reports) >= 4 * MEMBERSHIP // INTERVAL, f"{len(reports)} reports of {group}"
        assert all((f.l4.src, f.l4.dst, f.l4.hops) == (lan.host.ll, ALL_MLD, 1) for f in reports), str(reports[0])
    for group in (GROUP4, GROUP6):
        port = lan.segments[0].capture("gateway", "out")
        send_to(lan.client, group)
        port.wait(f"what is sent to {group}, at the gateway", to_group(group))
    assert not wire.frames(lambda f: (m := igmp(f)) and m[0] == LEAVE), "nothing was left"
    assert_slept(lan, proxy)

    proxy.stop()
    for group in (GROUP4, GROUP6, MDNS6, LLMNR6):
        wait_until(f"{group} falls away", lambda: "gateway" not in listeners(lan, group), 3 * MEMBERSHIP)
    port = lan.segments[0].capture("gateway", "out")
    send_to(lan.client, GROUP4)
    time.sleep(0.5)
    assert not port.frames(to_group(GROUP4)), "the test would show nothing"


@test("bridge", multicast_snooping=True)
def R39_a_sleepers_groups_are_reported_before_anybody_asks(lan):
    wire = lan.segments[0].gateway_port()
    proxy = sleeper(lan, *OFFERS)
    for group in (GROUP4, MDNS4, LLMNR4):
        wire.wait(f"a report of {group}", igmp_reports(group))
        wire.wait(f"another of {group}", igmp_reports(group), 30, 2)
    for group in (GROUP6, MDNS6, LLMNR6):
        wire.wait(f"two reports of {group}", mld_reports(group), count=2)
    assert "gateway" in listeners(lan, GROUP4) and "gateway" in listeners(lan, MDNS6)
    assert_slept(lan, proxy)


@test("bridge", multicast_snooping=True)
def R40_mldv1_and_igmpv3_queriers_are_answered(lan):
    """IGMPv2 reports answer version 3 (RFC 3376 §7.3); MLDv1 gets reports of its version (RFC 3810 §8.2.1)."""
    start_querier(lan, igmp=3, mld=1)
    time.sleep(INTERVAL)
    proxy = sleeper(lan, *OFFERS)
    wire = lan.segments[0].gateway_port()
    time.sleep(3 * MEMBERSHIP)
    for group in (GROUP4, GROUP6, MDNS6):
        assert "gateway" in listeners(lan, group), group
    assert len(wire.frames(igmp_reports(GROUP4))) >= 2 * MEMBERSHIP // INTERVAL
    reports = wire.frames(lambda f: f.icmp6 and f.icmp6[0] == 131 and ip_text(f.icmp6[8:24]) == GROUP6)
    assert len(reports) >= 2 * MEMBERSHIP // INTERVAL, len(reports)
    assert all(f.l4.dst == GROUP6 and f.l4.hops == 1 for f in reports)
    assert_slept(lan, proxy)


@test("bridge", "tshark", multicast_snooping=True)
def R39_groups_are_left_when_the_host_is_removed_and_not_when_it_wakes(lan):
    start_querier(lan)
    wire = lan.segments[0].gateway_port()
    proxy = sleeper(lan, *OFFERS)
    wait_until("the gateway is in the group", lambda: "gateway" in listeners(lan, GROUP4))

    def left():
        leaves = {m[1]: m[2:] for f in wire.frames() if (m := igmp(f)) and m[0] == LEAVE}
        return leaves, {g for f in wire.frames() for kind, g in mld_records(f) if kind == 3}

    lan.host.power_on()
    proxy.wait_state("awake")
    reports = len(wire.frames(igmp_reports(GROUP4)))
    time.sleep(2 * INTERVAL)
    assert left() == ({}, set()), left()
    assert len(wire.frames(igmp_reports(GROUP4))) == reports, "reported for a host that is awake"

    lan.host.wait_settled()
    proxy.put_to_sleep(lan.host)
    wait_until("the gateway is in the group", lambda: "gateway" in listeners(lan, GROUP4))
    proxy.ctl("host", "remove", "sleeper")
    wait_until("all groups are left", lambda: set(left()[0]) >= {GROUP4, MDNS4, LLMNR4} and
               left()[1] >= {GROUP6, MDNS6, LLMNR6}, 5)
    assert all(how == (1, True, ROUTERS) for how in left()[0].values()), left()
    wait_until("the switch let go", lambda: "gateway" not in listeners(lan, GROUP4), MEMBERSHIP)
    objections = wire.malformed(lan.folder / "groups.pcap")
    assert not objections, "\n".join(objections)


@test()
def R40_a_query_for_one_group_is_answered_and_one_for_another_is_not(lan):
    """As a querier asks when somebody else left (RFC 2236 §3), a tenth of a second for the answers."""
    proxy = sleeper(lan, *OFFERS)
    wire = lan.segments[0].gateway_port()
    time.sleep(12)  # the second report of the take-over is out
    raw = lan.client.packet_socket()
    before = len(wire.frames(igmp_reports(GROUP4)))
    raw.send(group_query(lan.client, "239.9.9.9"))
    raw.send(group_query(lan.client, GROUP4))
    wire.wait("the report", igmp_reports(GROUP4), count=before + 1)
    time.sleep(0.5)
    assert len(wire.frames(igmp_reports(GROUP4))) == before + 1
    assert not wire.frames(igmp_reports("239.9.9.9"))
    assert_slept(lan, proxy)


def group_query(node, group):
    message = struct.pack("!BBH4s", QUERY, 1, 0, ip_bytes(group))
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    mac = "01:00:5e:" + bytes([ip_bytes(group)[1] & 127, *ip_bytes(group)[2:]]).hex(":")
    return ethernet(mac, node.mac, ETH_IP4, ipv4(node.ip4, group, 2, message, ttl=1, options=b"\x94\x04\0\0"))
