# SPDX-License-Identifier: Apache-2.0
"""Another node takes a sleeper's address (R24, RFC 5227 §2.4): defended once, then let go, and the host is woken.  And
frames in the host's name that another proxy sent, or that come back: neither the host nor a conflict."""

import contextlib
import json
import threading
import time

from case import announcements, arp_replies, assert_slept, connect_and_check, sleeper, test
from frames import (ALL_NODES, ETH_IP6, Frame, arp_request, ethernet, group_mac, icmpv6, ip_bytes, ipv6,
                    mac_bytes, neighbour_solicitation)
from lan import Node, wait_until
from netns import run

LINK_LOCAL4 = "169.254.17.20"


def events(proxy, kind):
    lines = proxy.run_ctl("events", "--host", "sleeper").stdout.splitlines()
    return [e for e in map(json.loads, lines) if e["kind"] == kind]


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
    wait_until("the second claim within 10 s counts", lambda: (
        claim(), [e for e in events(proxy, "conflict") if "no longer answered" in e["text"]])[1], 30)


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
    wire = lan.segments[0].gateway_port()
    proxy = sleeper(lan)
    wire.wait("the second announcement", announcements(host.ip4, host.mac), count=2)
    before = len(wire.frames(announcements(host.ip4, host.mac)))
    client.ns.ip("addr", "add", f"{host.ip4}/32", "dev", "eth0")
    claim4(lan, host.ip4)
    wire.wait("the defence", announcements(host.ip4, host.mac), count=before + 1)
    told = wait_until("the event", lambda: events(proxy, "conflict"))
    assert len(told) == 1 and told[0]["text"].endswith("; defended"), told
    for word in (client.mac, host.ip4, host.mac, "sleeper"):
        assert word in told[0]["text"], told[0]
    client.ns.ip("addr", "del", f"{host.ip4}/32", "dev", "eth0")
    done = client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", host.ip4)
    assert host.mac.upper() in done.stdout, done.stdout
    assert_slept(lan, proxy)
    assert len(wire.frames(announcements(host.ip4, host.mac))) == before + 1, "defended more than once"
    objections = wire.malformed(lan.folder / "defence.pcap")
    assert not objections, "\n".join(objections)


@test("arping", "ndisc6", resume=6.0)
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
    done = client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", host.ip4)
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


