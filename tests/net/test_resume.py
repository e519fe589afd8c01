# SPDX-License-Identifier: Apache-2.0
"""How hosts come back: on another NIC, by a boot, as another system, in silence, with every kind of address detection."""

import json
import socket
import threading
import time

from case import (advertisements, announcements, arp_replies, assert_keeps_addresses, assert_slept, connect_and_check,
                  is_syn_to, sleeper, test)
from frames import magic
from lan import wait_until

NEVER = 3600.0  # the card does not bring the host back, the test does


def events(proxy, *kinds):
    told = [json.loads(line) for line in proxy.run_ctl("events").stdout.splitlines()]
    return [event for event in told if event["kind"] in kinds]


class Connecting(threading.Thread):
    """connect() that goes on while the host comes back."""

    def __init__(self, lan, address, timeout=60):
        super().__init__(daemon=True)
        self.lan, self.address, self.timeout = lan, address, timeout
        self.connection = self.failure = None
        self.start()

    def run(self):
        try:
            self.connection = self.lan.client.connect(self.address, timeout=self.timeout)
        except OSError as failure:
            self.failure = failure

    def done(self):
        self.join(self.timeout + 10)
        assert self.connection, f"connect(): {self.failure!r}"
        return self.connection


def configure(host, interface="eth0", ip4=None):
    """The host's software gives the interface its addresses."""
    host.ns.batch([f"addr add {ip4 or host.ip4}/24 dev {interface}",
                   *(f"addr add {a}/64 dev {interface}" for a in (host.ip6, host.temp) if host.lan.ipv6)])


def forget_addresses(host):
    """What a boot does to the addresses of an interface that is down."""
    host.ns.ip("addr", "flush", "dev", "eth0", "scope", "global")


def gateway_frames_in_the_name_of(wire, host, since):
    return [str(f) for f in wire.frames(lambda f: f.src == host.mac and f.when > since)]


@test("arping", resume=NEVER)
def R30_R32_a_host_that_comes_back_on_another_of_its_nics_gets_its_packets_there(lan):
    """A laptop whose dock has a NIC of its own: eth0 stays down, the addresses are on the dock's."""
    client, host = lan.client, lan.host
    dock = "00:00:5e:00:53:d0"
    lan.switch.batch([f"link add name dock type veth peer name dock address {dock} netns {host.ns.name}",
                      "link set dock master switch up"])
    host.ns.sysctl(ipv6__conf__dock__router_solicitation_delay=0)
    proxy = sleeper(lan, "--mac", dock)
    wire = lan.segments[0].gateway_port()
    for address in (host.ip4, host.ip6):
        connecting = Connecting(lan, address)
        wire.wait("a Magic Packet for the dock's NIC", lambda f: magic(dock) in f.payload)
        forget_addresses(host)
        host.ns.ip("link", "set", "dock", "up")
        configure(host, "dock")
        connecting.done()
        proxy.wait_state("awake")
        syns = wire.wait("the held SYN", is_syn_to(address))
        assert [(f.src, f.dst) for f in syns] == [(lan.gateway.mac, dock)], [str(f) for f in syns]
        flags = {a["local"]: a for a in host.ns.ip_json("addr", "show", "dev", "dock")[0]["addr_info"]}
        assert "dadfailed" not in flags[host.ip6], flags
        for mine in (host.ip4, host.ip6):
            client.ns.ip("neigh", "del", mine, "dev", "eth0", check=False)
            client.connect(mine)
            assert client.neighbour(mine)["lladdr"] == dock, f"{mine} is not at the dock"
        # and to sleep again, from there
        wire.seen.clear()
        host.ns.batch(["addr flush dev dock scope global", "link set dock down"])
        proxy.ctl("host", "sleep", "sleeper")
        proxy.wait_state("asleep", timeout=20)
    assert lan.segments[0].switch_port_of(host.mac) == "gateway"


@test("arping", resume=NEVER)
def R30_a_host_that_boots_instead_of_resuming_gets_its_packet_when_its_address_is_back(lan):
    """Its first frames are those of an interface without addresses; DHCP takes its time, here 2 s."""
    client, host = lan.client, lan.host
    proxy = sleeper(lan)
    wire = lan.segments[0].gateway_port()
    for address in (host.ip4, host.ip6):
        since = time.monotonic()
        connecting = Connecting(lan, address)
        wait_until("the card has the Magic Packet", lambda s=since: host.magic(s))
        forget_addresses(host)
        host.power_on()
        with host.ns.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dhcp:
            dhcp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
            dhcp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            dhcp.bind(("0.0.0.0", 68))
            host.ns.ip("route", "add", "default", "dev", "eth0")
            dhcp.sendto(bytes(300), ("255.255.255.255", 67))
        proxy.wait_state("awake")
        released = time.time()
        assert proxy.ctl("host", "show", "sleeper")["held_packets"] == 1, "the packet went out before its address was back"
        time.sleep(2)  # the lease
        assert not wire.frames(is_syn_to(address)), "the packet went out before its address was back"
        configure(host)
        connecting.done()
        syns = wire.wait("the held SYN", is_syn_to(address))
        assert [(f.src, f.dst) for f in syns] == [(lan.gateway.mac, host.mac)], [str(f) for f in syns]
        assert_keeps_addresses(lan)
        assert not gateway_frames_in_the_name_of(wire, host, released), "the proxy spoke for a host that was back"
        assert not events(proxy, "dropped", "address-not-back", "conflict")
        wire.seen.clear()
        proxy.put_to_sleep(host)


