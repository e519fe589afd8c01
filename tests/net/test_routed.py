# SPDX-License-Identifier: Apache-2.0
"""Clients behind another interface of the gateway, and programs on the gateway: what they send meets the filter on what
leaves by the served interface."""

import signal
import socket
import time

from case import assert_keeps_addresses, assert_slept, connect_and_check, sleeper, test
from frames import TCP_SYN
from lan import wait_until
from netns import PATIENCE

OURS = "122"  # the protocol of our neighbour entries
UDP_SEGMENT = 103


def senders(lan):
    """Who sends through the gateway's own stack."""
    return {"a client behind another interface": lan.outside, "a program on the gateway": lan.gateway}


def entries(lan, interface="lan0"):
    """The permanent neighbour entries of the gateway: address -> (MAC, protocol)."""
    found = lan.gateway_ns.ip_json("-d", "neigh", "show", "nud", "permanent", "dev", interface)
    return {e["dst"]: (e["lladdr"], e.get("protocol")) for e in found if not e["dst"].startswith("ff")}


def filters(lan, direction="egress"):
    """What `tc` shows of the clsact of lan0."""
    return lan.gateway_ns.run("tc", "filter", "show", "dev", "lan0", direction).stdout


def has_clsact(lan):
    return "clsact" in lan.gateway_ns.run("tc", "qdisc", "show", "dev", "lan0").stdout


def connect_and_see(lan, proxy, sender, address, wire):
    """One connect() wakes the host, and its first SYN is the one that completes."""
    wire.seen.clear()
    connection = connect_and_check(lan, proxy, address, sender=sender)
    syns = wire.frames(lambda f: f.l4 and f.l4.protocol == 6 and f.l4.tcp_flags & 0x12 == TCP_SYN and
                       f.src == lan.gateway.mac and f.l4.sport == connection.port)
    assert syns, "no SYN reached the wire"
    assert syns[0].dst == lan.host.mac, str(syns[0])


@test("ping", outside=True)
def routed_and_local_echo_requests_to_a_sleeper_are_answered(lan):
    proxy = sleeper(lan)
    since = time.monotonic()
    wire = lan.segments[0].gateway_port()
    for who, sender in senders(lan).items():
        for address in (lan.host.ip4, lan.host.ip6):
            answered = proxy.counters()["echo-answered"]
            done = sender.run("ping", "-n", "-c", "3", "-i", "0.1", "-W", "2", address, check=False)
            assert done.returncode == 0, f"{who}: {done.stdout}{done.stderr}"
            assert 1 <= proxy.counters()["echo-answered"] - answered <= 3
    assert not wire.frames(lambda f: f.dst == lan.host.mac), "a frame to the sleeper left the gateway"
    assert_slept(lan, proxy, since)


@test(outside=True)
def R30_routed_and_local_connections_wake_and_complete(lan):
    proxy = sleeper(lan)
    wire = lan.segments[0].gateway_port()
    for who, sender in senders(lan).items():
        for address in (lan.host.ip4, lan.host.ip6):
            print(who)
            connect_and_see(lan, proxy, sender, address, wire)
            assert_keeps_addresses(lan)
            proxy.put_to_sleep(lan.host)
    counters = proxy.counters()
    seen = {name: counters[name] for name in ("trigger-magic", "magic-repeats", "arp-answered", "nd-answered")}
    assert not any(seen.values()), f"the daemon's own Magic Packets and probes met its filter: {seen}"


@test("tshark", outside=True)
def routed_and_local_datagrams_wake_and_are_delivered(lan):
    """The kernel leaves their checksums to the device: they are completed before the delivery."""
    proxy = sleeper(lan, "--wake", "udp/5060")
    wire = lan.segments[0].gateway_port()
    with lan.host.ns.entered():
        service = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with service:
        service.bind(("::", 5060))
        service.settimeout(10 * PATIENCE)
        for who, sender in senders(lan).items():
            for family, address, source in ((socket.AF_INET, lan.host.ip4, "::ffff:" + sender.ip4),
                                            (socket.AF_INET6, lan.host.ip6, sender.ip6)):
                since = time.monotonic()
                ignored = proxy.counters()["port-closed"]
                with sender.ns.entered(), socket.socket(family, socket.SOCK_DGRAM) as client:
                    client.sendto(b"to a port that does not wake", (address, 5061))
                    proxy.wait_counter("port-closed", ignored + 1)
                    assert_slept(lan, proxy, since)
                    client.sendto(who.encode(), (address, 5060))
                    client.sendto(b"and more", (address, 5060))
                data, peer = service.recvfrom(100)
                assert (data, peer[0]) == (who.encode(), source), (data, peer)
                assert service.recvfrom(100)[0] == b"and more"
                proxy.wait_state("awake")
                lan.host.wait_settled()
                proxy.put_to_sleep(lan.host)
    objections = wire.malformed(lan.folder / "gateway.pcap")
    assert not objections, objections


