# SPDX-License-Identifier: Apache-2.0
"""A gateway whose served interface is a bridge: docs/operations.md, "On an office bridge"."""

import random
import signal
import socket
import time

from case import (advertisements, arp_replies, assert_keeps_addresses, assert_slept, connect_and_check, sleeper, test)
from frames import BROADCAST, TCP_SYN, Capture, PacketSocket, arp_request, ethernet, neighbour_solicitation
from lan import Node, wait_until
from netns import run
from proxy import Proxy
from test_daemon import assert_nothing_left, traces
from test_links import events, has_xdp, interface, pins, wait_answered
from test_restart import asking, serves_anew
from test_routed import entries

PORTS = ("lan0", "port1", "port2")


def attach_pass(lan, ns, interface):
    """What XDP sends at the other end of a veth arrives only where a program is, too."""
    run(["ip", "-n", ns.name, "link", "set", "dev", interface, "xdpdrv", "obj", lan.folder / "pass.bpf.o", "sec", "xdp"])


def bridge(lan):
    """Makes the gateway's interface a bridge with three ports: a switch with the client, the sleeper's cable, a third
    machine's, which is the result."""
    gateway, old = lan.gateway_ns, lan.gateway.interface
    third = Node(lan.namespace("third"), "eth0", 30, 0)
    third.ns.create()
    third.ns.sysctl(ipv6__conf__default__accept_dad=0, ipv6__conf__default__router_solicitations=0)
    gateway.bridge_only()
    lan.switch.ip("link", "set", lan.host.port, "netns", gateway.name, "name", "port1")
    gateway.batch([f"addr flush dev {old}",
                   f"link add name port2 type veth peer name eth0 address {third.mac} netns {third.ns.name}"])
    attach_pass(lan, lan.host.card, "n1")
    lan.segments[0].configure(third)
    attach_pass(lan, third.ns, "eth0")
    for ns, name in ((third.ns, "eth0"), (lan.host.card, "n1")):  # tags inside the frame, as a cable carries them
        ns.run("ethtool", "-K", name, "txvlan", "off", "tx-vlan-stag-hw-insert", "off")
    lan.gateway.interface = "br0"
    lan.gateway.mac = "00:00:5e:00:53:02"
    create_bridge(lan)
    return third


