# SPDX-License-Identifier: Apache-2.0
"""Packets that are held: each first one arrives, in order, bounded, and at nobody else's."""

import socket
import threading
import time

from case import sleeper, test
from frames import arp_request, packet, tcp, udp
from lan import wait_until
from proxy import sanitized
from test_cycles import Operator
from test_resume import NEVER, Connecting, events

PORT = 5060


def listen(host):
    """The host's service, which has the time to look later."""
    with host.ns.entered():
        service = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    service.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    service.bind(("::", PORT))
    service.settimeout(60)
    return service


@test(hosts=lambda: 5 if sanitized() else 20, resume=1.0)
def a_hundred_wakes_deliver_every_datagram_in_order(lan):
    """UDP repeats nothing: what is lost once is lost.  Five datagrams each, and nothing in between.  The client knows the
    hosts' MACs: its kernel lets a datagram overtake those that waited for the answer to its request."""
    wakes = 2 if sanitized() else 5
    proxy = lan.proxy()
    operator = Operator(proxy)
    hosts = lan.segments[0].hosts
    failures = []

    def live(number, host, service):
        family = (socket.AF_INET, socket.AF_INET6)[number % 2]
        address = (host.ip4, host.ip6)[number % 2]
        name = f"sleeper{number}"
        lan.client.ns.ip("neigh", "replace", address, "lladdr", host.mac, "nud", "permanent", "dev", "eth0")
        with lan.client.ns.entered():
            client = socket.socket(family, socket.SOCK_DGRAM)
        with client:
            for wake in range(wakes):
                host.suspend()
                operator.sleep(name)
                operator.wait(name, "asleep", 5 * wake)
                sent = [f"{name}, wake {wake}, datagram {i}".encode() for i in range(5)]
                for datagram in sent:
                    client.sendto(datagram, (address, PORT))
                got = [service.recv(100) for _ in sent]
                assert got == sent, f"sent {sent}, received {got}"
                operator.wait(name, "awake", 5 * (wake + 1))
                host.wait_settled(60)

    def run_life(*what):
        try:
            live(*what)
        except Exception as problem:
            failures.append(problem)

    for number, host in enumerate(hosts):
        proxy.add(host, f"sleeper{number}", "--wake", f"udp/{PORT}")
    lives = [threading.Thread(target=run_life, args=(number, host, listen(host)), daemon=True)
             for number, host in enumerate(hosts)]
    for life in lives:
        life.start()
    for life in lives:
        life.join()
    assert not failures, failures
    assert len(operator.of("trigger")) == len(hosts) * wakes
    assert not operator.of("dropped") and not operator.of("not-held"), operator.of("not-held")


@test(resume=NEVER)
def what_is_held_for_a_host_is_bounded_and_the_first_packets_are_those_kept(lan):
    """64 packets (docs/architecture.md).  The others are counted and told of."""
    proxy = sleeper(lan, "--wake", f"udp/{PORT}")
    client, host = lan.client, lan.host
    service, raw = listen(host), client.packet_socket()
    flood = [packet(host.mac, client.mac, client.ip4, host.ip4, 17, udp(client.ip4, host.ip4, 4000, PORT, b"%d" % i))
             for i in range(200)]
    for frame in flood:
        raw.send(frame)
    wait_until("all were seen", lambda: sum(proxy.counters()[r] for r in ("trigger-udp", "trigger-throttled")) == 200)

    def held():
        shown = proxy.ctl("host", "show", "sleeper")
        return shown["state"], shown["held_packets"]

    wait_until("64 are held", lambda: held() == ("waking", 64))
    wire = lan.segments[0].gateway_port()
    host.power_on()
    proxy.wait_state("awake")
    assert [service.recv(100) for _ in range(64)] == [b"%d" % i for i in range(64)]
    sent = wire.frames(lambda f: f.l4 is not None and f.l4.protocol == 17 and f.l4.dport == PORT)
    assert len(sent) == 64 and all((f.src, f.dst) == (lan.gateway.mac, host.mac) for f in sent), len(sent)
    wait_until("nothing is held", lambda: proxy.ctl("status")["held_packets"] == 0)
    service.close()