@test(outside=True)
def several_datagrams_in_one_packet_wake_and_are_not_delivered_as_one(lan):
    """UDP_SEGMENT: what the device would have taken apart reaches the filter in one piece, short or long."""
    proxy = sleeper(lan, "--wake", "udp/5060")
    wire = lan.segments[0].gateway_port()
    told = 0
    for who, sender in senders(lan).items():
        for size, count in ((100, 3), (1000, 30)):
            wire.seen.clear()
            since = time.monotonic()
            with sender.ns.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
                client.sendto(b"x" * size * count, (lan.host.ip4, 5060))
            lan.host.wait_up(since=since)
            proxy.wait_state("awake")
            told, before = proxy.run_ctl("events", "--host", "sleeper").stdout.count('"not-held"'), told
            assert told > before, f"{who}, {count} times {size} bytes: nobody was told that they are not held"
            sent = wire.frames(lambda f: f.l4 and f.l4.protocol == 17 and f.l4.dport == 5060)
            assert not sent, [str(f) for f in sent]
            lan.host.wait_settled()
            proxy.put_to_sleep(lan.host)


@test("ping", outside=True)
def neighbour_entries_are_ours_while_the_host_sleeps_and_the_stacks_own_afterwards(lan):
    proxy = lan.proxy()
    proxy.add(lan.host)
    host, gateway = lan.host, lan.gateway
    gateway.run("ping", "-n", "-c", "1", "-W", "2", host.ip4)
    assert not entries(lan)
    proxy.put_to_sleep(host)
    wanted = {address: (host.mac, OURS) for address in host.own_addresses}
    assert entries(lan) == wanted, entries(lan)

    wire = lan.segments[0].gateway_port()
    lan.outside.connect(host.ip4)
    proxy.wait_state("awake")
    assert not entries(lan), entries(lan)
    assert gateway.neighbour(host.ip4)["lladdr"] == host.mac
    assert "protocol" not in gateway.ns.ip_json("-d", "neigh", "show", host.ip4, "dev", "lan0")[0]
    asked = wire.frames(lambda f: f.arp and f.arp[0] == 1 and f.dst == "ff:ff:ff:ff:ff:ff" and f.arp[4] == host.ip4 and
                        f.src == gateway.mac)
    print(f"{len(asked)} broadcast requests, the daemon's probes")
    host.wait_settled()

    proxy.put_to_sleep(host)
    assert entries(lan) == wanted
    proxy.ctl("host", "remove", "sleeper")
    assert not entries(lan)
    assert gateway.run("ping", "-n", "-c", "1", "-W", "1", host.ip4, check=False).returncode == 1


@test("ping", outside=True)
def a_foreign_permanent_neighbour_entry_is_respected(lan):
    host = lan.host
    lan.gateway_ns.ip("neigh", "replace", host.ip4, "lladdr", host.mac, "nud", "permanent", "dev", "lan0")
    proxy = sleeper(lan)
    foreign = {host.ip4: (host.mac, None)}
    assert entries(lan) == {a: (host.mac, OURS) for a in host.own_addresses} | foreign
    lan.outside.run("ping", "-n", "-c", "1", "-W", "2", host.ip4)
    lan.outside.connect(host.ip4)
    proxy.wait_state("awake")
    assert entries(lan) == foreign
    host.wait_settled()
    proxy.put_to_sleep(host)
    proxy.stop()
    assert entries(lan) == foreign


@test("ping", outside=True)
def the_gateway_that_asks_by_itself_is_answered_too(lan):
    """Somebody took the entries away: the stack's own ARP and Neighbour Solicitations meet the filter."""
    proxy = sleeper(lan)
    lan.gateway_ns.ip("neigh", "flush", "nud", "permanent", "dev", "lan0")
    assert not entries(lan)
    for address in (lan.host.ip4, lan.host.ip6):
        lan.gateway.run("ping", "-n", "-c", "1", "-W", "2", address)
    counters = proxy.counters()
    assert counters["arp-answered"] >= 1 and counters["nd-answered"] >= 1, counters
    assert lan.gateway.neighbour(lan.host.ip4)["lladdr"] == lan.host.mac


