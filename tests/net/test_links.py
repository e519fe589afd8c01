# SPDX-License-Identifier: Apache-2.0
"""The life of a served interface: it loses its link, ends, comes back, is renamed, moves, gets another MAC."""

import contextlib
import json
import time

from case import advertisements, arp_replies, assert_slept, connect_and_check, sleeper, sleeper_in_each, test
from frames import ETH_ARP, TCP_SYN, arp, arp_request, ethernet, packet, tcp
from lan import wait_until
from proxy import Refused
from test_resume import NEVER


def events(proxy, *kinds):
    done = proxy.run_ctl("events")
    return [e for e in map(json.loads, done.stdout.splitlines()) if e["kind"] in kinds]


def interface(proxy, name="lan0"):
    return next(i for i in proxy.interfaces_status() if i["name"] == name)


def unplug(proxy, segment):
    """The gateway's interface loses its carrier."""
    segment.switch.ip("link", "set", "gateway", "down")
    wait_until("the daemon knows that the link is lost", lambda: not interface(proxy, segment.gateway.interface)["up"])


def plug(proxy, segment):
    segment.switch.ip("link", "set", "gateway", "up")
    wait_until("the daemon knows that the link is back", lambda: interface(proxy, segment.gateway.interface)["up"])


def gateway_port_when_up(segment):
    """What the gateway will send, while the switch's port is still down: its socket says that once."""
    wire = segment.gateway_port()
    with contextlib.suppress(OSError):
        wire.frames()
    return wire


def wait_served(proxy, served, name="lan0"):
    wait_until(f"{name} is {'' if served else 'not '}served", lambda: interface(proxy, name)["served"] == served)


def wait_answered(segment, address=None, timeout=15):
    """The client asks until somebody answers; the frame."""
    client, address = segment.client, address or segment.host.ip4
    raw, wire = client.packet_socket(), client.capture()

    def asked():
        raw.send(arp_request(client.mac, client.ip4, address))
        time.sleep(0.05)
        return wire.frames(lambda f: f.arp is not None and f.arp[0] == 2 and f.arp[2] == address)

    return wait_until(f"{address} is answered for", asked, timeout)[0]


def probes(segment):
    """Matches what the gateway sends to find out whether the host is up, for IPv4."""
    return lambda f: f.arp is not None and f.arp[0] == 1 and f.src == segment.gateway.mac and \
        f.arp[4] == segment.host.ip4 and f.arp[2] == segment.gateway.ip4


def assert_untouched(proxy, segment, name):
    """This other network's host is answered for, without a moment of another state."""
    done = segment.client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", segment.host.ip4)
    assert segment.host.mac.upper() in done.stdout, done.stdout
    assert proxy.state(name) == "asleep" and not segment.host.magic()
    edges = [e["to"] for e in events(proxy, "state") if e["host"] == name]
    assert edges == ["arming", "asleep"], edges


def memberships(lan, name="lan0"):
    """The MACs that the interface was told to accept."""
    shown = lan.gateway.ns.run("bridge", "fdb", "show", "dev", name).stdout
    return {line.split()[0] for line in shown.splitlines()}


def pins(proxy):
    return {path.name for path in (proxy.pins / "links").iterdir()}


def has_xdp(namespace, name):
    return "xdp" in namespace.ip_json("-d", "link", "show", "dev", name)[0]


@test("arping", segments=2)
def R2_R33_R34_a_lost_link_stops_its_own_network_alone_and_wakes_nobody(lan):
    proxy = sleeper_in_each(lan)
    first, second = lan.segments
    since = time.monotonic()
    unplug(proxy, first)
    assert_untouched(proxy, second, "host1")
    lost, = events(proxy, "link-lost")
    assert lost["interface"] == "lan0" and "lan0" in lost["text"], lost
    try:
        proxy.ctl("host", "wake", "host0")
    except Refused as refused:
        assert refused.code == 1 and "host0" in refused.text and "link" in refused.text, refused.text
    else:
        raise AssertionError("a wake was accepted, although nothing can be sent")
    assert proxy.state("host0") == "asleep"
    shown = proxy.run_ctl("status", json_output=False).stdout
    assert "lan0 00:00:5e:00:53:01 down" in shown and "lan1 00:00:5e:00:53:41 up" in shown, shown

    plug(proxy, first)
    reply = wait_answered(first)
    assert reply.arp[1] == first.host.mac, str(reply)
    assert_slept(lan, proxy, since, "host0")
    assert_untouched(proxy, second, "host1")
    assert len(events(proxy, "link-back")) == 1, events(proxy, "link-back")
    assert not events(proxy, "failed", "conflict"), "something was sent without a link"
    connect_to = lan.client.connect(first.host.ip4)
    assert connect_to.connected and first.host.magic(since)