@test("arping", resume=NEVER, ipv6=False)
def R32_another_system_with_another_address_on_the_same_mac_is_let_go_at_once(lan):
    """Dual boot.  What was held for the old address has nobody to go to, and the old address is nobody's."""
    client, host = lan.client, lan.host
    other = "192.0.2.77"
    proxy = sleeper(lan)
    wire = lan.segments[0].gateway_port()
    connecting = Connecting(lan, host.ip4, timeout=3)
    wait_until("the card has the Magic Packet", host.magic)
    forget_addresses(host)
    host.power_on()
    configure(host, ip4=other)
    host.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", client.ip4)
    proxy.wait_state("awake")
    released = time.time()
    assert client.run("arping", "-c", "1", "-w", "1", "-I", "eth0", host.ip4, check=False).returncode == 1, \
        "the old address is still answered for"
    wait_until("the daemon gives the held packet up", lambda: events(proxy, "address-not-back"), 20)
    dropped, = events(proxy, "dropped")
    assert host.ip4 in dropped["text"], dropped
    assert proxy.ctl("status")["held_packets"] == 0
    assert not wire.frames(is_syn_to(host.ip4)), "the packet was delivered to a system that does not have its address"
    assert not gateway_frames_in_the_name_of(wire, host, released), "the proxy spoke for a host that was back"
    wake = proxy.ctl("why", "sleeper")["wakes"][-1]
    assert (wake["outcome"], wake["delivered"], wake["dropped"]) == ("address-not-back", 0, 1), wake
    assert client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", other).returncode == 0
    connecting.join()
    assert connecting.failure, "the old address has a service"


@test("arping", ipv6=False)
def R32_a_host_that_says_nothing_but_unicast_is_released_by_its_first_packet(lan):
    """Static neighbour entries, no Neighbour Discovery: no frame of its return is a broadcast."""
    host = lan.host
    proxy = sleeper(lan)
    wire = lan.segments[0].gateway_port()
    heard = lan.segments[0].capture("gateway", "out")
    since, begin = time.monotonic(), time.time()
    host.power_on()
    for peer in (lan.gateway, lan.client):
        host.ns.ip("neigh", "replace", peer.ip4, "lladdr", peer.mac, "nud", "permanent", "dev", "eth0")
    time.sleep(0.5)
    assert not heard.frames(lambda f: f.src == host.mac and f.when > begin), "the host was not silent"
    assert proxy.state() == "asleep"
    with host.ns.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
        program.sendto(b"hello", (lan.gateway.ip4, 4000))
    proxy.wait_state("awake")
    released = time.time()
    shown = proxy.ctl("host", "show", "sleeper")
    assert shown["since_reason"] == "sign of life: IP packet", shown
    assert not host.magic(since)
    assert_keeps_addresses(lan)
    assert not gateway_frames_in_the_name_of(wire, host, released), "the proxy spoke for a host that was back"


@test("arping", ipv6=False)
def R32_an_address_conflict_probe_as_the_first_frame_of_a_host_meets_silence(lan):
    """RFC 5227: what NetworkManager and systemd-networkd do before they use a known address again."""
    host = lan.host
    proxy = sleeper(lan)
    wire = lan.segments[0].gateway_port()
    host.power_on()
    done = host.run("arping", "-D", "-c", "3", "-w", "4", "-I", "eth0", host.ip4, check=False)
    assert done.returncode == 0, f"somebody contradicts the owner's probe:\n{done.stdout}"
    proxy.wait_state("awake")
    assert proxy.ctl("host", "show", "sleeper")["since_reason"] == "sign of life: ARP probe"
    replies = wire.frames(lambda f: arp_replies(host)(f) and f.dst == host.mac)
    assert not replies, [str(f) for f in replies]


