# SPDX-License-Identifier: Apache-2.0
"""Another node takes a sleeper's address (R24, RFC 5227 §2.4): defended once, then let go, and the host is woken."""

import json

from case import arp_replies, assert_slept, sleeper, test
from frames import (ALL_NODES, ETH_IP6, Frame, arp_request, ethernet, group_mac, icmpv6, ip_bytes, ipv6,
                    mac_bytes)
from lan import wait_until

LINK_LOCAL4 = "169.254.17.20"


def events(proxy, kind):
    lines = proxy.run_ctl("events", "--host", "sleeper").stdout.splitlines()
    return [e for e in map(json.loads, lines) if e["kind"] == kind]


def announcements(address, mac):
    return lambda f: f.arp is not None and f.arp[:3] == (1, mac, address) and f.arp[4] == address


def unsolicited(address, mac):
    """Neighbour Advertisements to all nodes, O=1, S=0."""
    return lambda f: f.advertisement == (0x20, address, mac) and f.l4.dst == ALL_NODES


def advertise(node, address, lladdr):
    """A Neighbour Advertisement of `address` to all nodes, as a node sends it that just took it."""
    body = b"\x20\0\0\0" + ip_bytes(address) + b"\2\1" + mac_bytes(lladdr)
    message = icmpv6(address, ALL_NODES, 136, body)
    return ethernet(group_mac(ALL_NODES), node.mac, ETH_IP6, ipv6(address, ALL_NODES, 58, message))


def claim4(lan, address):
    """The client announces `address`, which its kernel has taken."""
    lan.client.run("arping", "-U", "-c", "1", "-w", "1", "-I", "eth0", "-s", address, address, check=False)


def claim_again(proxy, claim):
    """Claims until a claim counts as the second one: those within 100 ms are one."""
    wait_until("the first event", lambda: events(proxy, "conflict"))
    wait_until("the second claim counts", lambda: (claim(), len(events(proxy, "conflict")) >= 2)[1])


def assert_let_go(lan, proxy, address, since):
    """The conflict woke the host, and every place that tells of it names it."""
    client, host = lan.client, lan.host
    host.wait_up(since=since)
    told = wait_until("the event", lambda: [e for e in events(proxy, "conflict") if "no longer answered" in e["text"]])
    assert len(told) == 1, told
    for word in (client.mac, address, host.mac, "sleeper", "the host is woken"):
        assert word in told[0]["text"], told[0]
    edge = next(e for e in events(proxy, "state") if e.get("to") == "waking")
    assert edge["text"] == f"conflict: another node uses {address}", edge
    assert (edge["reason"], edge["rule"]) == ("conflict", "conflict"), edge
    wake = next(w for w in proxy.ctl("why", "sleeper")["wakes"] if w["outcome"] != "not-woken")
    assert (wake["reason"], wake["rule"], wake["decided_by"]) == ("conflict", "conflict", "daemon"), wake
    assert client.mac in wake["packet"] and address in wake["packet"], wake
    assert Frame(bytes.fromhex(wake["frame"])).src == client.mac


@test("arping", "tshark")
def R24_a_single_claim_is_defended_and_the_host_sleeps_on(lan):
    """The client's kernel takes the sleeper's address and announces it once."""
    client, host = lan.client, lan.host
    proxy = sleeper(lan)
    wire = lan.segments[0].gateway_port()
    wire.wait("the second announcement", announcements(host.ip4, host.mac), 15)
    before = len(wire.frames(announcements(host.ip4, host.mac)))
    client.ns.ip("addr", "add", f"{host.ip4}/32", "dev", "eth0")
    claim4(lan, host.ip4)
    wire.wait("the defence", announcements(host.ip4, host.mac), count=before + 1)
    told = wait_until("the event", lambda: events(proxy, "conflict"))
    assert len(told) == 1 and told[0]["text"].endswith("; defended"), told
    for word in (client.mac, host.ip4, host.mac, "sleeper"):
        assert word in told[0]["text"], told[0]
    client.ns.ip("addr", "del", f"{host.ip4}/32", "dev", "eth0")
    done = client.run("arping", "-c", "1", "-w", "2", "-I", "eth0", host.ip4)
    assert host.mac.upper() in done.stdout, done.stdout
    assert_slept(lan, proxy)
    assert len(wire.frames(announcements(host.ip4, host.mac))) == before + 1, "defended more than once"
    objections = wire.malformed(lan.folder / "defence.pcap")
    assert not objections, "\n".join(objections)


@test("arping", "ndisc6", resume=1.5)
def R24_a_second_claim_wakes_the_host_and_its_other_addresses_are_answered(lan):
    client, host = lan.client, lan.host
    proxy = sleeper(lan)
    wire = lan.segments[0].gateway_port()
    since = host.nic.events()[-1]["t"]
    client.ns.ip("addr", "add", f"{host.ip4}/32", "dev", "eth0")
    claim4(lan, host.ip4)
    wire.wait("the defence", announcements(host.ip4, host.mac))
    claim_again(proxy, lambda: claim4(lan, host.ip4))
    proxy.wait_state("waking")
    before = len(wire.frames(arp_replies(host)))
    client.packet_socket().send(arp_request(client.mac, client.ip4, host.ip4))
    done = client.run("ndisc6", "-1", "-q", host.ip6, "eth0")
    assert done.stdout.strip().lower() == host.mac, done.stdout
    assert len(wire.frames(arp_replies(host))) == before, "still answered for the address that was let go"
    client.ns.ip("addr", "del", f"{host.ip4}/32", "dev", "eth0")  # the stranger gives up
    assert_let_go(lan, proxy, host.ip4, since)
    proxy.wait_state("awake")
    host.wait_settled()
    host.run("arping", "-U", "-c", "1", "-w", "1", "-I", "eth0", host.ip4, check=False)  # it uses the address again
    proxy.put_to_sleep(host)
    done = client.run("arping", "-c", "1", "-w", "3", "-I", "eth0", host.ip4)
    assert host.mac.upper() in done.stdout, done.stdout


@test("arping")
def R24_a_link_local_address_is_no_exception(lan):
    """169.254/16, ECMA-393 5.5.2: the same defence, and the host is woken to choose another address."""
    client, host = lan.client, lan.host
    host.ns.ip("addr", "add", f"{LINK_LOCAL4}/16", "dev", "eth0")
    proxy = sleeper(lan, "--ip", LINK_LOCAL4)
    wire = lan.segments[0].gateway_port()
    since = host.nic.events()[-1]["t"]
    client.ns.ip("addr", "add", f"{LINK_LOCAL4}/32", "dev", "eth0")
    claim4(lan, LINK_LOCAL4)
    wire.wait("the defence", announcements(LINK_LOCAL4, host.mac))
    claim_again(proxy, lambda: claim4(lan, LINK_LOCAL4))
    assert_let_go(lan, proxy, LINK_LOCAL4, since)


@test()
def R24_advertisements_are_claims_too(lan):
    client, host = lan.client, lan.host
    proxy = sleeper(lan)
    wire = lan.segments[0].gateway_port()
    since = host.nic.events()[-1]["t"]
    raw = client.packet_socket()
    raw.send(advertise(client, host.ip6, client.mac))
    wire.wait("the defence", unsolicited(host.ip6, host.mac))
    assert_slept(lan, proxy)
    claim_again(proxy, lambda: raw.send(advertise(client, host.ip6, client.mac)))
    assert_let_go(lan, proxy, host.ip6, since)
    proxy.wait_state("awake")