@test()
def R2_after_the_link_is_back_the_host_is_looked_for_before_it_is_answered_for(lan):
    proxy = sleeper(lan)
    segment, client, host = lan.segments[0], lan.client, lan.host
    unplug(proxy, segment)
    wire, raw = gateway_port_when_up(segment), client.packet_socket()
    plug(proxy, segment)

    def named():
        raw.send(arp_request(client.mac, client.ip4, host.ip4))
        return wire.frames(lambda f: f.src == host.mac)

    first = wait_until("the proxy stands in for the host again", named, 15)[0]
    asked = wire.frames(probes(segment))
    asked6 = wire.frames(lambda f: f.icmp6 and f.icmp6[0] == 135 and f.src == lan.gateway.mac and f.when < first.when)
    assert len(asked) >= 2 and asked6, "the host was not looked for"
    assert first.when - asked[0].when > 2.5, f"answered {first.when - asked[0].when:.3f} s after the first probe"
    announced = lambda f: f.arp is not None and f.src == host.mac and f.arp[0] == 1 and f.arp[2] == f.arp[4] == host.ip4
    times = [f.when for f in wire.wait("three announcements", announced, 15, 3)]
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert 0.5 < gaps[0] and 1.5 < gaps[1], f"{gaps}: 1 s and 2 s would be right"
    wire.wait("the IPv6 announcement", lambda f: advertisements(host.ip6)(f) and f.src == host.mac)
    assert_slept(lan, proxy)


@test(ipv6=False)
def R2_a_host_that_woke_while_the_link_was_lost_is_not_answered_for(lan):
    """It says nothing by itself: its answer to the proxy's question releases it."""
    proxy = sleeper(lan)
    segment, host = lan.segments[0], lan.host
    unplug(proxy, segment)
    host.power_on()
    host.wait_settled()
    time.sleep(1)  # whatever it says when it comes up, it says to nobody
    assert proxy.state() == "asleep"
    wire = gateway_port_when_up(segment)
    plug(proxy, segment)
    proxy.wait_state("awake")
    assert proxy.ctl("host", "show", "sleeper")["since_reason"] == "sign of life: reply"
    reply = wait_answered(segment)
    assert reply.arp[1] == host.mac
    assert not wire.frames(lambda f: f.src == host.mac), "something was sent in the name of a host that is awake"
    assert not host.magic()


@test()
def R2_a_nic_that_answers_for_its_sleeping_host_proves_nothing_when_the_link_is_back(lan):
    proxy = sleeper(lan)
    segment, client, host = lan.segments[0], lan.client, lan.host
    raw = client.packet_socket()
    by_its_nic = ethernet(lan.gateway.mac, host.mac, ETH_ARP, arp(2, host.mac, host.ip4, lan.gateway.mac, lan.gateway.ip4))
    raw.send(by_its_nic)
    wait_until("the NIC is known to answer by itself", lambda: events(proxy, "nic-answers"))
    unplug(proxy, segment)
    wire = gateway_port_when_up(segment)
    plug(proxy, segment)
    wire.wait("the question whether the host is up", probes(segment))
    raw.send(by_its_nic)
    wire.wait("an announcement", lambda f: f.src == host.mac, 15)
    assert_slept(lan, proxy)


@test("arping")
def R2_the_gateways_own_interface_set_down_and_up_is_a_link_lost_and_back(lan):
    proxy = sleeper(lan)
    lan.gateway.ns.ip("link", "set", "lan0", "down")
    wait_until("it is down", lambda: not interface(proxy)["up"])
    lan.gateway.ns.ip("link", "set", "lan0", "up")
    wait_answered(lan.segments[0])
    assert_slept(lan, proxy)
    assert not events(proxy, "failed"), events(proxy, "failed")
    connect_and_check(lan, proxy, lan.host.ip4)


@test(resume=NEVER, ipv6=False)
def R2_a_packet_held_before_the_link_was_lost_is_delivered_when_it_is_back(lan):
    proxy = sleeper(lan)
    segment, client, host = lan.segments[0], lan.client, lan.host
    inside = host.capture()
    with contextlib.suppress(OSError):  # its interface is down
        inside.frames()
    client.packet_socket().send(packet(host.mac, client.mac, client.ip4, host.ip4, 6,
                                       tcp(client.ip4, host.ip4, 40404, 22)))
    host.nic.wait("magic")
    unplug(proxy, segment)
    assert proxy.state() == "waking"
    host.power_on()
    arrived = lambda f: f.l4 is not None and f.l4.protocol == 6 and f.l4.sport == 40404 and f.l4.tcp_flags == TCP_SYN
    assert not inside.frames(arrived)
    plug(proxy, segment)
    proxy.wait_state("awake")
    delivered = inside.wait("the held packet", arrived)
    assert len(delivered) == 1 and delivered[0].src == lan.gateway.mac, [str(f) for f in delivered]
    assert len(events(proxy, "delivered")) == 1
    assert not events(proxy, "failed"), events(proxy, "failed")