@contextlib.contextmanager
def reflected(lan):
    """All that the gateway sends comes back to it, as by a loop, or an access point that repeats what it hears."""
    with lan.switch.entered():
        port = lan.segments[0].capture("gateway", "in").socket
    stop = threading.Event()

    def reflect():
        while not stop.is_set():
            while (frame := port.receive()) is not None:
                if not frame.outgoing:
                    port.send(frame.raw)
            time.sleep(0.001)

    thread = threading.Thread(target=reflect, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def another_port(lan, namespace, interface, number):
    """One more cable from the switch to a gateway."""
    node = Node(namespace, interface, number, 0)
    lan.switch.batch([
        f"link add name {interface} type veth peer name {interface} address {node.mac} netns {namespace.name}",
        f"link set {interface} master switch up"])
    run(["ip", "-n", lan.switch.name, "link", "set", "dev", interface, "xdpdrv", "obj", lan.folder / "pass.bpf.o",
         "sec", "xdp"])
    namespace.sysctl(ipv6__conf__default__accept_dad=0, ipv6__conf__default__router_solicitations=0)
    namespace.batch([f"link set {interface} up", f"addr add {node.ip4}/24 dev {interface}",
                     f"addr add {node.ip6}/64 dev {interface}"])
    return node


def ask_everything(lan):
    """Every kind of frame that is answered in the host's name."""
    client, host = lan.client, lan.host
    done = client.run("arping", "-c", "2", "-w", "4", "-I", "eth0", host.ip4, check=False)  # two answers to one: exit 1
    assert host.mac.upper() in done.stdout, done.stdout
    client.run("arping", "-D", "-c", "1", "-w", "2", "-I", "eth0", host.ip4, check=False)
    client.run("ndisc6", "-1", host.ip6, "eth0")
    client.packet_socket().send(neighbour_solicitation(client.mac, "::", host.ip6, option=False))
    for address in (host.ip4, host.ip6):
        client.run("ping", "-n", "-c", "1", "-W", "2", address)


def assert_awake_after_resume(lan, proxy):
    """Nobody's frame was taken for the host's before the host itself was there."""
    wake = [w for w in proxy.ctl("why", "sleeper")["wakes"] if w["outcome"] != "not-woken"][-1]
    clock = 10_000  # the kernel takes the time of a sign of life from one that ticks
    assert wake["alive_after_us"] >= lan.resume * 1e6 - clock, f"awake before it had resumed: {wake}"


@test("arping", "ndisc6", "ping")
def frames_that_come_back_are_not_the_host(lan):
    """The take-over, the answers, and a wake, with everything reflected."""
    with reflected(lan):
        wire = lan.segments[0].gateway_port()
        proxy = sleeper(lan)
        wire.wait("the second announcement", announcements(lan.host.ip4, lan.host.mac), count=2)
        ask_everything(lan)
        proxy.wait_counter("own-frame", 7)
        assert_slept(lan, proxy)
        for kind in ("conflict", "nic-answers", "second-proxy"):
            assert not events(proxy, kind), events(proxy, kind)
        counters = proxy.counters()
        assert counters["sign-of-life"] == counters["owner-seen"] == 0, counters
        connect_and_check(lan, proxy, lan.host.ip4)
        assert_awake_after_resume(lan, proxy)


@test("arping", "ndisc6", "ping")
def two_ports_of_a_gateway_on_one_switch_release_nobody(lan):
    another_port(lan, lan.gateway_ns, "lanb", 2)
    proxy = lan.proxy(interfaces=["lan0", "lanb"])
    proxy.add(lan.host, "sleeper", "--interface", "lan0")
    proxy.add(lan.host, "again", "--interface", "lanb")  # by mistake: one host, two records
    for name in ("sleeper", "again"):
        proxy.hand_over(lan.host, name)
    for name in ("sleeper", "again"):
        proxy.wait_state("asleep", name, 15)
    ask_everything(lan)
    told = wait_until("the event", lambda: events(proxy, "second-proxy"))
    assert "00:00:5e:00:53:02" in told[0]["text"], told
    for name in ("sleeper", "again"):
        assert_slept(lan, proxy, name=name)
    assert not events(proxy, "conflict"), events(proxy, "conflict")


@test("arping", "ndisc6", "ping")
def a_second_gateway_is_noticed_and_releases_nobody(lan):
    namespace = lan.namespace("gateway2")
    namespace.create()
    second = another_port(lan, namespace, "lanb", 2)
    first_proxy = lan.proxy()
    second_proxy = lan.proxy(interfaces=["lanb"], name="second", namespace=namespace)
    for proxy in (first_proxy, second_proxy):
        proxy.add(lan.host)
        proxy.hand_over(lan.host)
    for proxy in (first_proxy, second_proxy):
        proxy.wait_state("asleep", timeout=15)
    ask_everything(lan)
    for proxy, other in ((first_proxy, second), (second_proxy, lan.gateway)):
        told = wait_until("the event", lambda p=proxy: events(p, "second-proxy"))
        for word in (other.mac, lan.host.mac, "sleeper"):
            assert word in told[0]["text"], told[0]
        assert not events(proxy, "conflict") + events(proxy, "nic-answers"), proxy.text()
        assert_slept(lan, proxy)
    # one of them wakes the host: it probes, and the other's answers are not taken for the host's
    first_proxy.ctl("host", "wake", "sleeper")
    for proxy in (first_proxy, second_proxy):
        proxy.wait_state("awake")
    assert_awake_after_resume(lan, first_proxy)


def assert_told_the_hosts_mac(lan, wire, leave):
    """A client that has learned the gateway's MAC for a sleeper learns the host's own when the proxy leaves."""
    client, host = lan.client, lan.host
    for address in (host.ip4, host.ip6):
        client.run("ping", "-n", "-c", "1", "-W", "2", address)
        assert client.neighbour(address)["lladdr"] == lan.gateway.mac, client.neighbour(address)
    leave()
    for address in (host.ip4, host.ip6):
        wait_until(f"{address} is at the host's MAC", lambda a=address: client.neighbour(a).get("lladdr") == host.mac)
    assert not wire.frames(lambda f: f.src == host.mac), "sent with the host's MAC"


@test("ping")
def identity_proxy_hands_back_when_the_host_is_removed(lan):
    proxy = sleeper(lan, "--identity", "proxy")
    assert_told_the_hosts_mac(lan, lan.segments[0].gateway_port(), lambda: proxy.ctl("host", "remove", "sleeper"))


@test("ping")
def identity_proxy_hands_back_when_the_daemon_stops(lan):
    proxy = sleeper(lan, "--identity", "proxy")
    assert_told_the_hosts_mac(lan, lan.segments[0].gateway_port(), proxy.stop)