def create_bridge(lan, ports=PORTS):
    lan.gateway_ns.batch([
        f"link add name br0 address {lan.gateway.mac} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        *(f"link set {port} master br0 up" for port in ports)])
    lan.segments[0].configure(lan.gateway)


def status_ports(proxy):
    """name -> mode of the ports that are served."""
    return {port["name"]: port["mode"] for port in interface(proxy, "br0")["port"] if port["served"]}


def wait_ports(proxy, *names):
    wait_until(f"{names} are served", lambda: set(status_ports(proxy)) == set(names))


def answer(node, host, address=None):
    """The first answer to `node`, which asks until there is one."""
    address = address or host.ip4
    wire, raw = node.capture("in"), node.packet_socket()
    question = neighbour_solicitation(node.mac, node.ip6, address) if ":" in address else \
        arp_request(node.mac, node.ip4, address)
    match = advertisements(address) if ":" in address else lambda f: f.arp and f.arp[0] == 2 and f.arp[2] == address

    def asked():
        raw.send(question)
        time.sleep(0.05)
        return wire.frames(match)

    return wait_until(f"{address} is answered for", asked)[0]


def answered(node, host):
    wire = node.capture("in")
    node.packet_socket().send(arp_request(node.mac, node.ip4, host.ip4))
    time.sleep(0.1)
    return wire.frames(arp_replies(host))


def assert_not_answered(node, host, times=5):
    wire, raw = node.capture("in"), node.packet_socket()
    for _ in range(times):
        raw.send(arp_request(node.mac, node.ip4, host.ip4))
        time.sleep(0.05)
    assert not wire.frames(arp_replies(host)), "it is answered for"


def send_across(raw, wire, frames):
    """Sends no more at a time than the rings of the rig have room for; what arrives of it."""
    known, arrived = set(frames), []
    for first in range(0, len(frames), 50):
        for frame in frames[first:first + 50]:
            raw.send(frame)
        arrived = wire.wait("the frames", lambda f: f.raw in known, 20, min(first + 50, len(frames)))
    return arrived


@test("arping", "ndisc6", "ping")
def R18_R25_a_client_behind_any_port_of_a_bridge_gets_answers(lan):
    third = bridge(lan)
    proxy = sleeper(lan)
    assert status_ports(proxy) == dict.fromkeys(PORTS, "native"), interface(proxy, "br0")
    shown = proxy.run_ctl("status", json_output=False).stdout
    assert "br0 00:00:5e:00:53:02 up, bridge, with egress filter" in shown and "port1 up, native" in shown, shown
    host = lan.host
    since = time.monotonic()
    with host.card.entered():
        wire = Capture(PacketSocket("n1"), "in")
    for node in (lan.client, third):
        done = node.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", host.ip4)
        assert host.mac.upper() in done.stdout, done.stdout
        done = node.run("ndisc6", "-1", "-q", "-w", "10000", host.ip6, "eth0")
        assert done.stdout.strip().lower() == host.mac, done.stdout
    for node in (lan.client, third, lan.gateway):
        for address in (host.ip4, host.ip6):
            node.run("ping", "-n", "-c", "2", "-i", "0.1", "-W", "10", address)
    assert {mac for mac, _ in entries(lan, "br0").values()} == {host.mac}
    assert not wire.frames(lambda f: f.dst == host.mac), "unicast to the sleeper left the gateway"
    assert_slept(lan, proxy, since)


@test()
def R30_a_connection_from_behind_any_port_of_a_bridge_or_from_the_gateway_wakes_and_completes(lan):
    third = bridge(lan)
    proxy = sleeper(lan)
    host = lan.host
    for number, (node, address) in enumerate(((third, host.ip6), (lan.gateway, host.ip4))):
        if number:
            proxy.put_to_sleep(host)
        with host.card.entered():
            wire = Capture(PacketSocket("n1"), "in")
        connection = node.connect(address)
        late = connection.connected - host.wait_usable(address, connection.started)
        assert late < 1.0, f"connected {late:.3f} s after the host was usable"
        syns = wire.frames(lambda f, port=connection.port: f.l4 and f.l4.protocol == 6 and f.l4.sport == port and
                           f.l4.tcp_flags & 0x12 == TCP_SYN and f.src == lan.gateway.mac)
        assert [f.dst for f in syns[:1]] == [host.mac], "the SYN that was held did not reach the host's cable"
        proxy.wait_state("awake")
        assert_keeps_addresses(lan)


@test()
def R34_a_magic_packet_leaves_by_every_port_of_a_bridge(lan):
    third = bridge(lan)
    proxy = sleeper(lan)
    at_client, at_third = lan.client.capture("in"), third.capture("in")
    proxy.ctl("host", "wake", "sleeper")
    lan.host.wait_up()
    for wire in (at_client, at_third):
        found = wire.wait("the Magic Packet", lambda f: f.ethertype == 0x0842)[0]
        assert (found.src, found.dst) == (lan.gateway.mac, BROADCAST), str(found)
    proxy.wait_state("awake")


def odd_frames(source, destination):
    """Frames that are nobody's sleeper's: of all kinds that a bridge passes on, short, long and tagged ones too."""
    dice = random.Random(1)
    payload = bytes(dice.randrange(256) for _ in range(1500))
    groups = (destination, BROADCAST, "33:33:00:00:00:fb", "01:00:5e:00:00:fb", "01:80:c2:00:00:42")
    frames = [ethernet(to, source, kind, payload[:size], tags, pad=False)
              for to in groups for kind in (0x0800, 0x0806, 0x86DD, 0x0842, 0x88B5, 0x8863, 0x22F0, 1000)
              for tags in ((), (5,), (7 << 13 | 5,), (6, 5)) for size in (46, 100, 1492)]
    frames += [ethernet(to, source, kind, payload[:size], pad=False)
               for to in groups for kind in (0x0800, 0x0806, 0x86DD, 0x0842, 0x88B5) for size in (1, 4, 20, 45)]
    frames += [ethernet(to, source, 0x88B5, bytes([i]) + payload[:size]) for to in groups for i in range(4)
               for size in (59, 60, 1000, 1499)]
    dice.shuffle(frames)
    return frames


@test()
def frames_between_two_others_cross_a_bridge_byte_for_byte(lan):
    third = bridge(lan)
    for node in (lan.client, third):
        node.ns.run("ethtool", "-K", "eth0", "txvlan", "off", "tx-vlan-stag-hw-insert", "off")
    proxy = sleeper(lan)
    for sender, receiver in ((lan.client, third), (third, lan.client)):
        frames = odd_frames(sender.mac, receiver.mac)
        wire, raw = receiver.capture("in"), sender.packet_socket()
        receiver.packet_socket().send(ethernet(BROADCAST, receiver.mac, 0x88B5, b"learn me"))
        arrived = send_across(raw, wire, frames)
        assert [f.raw for f in arrived] == frames, "one twice, or not in order"
    assert_slept(lan, proxy)


@test("ping")
def frames_of_a_host_behind_a_bridge_are_forwarded_after_its_release(lan):
    third = bridge(lan)
    proxy = sleeper(lan)
    host = lan.host
    assert_slept(lan, proxy)
    host.power_on()
    proxy.wait_state("awake")
    host.wait_settled()
    for node in (lan.client, third, lan.gateway):
        for address in (host.ip4, host.ip6):
            node.run("ping", "-n", "-c", "2", "-i", "0.2", "-W", "10", address)
    frames = odd_frames(host.mac, third.mac)
    wire, raw = third.capture("in"), host.packet_socket()
    host.ns.run("ethtool", "-K", "eth0", "txvlan", "off", "tx-vlan-stag-hw-insert", "off")
    host.card.run("ethtool", "-K", "n1", "txvlan", "off", "tx-vlan-stag-hw-insert", "off")
    sent = frames[:200]
    assert [f.raw for f in send_across(raw, wire, sent)] == sent


@test("ethtool")
def R33_a_port_that_joins_a_bridge_is_served_and_one_that_leaves_is_let_go(lan):
    third = bridge(lan)
    gateway, host = lan.gateway_ns, lan.host
    gateway.ip("link", "set", "port2", "nomaster")
    offload = lambda name: "rx-vlan-offload: on" in gateway.run("ethtool", "-k", name).stdout
    assert offload("port2")
    proxy = sleeper(lan)
    wait_ports(proxy, "lan0", "port1")
    assert not has_xdp(gateway, "port2") and offload("port2") and not offload("lan0")

    gateway.ip("link", "set", "port2", "master", "br0")
    wait_ports(proxy, *PORTS)
    assert pins(proxy) == set(PORTS) and not offload("port2")
    assert answer(third, host).arp[1] == host.mac
    assert answer(third, host, host.ip6).advertisement[2] == host.mac

    gateway.ip("link", "set", "port2", "nomaster")
    wait_ports(proxy, "lan0", "port1")
    assert not has_xdp(gateway, "port2") and offload("port2") and pins(proxy) == {"lan0", "port1"}
    assert_not_answered(third, host)
    assert answer(lan.client, host).arp[1] == host.mac

    gateway.ip("link", "set", "port2", "master", "br0")
    wait_ports(proxy, *PORTS)
    gateway.ip("link", "set", "port2", "down")
    gateway.ip("link", "set", "port2", "name", "desk2")
    gateway.ip("link", "set", "desk2", "up")
    wait_ports(proxy, "lan0", "port1", "desk2")
    assert pins(proxy) == {"lan0", "port1", "desk2"}, pins(proxy)
    assert answer(third, host).arp[1] == host.mac

    gateway.ip("link", "set", "desk2", "netns", third.ns.name)
    wait_ports(proxy, "lan0", "port1")
    assert not has_xdp(third.ns, "desk2") and pins(proxy) == {"lan0", "port1"}
    third.ns.ip("link", "del", "desk2")
    assert any("port port2 has left" in e["text"] for e in events(proxy, "interface")), events(proxy, "interface")
    assert not events(proxy, "failed", "link-lost"), events(proxy, "failed", "link-lost")
    assert_slept(lan, proxy)
    connect_and_check(lan, proxy, host.ip4)


@test()
def R33_a_port_that_cannot_be_served_is_named_and_the_others_go_on(lan):
    third = bridge(lan)
    gateway = lan.gateway_ns
    attach_pass(lan, gateway, "port2")
    proxy = sleeper(lan)
    assert set(status_ports(proxy)) == {"lan0", "port1"}
    assert "port2 up, not served" in proxy.run_ctl("status", json_output=False).stdout
    failed, = events(proxy, "failed")
    assert "port port2 is not served" in failed["text"] and "XDP program" in failed["text"], failed
    assert answer(lan.client, lan.host).arp[1] == lan.host.mac
    gateway.ip("link", "set", "dev", "port2", "xdpdrv", "off")
    with proxy.stopped():  # it hears of both at once
        gateway.batch(["link set port2 down", "link set port2 up"])
    wait_ports(proxy, *PORTS)
    assert answer(third, lan.host).arp[1] == lan.host.mac


@test()
def R33_a_port_whose_successor_looks_the_same_is_served(lan):
    third = bridge(lan)
    proxy = sleeper(lan)
    gateway = lan.gateway_ns
    index = gateway.ip_json("link", "show", "port2")[0]["ifindex"]
    with proxy.stopped():
        gateway.ip("link", "del", "port2")
        gateway.batch([f"link add name port2 index {index} type veth peer name eth0 address {third.mac} "
                       f"netns {third.ns.name}", "link set port2 master br0 up"])
        lan.segments[0].configure(third)
        attach_pass(lan, third.ns, "eth0")
    assert answer(third, lan.host).arp[1] == lan.host.mac
    assert has_xdp(gateway, "port2") and pins(proxy) == set(PORTS)
    assert_slept(lan, proxy)


@test("bridge")
def a_port_is_served_as_soon_as_spanning_tree_lets_it_forward(lan):
    third = bridge(lan)
    gateway = lan.gateway_ns
    gateway.ip("link", "set", "port2", "nomaster")
    gateway.ip("link", "set", "br0", "type", "bridge", "stp_state", 1, "forward_delay", 400)  # 4 s twice
    proxy = sleeper(lan)
    forwards = lambda: gateway.ip_json("-d", "link", "show", "port2")[0]["linkinfo"]["info_slave_data"]["state"] == \
        "forwarding"
    gateway.ip("link", "set", "port2", "master", "br0")
    early, asked = [], 0
    while not forwards():
        found = answered(third, lan.host)
        if not forwards():
            early += found
            asked += 1
    assert asked > 3 and not early, f"{asked} times asked, answered: {[str(f) for f in early]}"
    wait_ports(proxy, *PORTS)
    assert answer(third, lan.host).arp[1] == lan.host.mac
    assert_slept(lan, proxy)


@test()
def R33_a_port_that_moves_between_two_bridges_is_served_where_it_is(lan):
    """In whatever order the daemon was told of the bridges."""
    third = bridge(lan)
    gateway = lan.gateway_ns
    gateway.batch(["link add name br1 address 00:00:5e:00:53:03 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
                   "link set br1 up", "link set port2 master br1"])
    proxy = lan.proxy(interfaces=["br0", "br1"])
    proxy.ctl("host", "add", "other", "--mac", "02:00:00:00:00:77", "--ip", "192.0.2.77", "--interface", "br1")
    proxy.ctl("host", "add", "sleeper", "--mac", lan.host.mac, "--ip", lan.host.ip4, "--interface", "br0")
    proxy.ctl("host", "sleep", "other")
    proxy.put_to_sleep(lan.host)
    proxy.wait_state("asleep", "other")
    for name, address in (("br0", lan.host.ip4), ("br1", "192.0.2.77"), ("br0", lan.host.ip4), ("br1", "192.0.2.77")):
        gateway.ip("link", "set", "port2", "master", name)
        answer(third, lan.host, address)
        wait_until("the status says so",
                   lambda: [p["name"] for p in interface(proxy, name)["port"] if p["served"]][-1:] == ["port2"])
    assert_not_answered(third, lan.host)
    assert answer(lan.client, lan.host).arp[1] == lan.host.mac


@test()
def R33_a_bridge_that_is_deleted_and_made_anew_is_served_again(lan):
    bridge(lan)
    proxy = sleeper(lan)
    gateway = lan.gateway_ns
    gateway.ip("link", "del", "br0")
    wait_until("it is not served", lambda: not interface(proxy, "br0")["served"])
    wait_until("nothing is left on the ports", lambda: not any(has_xdp(gateway, port) for port in PORTS))
    assert not pins(proxy) and proxy.state() == "asleep"
    for port in PORTS:
        assert "rx-vlan-offload: on" in gateway.run("ethtool", "-k", port).stdout, port
    create_bridge(lan)
    wait_ports(proxy, *PORTS)
    assert wait_answered(lan.segments[0]).arp[1] == lan.host.mac
    assert_slept(lan, proxy)
    assert not events(proxy, "failed"), events(proxy, "failed")
    wait_until("the gateway's own entries are back", lambda: entries(lan, "br0"))
    connect_and_check(lan, proxy, lan.host.ip4)


@test()
def a_restart_on_a_bridge_loses_no_answer(lan):
    """Killed and started again with a port renamed meanwhile, then in place."""
    bridge(lan)
    proxy = sleeper(lan)
    gateway = lan.gateway_ns
    with asking(lan):
        proxy.stop(signal.SIGKILL)
        gateway.batch(["link set port2 down", "link set port2 name desk2", "link set desk2 up"])
        proxy.start()
        assert proxy.state() == "asleep"
        wait_ports(proxy, "lan0", "port1", "desk2")
        assert pins(proxy) == {"lan0", "port1", "desk2"}
        proxy.process.send_signal(signal.SIGUSR1)
        serves_anew(proxy, 3)
    assert_slept(lan, proxy)
    proxy.stop(signal.SIGKILL)
    gateway.ip("link", "set", "desk2", "nomaster")
    proxy.start()
    assert not has_xdp(gateway, "desk2") and pins(proxy) == {"lan0", "port1"}, "it has left meanwhile"
    connect_and_check(lan, proxy, lan.host.ip4)


def bridge_traces(lan):
    """What is on the gateway's devices, the bridge's ports among them."""
    found = traces(lan)
    for port in PORTS:
        link = lan.gateway_ns.ip_json("-d", "link", "show", "dev", port)[0]
        found |= {f"{port}: {key} {link.get(key)}" for key in ("xdp", "promiscuity", "allmulti")}
        found.add(f"{port}: " + next(line for line in lan.gateway_ns.run("ethtool", "-k", port).stdout.splitlines()
                                     if "rx-vlan-offload" in line))
    return found


@test("tc", "ethtool")
def a_stop_leaves_nothing_on_a_bridge(lan):
    bridge(lan)
    before = bridge_traces(lan)
    proxy = sleeper(lan)
    there = bridge_traces(lan) - before
    for what in ("port1: xdp", "br0: neighbour", "clsact", "links/port2"):
        assert any(what in trace for trace in there), f"no {what}: {sorted(there)}"
    assert not any("br0: promiscuity" in trace for trace in there), "all that it forwards goes to the stack"
    proxy.stop()
    assert bridge_traces(lan) == before, f"{bridge_traces(lan) ^ before}"
    proxy.start()
    wait_until("it is served again", lambda: entries(lan, "br0"))
    proxy.stop(signal.SIGKILL)
    proxy.detach_killed()
    assert {t for t in bridge_traces(lan) ^ before if "offload" not in t and "socket" not in t} == set()


@test()
def a_bridge_and_one_of_its_ports_cannot_both_be_served(lan):
    bridge(lan)
    proxy = Proxy(lan, interfaces=["port1", "br0"])
    checked = lan.gateway_ns.run(*proxy.command(), "--check-config", check=False)
    assert checked.returncode == 2 and "'port1' is a port of --interface 'br0'" in checked.stderr, checked
    proxy.start(wait=False)
    assert proxy.wait_ended() == 1
    assert "'port1' is a port of --interface 'br0'" in proxy.text(), proxy.text()
    assert not any(has_xdp(lan.gateway_ns, port) for port in PORTS)


@test()
def a_port_that_is_served_by_its_name_and_joins_a_served_bridge_stays_as_it_is(lan):
    bridge(lan)
    gateway = lan.gateway_ns
    gateway.ip("link", "set", "port2", "nomaster")
    proxy = lan.proxy(interfaces=["br0", "port2"])
    gateway.ip("link", "set", "port2", "master", "br0")
    told = wait_until("somebody says so", lambda: events(proxy, "failed"))
    assert "port port2 is not served" in told[0]["text"], told
    gateway.ip("link", "set", "port2", "nomaster")
    wait_until("it has left", lambda: any("has left" in e["text"] for e in events(proxy, "interface")))
    assert has_xdp(gateway, "port2") and "port2" in pins(proxy)


@test()
def R18_a_tagged_host_behind_a_bridge_is_answered_on_its_vlan_and_nowhere_else(lan):
    third = bridge(lan)
    third.ns.run("ethtool", "-K", "eth0", "txvlan", "off", "tx-vlan-stag-hw-insert", "off")
    proxy = lan.proxy()
    address, mac = "192.0.2.33", "00:00:5e:00:53:33"
    other = "00:00:5e:00:53:34"
    proxy.ctl("host", "add", "five", "--mac", mac, "--ip", address, "--vlan", "5")
    proxy.ctl("host", "add", "six", "--mac", other, "--ip", address, "--vlan", "6")
    for name in ("five", "six"):
        proxy.ctl("host", "sleep", name)
        proxy.wait_state("asleep", name, 15)
    wire, raw = third.capture("in"), third.packet_socket()
    for tags in ((), (7,), (5, 6), (5,), (6,)):
        raw.send(arp_request(third.mac, third.ip4, address, vlan=tags))
    replies = lambda f: f.arp is not None and f.arp[0] == 2 and f.arp[2] == address
    found = wire.wait("both answers", replies, count=2)
    time.sleep(0.2)
    found = wire.frames(replies)
    assert [([t & 0xFFF for t in f.vlan], f.arp[1]) for f in found] == [([5], mac), ([6], other)], [str(f) for f in found]


@test("arping", segments=2)
def one_address_on_two_interfaces_is_two_hosts(lan):
    """Both are answered for, each with its own MAC, and to wake one leaves the other asleep."""
    first, second = lan.segments
    second.host.ns.ip("addr", "add", f"{first.host.ip4}/24", "dev", "eth0")
    second.client.ns.ip("addr", "add", f"{first.client.ip4}/24", "dev", "eth0")
    proxy = lan.proxy()
    for number, segment in enumerate(lan.segments):
        proxy.ctl("host", "add", f"host{number}", "--mac", segment.host.mac, "--ip", first.host.ip4, "--interface",
                  segment.gateway.interface)
        proxy.hand_over(segment.host, f"host{number}")
    for number in range(2):
        proxy.wait_state("asleep", f"host{number}", 15)
    for segment in lan.segments:
        done = segment.client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", first.host.ip4)
        assert segment.host.mac.upper() in done.stdout, done.stdout
    for number, other in ((1, 0), (0, 1)):
        segment = lan.segments[number]
        if number == 0:
            proxy.put_to_sleep(second.host, "host1")
        since = time.monotonic()
        segment.client.flush_neighbours()
        with segment.client.ns.entered():
            socket.create_connection((first.host.ip4, 22), 20, (first.client.ip4, 0)).close()
        proxy.wait_state("awake", f"host{number}")
        assert proxy.state(f"host{other}") == "asleep" and not lan.segments[other].host.magic(since)