def duplicate_address_detection(lan, **settings):
    """The host comes back with these settings of its kernel, by itself and woken; returns its DAD solicitations."""
    host = lan.host
    host.ns.sysctl(**settings)
    proxy = sleeper(lan)
    from_host, wire = lan.segments[0].capture("host", "in"), lan.segments[0].gateway_port()
    host.power_on()
    proxy.wait_state("awake")
    assert_keeps_addresses(lan)
    proxy.put_to_sleep(host)
    wire.frames()
    wire.seen.clear()
    lan.client.flush_neighbours()
    connect_and_check(lan, proxy, host.ip6)
    assert_keeps_addresses(lan)
    probes = from_host.frames(lambda f: f.icmp6 and f.icmp6[0] == 135 and f.l4.src == "::")
    asked = {f.icmp6[8:24] for f in probes}
    assert len(asked) >= 3, f"duplicate address detection for {len(asked)} addresses"
    first = max(f.when for f in wire.frames(lambda f: magic(host.mac) in f.payload))
    for address in (host.ip6, host.temp, host.ll):
        spoken = [str(f) for f in wire.frames(advertisements(address)) if f.when > min(p.when for p in probes[-3:])]
        assert not spoken, f"{address} was contradicted after {first}: {spoken}"
    return probes


def has_nonce(probe):
    """RFC 3971 §5.3.2, in a DAD solicitation: RFC 7527."""
    options = probe.icmp6[24:]
    return len(options) >= 8 and options[0] == 14


@test("arping")
def R32_optimistic_duplicate_address_detection_is_not_contradicted(lan):
    """RFC 4429: the address is used, carefully, while it is still being checked."""
    duplicate_address_detection(lan, ipv6__conf__all__optimistic_dad=1, ipv6__conf__eth0__optimistic_dad=1,
                                ipv6__conf__all__use_optimistic=1, ipv6__conf__eth0__use_optimistic=1)


@test("arping")
def R32_duplicate_address_detection_with_a_nonce_is_not_contradicted(lan):
    """RFC 7527: an answer without this nonce would count as another node's."""
    probes = duplicate_address_detection(lan, ipv6__conf__all__enhanced_dad=1, ipv6__conf__eth0__enhanced_dad=1)
    assert all(map(has_nonce, probes)), "the host's solicitations had no nonce"


@test("arping")
def R32_duplicate_address_detection_without_a_nonce_is_not_contradicted(lan):
    probes = duplicate_address_detection(lan, ipv6__conf__all__enhanced_dad=0, ipv6__conf__eth0__enhanced_dad=0)
    assert not any(map(has_nonce, probes)), "the host's solicitations had a nonce"


@test("arping", multicast_snooping=True)
def R32_the_gateway_leaves_no_multicast_group_in_the_name_of_a_host_that_is_back(lan):
    """A Leave or Done with the host's address would cut it off at a switch that snoops."""
    host = lan.host
    wire = lan.segments[0].gateway_port()
    proxy = sleeper(lan)
    connect_and_check(lan, proxy, host.ip6)
    host.wait_settled()
    proxy.put_to_sleep(host)
    proxy.ctl("host", "release", "sleeper")
    proxy.ctl("host", "remove", "sleeper")
    assert wire.frames(lambda f: f.src == host.mac), "nothing was said in the host's name, so nothing is shown"
    groups = wire.frames(lambda f: f.l4 is not None and (
        f.l4.protocol == 2 or f.icmp6 is not None and f.icmp6[0] in (131, 132, 143)))
    wrong = [str(f) for f in groups if f.src == host.mac or f.l4.src in host.own_addresses]
    assert not wrong, wrong


@test("arping", "ndisc6", offload=True)
def R32_a_nic_that_answers_for_its_sleeper_is_told_of_and_not_fought(lan):
    """ARP and NS offload: two answer for the sleeper, and they say the same.  It is woken as any other."""
    client, host = lan.client, lan.host
    host.ns.sysctl(ipv4__conf__eth0__arp_notify=1)
    wire = lan.segments[0].gateway_port()
    proxy = sleeper(lan)
    wait_until("the NIC's answers are an event", lambda: events(proxy, "nic-answers"))
    wire.wait("the second announcement", announcements(host.ip4, host.mac), count=2)
    since, begin = time.monotonic(), time.time()
    client.flush_neighbours()
    done = client.run("arping", "-c", "2", "-w", "5", "-I", "eth0", host.ip4, check=False)
    assert host.mac.upper() in done.stdout, done.stdout
    done = client.run("ndisc6", "-q", "-r", "3", host.ip6, "eth0")
    assert done.stdout.strip().lower() == host.mac, done.stdout
    assert host.nic.events("answered", since), "the NIC did not answer"
    assert_slept(lan, proxy, since)
    assert len(events(proxy, "nic-answers")) == 1 and not events(proxy, "conflict"), events(proxy, "conflict")
    defence = wire.frames(lambda f: f.when > begin and f.arp is not None and f.arp[0] == 1 and f.src == host.mac)
    assert not defence, [str(f) for f in defence]

    connect_and_check(lan, proxy, host.ip4)
    syns = wire.frames(is_syn_to(host.ip4))
    assert [(f.src, f.dst) for f in syns] == [(lan.gateway.mac, host.mac)], [str(f) for f in syns]
    host.wait_settled()
    proxy.put_to_sleep(host)
    client.connect(host.ip6)
    proxy.wait_state("awake")
    assert_keeps_addresses(lan)