@test(outside=True)
def nothing_is_left_on_what_leaves_when_the_daemon_ends(lan):
    """SIGTERM, detach, and after kill -9 the next start or `detach` without a daemon."""
    def assert_there(proxy):
        assert len(entries(lan)) == 4 and has_clsact(lan) and filters(lan).count("handle 0x707a") == 1, filters(lan)
        assert proxy.interfaces_status()[0]["egress"] is True

    def assert_gone():
        assert not entries(lan) and not has_clsact(lan), (entries(lan), filters(lan))

    proxy = sleeper(lan)
    assert_there(proxy)
    proxy.stop()
    assert_gone()

    proxy.start()
    wait_until("the host is served again", lambda: len(entries(lan)) == 4, 20)
    assert_there(proxy)
    proxy.ctl("detach")
    assert_gone()
    proxy.wait_ended()

    proxy.start()
    wait_until("the host is served again", lambda: len(entries(lan)) == 4, 20)
    proxy.stop(signal.SIGKILL)
    assert len(entries(lan)) == 4 and "proxzzy_egress" in filters(lan)
    program = filters(lan)
    proxy.start()
    assert_there(proxy)
    assert filters(lan).count("handle 0x707a") == 1 and filters(lan) != program, "the old program is still there"
    proxy.stop(signal.SIGKILL)
    proxy.detach_killed()
    assert_gone()


@test(outside=True)
def a_clsact_with_filters_of_others_survives(lan):
    tc = ("tc", "filter", "add", "dev", "lan0")
    matches_nothing = ("bpf", "bytecode", "1,6 0 0 0")
    lan.gateway_ns.run("tc", "qdisc", "add", "dev", "lan0", "clsact")
    lan.gateway_ns.run(*tc, "ingress", "prio", "1", *matches_nothing)
    lan.gateway_ns.run(*tc, "egress", "prio", "7", *matches_nothing)
    proxy = sleeper(lan)
    assert "proxzzy_egress" in filters(lan)
    proxy.stop()
    assert "proxzzy_egress" not in filters(lan)
    assert "pref 1 bpf" in filters(lan, "ingress"), "somebody else's filter went with ours"
    assert "pref 7 bpf" in filters(lan), "somebody else's filter went with ours"
    lan.gateway_ns.run("tc", "qdisc", "del", "dev", "lan0", "clsact")

    lan.gateway_ns.run("tc", "qdisc", "add", "dev", "lan0", "clsact")
    proxy.start()
    proxy.stop()
    assert has_clsact(lan), "a clsact that proxzzy did not make, without a filter in it"
    lan.gateway_ns.run("tc", "qdisc", "del", "dev", "lan0", "clsact")

    proxy.start()
    lan.gateway_ns.run(*tc, "egress", "prio", "7", *matches_nothing)
    proxy.stop()
    assert has_clsact(lan) and "pref 7 bpf" in filters(lan), "proxzzy made it, and somebody else uses it now"


@test("ping", outside=True)
def explain_tells_what_would_become_of_a_packet_that_leaves(lan):
    proxy = sleeper(lan, "--wake", "tcp/22")
    source, host = lan.outside.ip4, lan.host

    def explain(*words):
        return proxy.ctl("explain", *words, "--egress")

    woken = explain("--tcp", source, f"{host.ip4}:22")
    assert (woken["verdict"], woken["reason"], woken["host"]) == ("drop", "trigger-syn", "sleeper"), woken
    assert explain("--tcp", source, f"{host.ip4}:23")["reason"] == "port-closed"
    answer = explain("--echo", lan.outside.ip6, host.ip6)
    assert (answer["verdict"], answer["reason"]) == ("answer", "echo-answered"), answer
    # the sleeper's own ARP request: coming in it would be a sign of life
    asked = ("--arp", host.ip4, lan.gateway.ip4, "--from-mac", host.mac)
    assert proxy.ctl("explain", *asked)["reason"] == "sign-of-life"
    assert explain(*asked)["reason"] != "sign-of-life"
    assert_slept(lan, proxy)
    assert proxy.counters()["trigger-syn"] == 0, "explaining has consequences"