@test(resume=NEVER)
def what_is_held_for_a_host_that_is_removed_is_delivered_to_nobody(lan):
    """Neither when it comes back after all, nor to the host that has its address from then on."""
    client, host = lan.client, lan.host
    proxy = sleeper(lan)
    raw, wire = client.packet_socket(), lan.segments[0].gateway_port()
    for source, address in ((client.ip4, host.ip4), (client.ip6, host.ip6)):
        raw.send(packet(host.mac, client.mac, source, address, 6, tcp(source, address, 40000, 22)))
    wait_until("both are held", lambda: proxy.ctl("host", "show", "sleeper")["held_packets"] == 2)
    proxy.ctl("host", "remove", "sleeper")
    dropped, = events(proxy, "dropped")
    assert "2" in dropped["text"] and proxy.ctl("status")["held_packets"] == 0, dropped

    heir = "00:00:5e:00:53:d1"
    proxy.ctl("host", "add", "heir", "--mac", heir, "--ip", host.ip4, "--ip", host.ip6)
    proxy.ctl("host", "sleep", "heir")
    proxy.wait_state("asleep", "heir")
    proxy.ctl("host", "wake", "heir")
    raw.send(arp_request(heir, host.ip4, client.ip4))
    proxy.wait_state("awake", "heir")
    raw.send(arp_request(heir, host.ip4, lan.gateway.ip4))

    host.power_on()
    host.wait_settled()
    host.run("ping", "-n", "-c", "1", "-W", "5", lan.gateway.ip4)
    delivered = [str(f) for f in wire.frames(lambda f: f.l4 is not None and f.l4.protocol == 6)]
    assert not delivered, delivered


@test(hosts=2, resume=NEVER)
def an_address_that_moves_to_another_host_takes_no_held_packet_with_it(lan):
    """The first host is being woken; its record gives the address up, and a second, sleeping host gets it and wakes."""
    first, second = lan.segments[0].hosts
    client = lan.client
    moved, own = "192.0.2.66", "192.0.2.67"
    proxy = lan.proxy()
    first.ns.ip("addr", "add", f"{moved}/24", "dev", "eth0")
    proxy.ctl("host", "add", "first", "--mac", first.mac, "--ip", moved)
    proxy.ctl("host", "add", "second", "--mac", second.mac, "--ip", own)
    for name, host in (("first", first), ("second", second)):
        proxy.hand_over(host, name)
    for name in ("first", "second"):
        proxy.wait_state("asleep", name)
    raw, wire = client.packet_socket(), lan.segments[0].gateway_port()
    raw.send(packet(first.mac, client.mac, client.ip4, moved, 6, tcp(client.ip4, moved, 40001, 22)))
    wait_until("it is held", lambda: proxy.ctl("status")["held_packets"] == 1)
    proxy.ctl("host", "remove", "first")
    second.ns.batch([f"addr add {moved}/24 dev eth0", f"addr add {own}/24 dev eth0"])
    proxy.ctl("host", "remove", "second")
    proxy.ctl("host", "add", "second", "--mac", second.mac, "--ip", moved, "--ip", own)
    proxy.ctl("host", "sleep", "second")
    proxy.wait_state("asleep", "second")
    since, begin = time.time(), time.monotonic()
    connecting = Connecting(lan, moved)
    wait_until("the second host's card has the Magic Packet", lambda: second.magic(begin))
    second.power_on()
    connection = connecting.done()
    proxy.wait_state("awake", "second")
    syns = wire.frames(lambda f: f.l4 is not None and f.l4.protocol == 6 and f.l4.dst == moved)
    assert [(f.dst, f.l4.sport) for f in syns] == [(second.mac, connection.port)], [str(f) for f in syns]
    assert all(f.when > since for f in syns)


@test(hosts=2, resume=NEVER)
def two_hosts_that_wake_at_once_get_their_own_packets(lan):
    """One client port, so that only the address tells the connections apart."""
    hosts = lan.segments[0].hosts
    client = lan.client
    proxy = lan.proxy()
    for name, host in enumerate(hosts):
        proxy.add(host, str(name), "--wake", f"udp/{PORT}")
        proxy.hand_over(host, str(name))
    for name in ("0", "1"):
        proxy.wait_state("asleep", name)
    services = [listen(host) for host in hosts]
    raw, wire = client.packet_socket(), lan.segments[0].gateway_port()
    for i in range(10):
        host = hosts[i % 2]
        for source, address in ((client.ip4, host.ip4), (client.ip6, host.ip6)):
            datagram = udp(source, address, 4000, PORT, f"{address} {i}".encode())
            raw.send(packet(host.mac, client.mac, source, address, 17, datagram))
    wait_until("all are held", lambda: proxy.ctl("status")["held_packets"] == 20)
    for host in hosts:
        host.power_on()
    for name, host, service in zip((0, 1), hosts, services):
        got = [service.recv(100).decode() for _ in range(10)]
        for address in (host.ip4, host.ip6):
            assert [g for g in got if g.startswith(address + " ")] == [f"{address} {i}" for i in range(name, 10, 2)], got
    sent = wire.frames(lambda f: f.l4 is not None and f.l4.protocol == 17 and f.l4.dport == PORT)
    assert len(sent) == 20, len(sent)
    for frame in sent:
        owner, = [host for host in hosts if frame.l4.dst in (host.ip4, host.ip6)]
        assert frame.dst == owner.mac, str(frame)
    for service in services:
        service.close()