@test(resume=0.3)
def R34_a_host_that_is_being_woken_is_woken_again_when_the_link_is_back(lan):
    """Its first Magic Packet never arrived."""
    proxy = sleeper(lan)
    segment, host = lan.segments[0], lan.host
    segment.switch.ip("link", "set", "host", "down")  # this host's own cable
    proxy.ctl("host", "wake", "sleeper")
    assert proxy.state() == "waking"
    unplug(proxy, segment)
    segment.switch.ip("link", "set", "host", "up")
    assert not host.awake and not host.magic()
    assert proxy.state() == "waking"
    plug(proxy, segment)
    host.wait_up()
    proxy.wait_state("awake")


@test("arping")
def R2_an_interface_without_a_link_at_the_start_is_served_when_it_has_one(lan):
    segment = lan.segments[0]
    segment.switch.ip("link", "set", "gateway", "down")
    wait_until("no carrier", lambda: "LOWER_UP" not in lan.gateway.ns.ip_json("link", "show", "dev", "lan0")[0]["flags"])
    proxy = lan.proxy()
    assert not interface(proxy)["up"] and interface(proxy)["served"]
    assert "no link yet" in proxy.text(), proxy.text()
    proxy.add(lan.host)
    proxy.hand_over(lan.host)
    plug(proxy, segment)
    proxy.wait_state("asleep", timeout=15)
    done = lan.client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", lan.host.ip4)
    assert lan.host.mac.upper() in done.stdout


@test("arping", segments=2)
def R33_an_interface_that_is_deleted_and_made_anew_is_served_again(lan):
    proxy = sleeper_in_each(lan)
    first, second = lan.segments
    before = memberships(lan)
    assert first.host.mac in before
    lan.gateway.ns.ip("link", "del", "lan0")
    wait_served(proxy, False)
    assert pins(proxy) == {"lan1"}, pins(proxy)
    assert_untouched(proxy, second, "host1")
    assert proxy.state("host0") == "asleep"
    assert "lan0 not there" in proxy.run_ctl("status", json_output=False).stdout
    first.recable_gateway()
    wait_answered(first)
    assert interface(proxy)["mode"] == "native" and pins(proxy) == {"lan0", "lan1"}
    assert memberships(lan) >= {m for m in before if m == first.host.mac or m.startswith("33:33:ff")}, memberships(lan)
    assert_slept(lan, proxy, name="host0")
    assert_untouched(proxy, second, "host1")
    assert not events(proxy, "failed"), events(proxy, "failed")
    lan.client.connect(first.host.ip6)
    proxy.wait_state("awake", "host0")


@test("arping", "ethtool")
def R33_an_interface_that_moves_to_another_namespace_and_back_is_served_again(lan):
    proxy = sleeper(lan)
    segment, gateway = lan.segments[0], lan.gateway.ns
    elsewhere = lan.client.ns
    gateway.ip("link", "set", "lan0", "netns", elsewhere.name)
    wait_served(proxy, False)
    wait_until("the program is off", lambda: not has_xdp(elsewhere, "lan0"))
    assert not pins(proxy), pins(proxy)
    elsewhere.ip("link", "set", "lan0", "netns", gateway.name)
    segment.configure(lan.gateway)
    wait_answered(segment)
    assert has_xdp(gateway, "lan0") and pins(proxy) == {"lan0"}
    assert_slept(lan, proxy)
    connect_and_check(lan, proxy, lan.host.ip4)


@test("arping", "ethtool")
def R33_a_renamed_interface_is_let_go_and_served_again_under_its_name(lan):
    proxy = sleeper(lan)
    segment, gateway = lan.segments[0], lan.gateway.ns
    offload = lambda name: "rx-vlan-offload: on" in gateway.run("ethtool", "-k", name).stdout
    assert not offload("lan0")
    rename = lambda old, new: gateway.batch([f"link set {old} down", f"link set {old} name {new}", f"link set {new} up"])
    rename("lan0", "spare0")
    wait_served(proxy, False)
    assert not has_xdp(gateway, "spare0") and not pins(proxy), pins(proxy)
    assert offload("spare0"), "rx-vlan-offload is still off"
    assert lan.host.mac not in memberships(lan, "spare0")
    assert any("spare0" in e["text"] for e in events(proxy, "link-lost")), events(proxy, "link-lost")
    assert lan.client.run("arping", "-c", "1", "-w", "1", "-I", "eth0", lan.host.ip4, check=False).returncode == 1
    rename("spare0", "lan0")
    wait_answered(segment)
    assert not offload("lan0") and has_xdp(gateway, "lan0")
    assert_slept(lan, proxy)
    connect_and_check(lan, proxy, lan.host.ip4)


@test("arping")
def R33_an_interface_that_comes_back_and_cannot_be_served_is_tried_again_when_it_changes(lan):
    """Somebody else's XDP program is on it."""
    proxy = sleeper(lan)
    segment, gateway = lan.segments[0], lan.gateway.ns
    gateway.batch(["link set lan0 down", "link set lan0 name spare0"])
    wait_served(proxy, False)
    gateway.ip("link", "set", "dev", "spare0", "xdpdrv", "obj", lan.folder / "pass.bpf.o", "sec", "xdp")
    gateway.ip("link", "set", "spare0", "name", "lan0")
    wait_until("the reason is told", lambda: [e for e in events(proxy, "failed") if "XDP program" in e["text"]])
    assert not interface(proxy)["served"] and proxy.state() == "asleep"
    before = len(events(proxy, "failed"))
    gateway.ip("link", "set", "dev", "lan0", "xdpdrv", "off")
    gateway.ip("link", "set", "lan0", "up")
    wait_served(proxy, True)
    wait_answered(segment)
    assert before <= len(events(proxy, "failed")) <= before + 1, "it was tried without an end"


@test("arping", "ndisc6")
def answers_and_magic_packets_follow_the_interfaces_new_mac(lan):
    proxy = sleeper(lan, daemon=("--identity", "proxy"))
    segment, client, host = lan.segments[0], lan.client, lan.host
    old, new = lan.gateway.mac, "00:00:5e:00:53:77"
    wire = segment.gateway_port()
    lan.gateway.ns.ip("link", "set", "lan0", "address", new)
    wait_until("the daemon knows", lambda: interface(proxy)["mac"] == new)
    lan.gateway.mac = new
    announced = wire.wait("the announcement of the new MAC", lambda f: f.arp and f.arp[1] == new and
                          f.arp[2] == f.arp[4] == host.ip4, 15)
    since = announced[0].when
    assert wait_answered(segment).arp[1] == new
    done = client.run("ndisc6", "-1", "-q", host.ip6, "eth0")
    assert done.stdout.strip().lower() == new, done.stdout
    connect_and_check(lan, proxy, host.ip4)
    assert {m["src"] for m in host.magic()} == {new}, host.magic()
    assert not wire.frames(lambda f: f.src == old and f.when > since), "sent with the MAC that it had"


@test("arping")
def a_host_whose_vlan_segment_was_on_an_interface_that_came_back_is_answered_with_its_tag(lan):
    """Segments keep their numbers, so records stay valid."""
    proxy = lan.proxy()
    segment, client = lan.segments[0], lan.client
    mac, address = "00:00:5e:00:53:33", "192.0.2.33"
    proxy.ctl("host", "add", "guest", "--mac", mac, "--ip", address, "--vlan", "100")
    proxy.ctl("host", "sleep", "guest")
    proxy.wait_state("asleep", "guest")
    lan.gateway.ns.ip("link", "del", "lan0")
    wait_served(proxy, False)
    segment.recable_gateway()
    raw, wire = client.packet_socket(), segment.gateway_port()

    def answered():
        raw.send(arp_request(client.mac, client.ip4, address, vlan=(100,)))
        return wire.frames(lambda f: f.arp is not None and f.arp[0] == 2 and f.arp[2] == address)

    reply = wait_until("the answer", answered, 15)[0]
    assert [t & 0xFFF for t in reply.vlan] == [100] and reply.arp[1] == mac, str(reply)


@test(segments=2)
def a_link_that_flaps_while_packets_wake_its_host_loses_nothing_else(lan):
    """Wake plans hold the sockets of interfaces that end: for the sanitizers."""
    proxy = sleeper_in_each(lan)
    first, second = lan.segments
    raw = first.client.packet_socket()
    for round_ in range(5):
        for port in range(20):
            raw.send(packet(first.host.mac, first.client.mac, first.client.ip4, first.host.ip4, 6,
                            tcp(first.client.ip4, first.host.ip4, 40000 + port, 22)))
        if round_ % 2:
            lan.gateway.ns.ip("link", "del", "lan0")
            wait_served(proxy, False)
            first.recable_gateway()
        else:
            unplug(proxy, first)
            first.switch.ip("link", "set", "gateway", "up")
    assert_untouched(proxy, second, "host1")
    first.host.wait_up(20)
    proxy.wait_state("awake", "host0", 20)
