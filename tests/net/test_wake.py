# SPDX-License-Identifier: Apache-2.0
"""What wakes a sleeper, what does not, and that the connection which woke it completes."""

import socket
import threading
import time

from case import (advertisements, arp_replies, assert_keeps_addresses, assert_slept, connect_and_check, is_reset,
                  is_syn_to, sleeper, test)
from frames import (BROADCAST, ETH_IP4, ETH_MAGIC, TCP_ACK, TCP_CWR, TCP_ECE, TCP_SYN, arp_request, ethernet, icmpv6,
                    ipv4, mac_bytes, magic, neighbour_solicitation, packet, tcp, udp)


def warm(lan):
    """The client has just talked to the awake host; the switch knows its port."""
    for address in (lan.host.ip4, lan.host.ip6):
        lan.client.connect(address)
        assert lan.client.neighbour(address)["lladdr"] == lan.host.mac
    assert lan.segments[0].switch_port_of(lan.host.mac) == "host"


@test()
def R30_tcp_connection_completes_cold(lan):
    proxy = sleeper(lan)
    lan.client.flush_neighbours()
    to_host = lan.segments[0].capture("host", "out")
    wire = lan.segments[0].gateway_port()
    connection = connect_and_check(lan, proxy, lan.host.ip4)
    assert connection.connected - connection.started < 3
    delivered = wire.frames(lambda f: f.l4 and f.l4.protocol == 6)
    assert len(delivered) == 1, f"the one SYN was delivered {len(delivered)} times"
    assert delivered[0].src == lan.gateway.mac and delivered[0].dst == lan.host.mac, str(delivered[0])
    assert delivered[0].l4.src == lan.client.ip4 and delivered[0].l4.tcp_flags == TCP_SYN
    assert to_host.frames(lambda f: f.raw == delivered[0].raw), "the delivered SYN did not reach the host's port"
    objections = wire.malformed(lan.folder / "gateway.pcap")
    assert not objections, objections
    assert_keeps_addresses(lan)


@test()
def R30_the_kernel_wakes_at_once_while_the_daemon_is_stopped(lan):
    """The first SYN becomes a Magic Packet, and is delivered when the daemon runs again."""
    proxy = sleeper(lan)
    wire = lan.segments[0].gateway_port()
    incoming = lan.segments[0].capture("gateway", "out")
    with proxy.stopped():
        connection = lan.client.connect(lan.host.ip4)  # the host gets a later SYN: the kernel has let go by then
        lan.host.wait_up(since=connection.started)
        back = incoming.frames(lambda f: f.src == lan.host.mac)[0].when
        asked = incoming.frames(lambda f: is_syn_to(lan.host.ip4)(f) and f.when < back)
        packets = wire.frames(lambda f: f.ethertype == ETH_MAGIC)
        assert len(packets) == len(asked) >= 1, f"{len(packets)} Magic Packets for {len(asked)} SYNs"
        assert packets[0].src == lan.gateway.mac and packets[0].dst == BROADCAST, str(packets[0])
        assert packets[0].payload == magic(lan.host.mac), str(packets[0])
    proxy.wait_state("awake")
    wake = proxy.ctl("why", "sleeper")["wakes"][-1]
    assert wake["reason"] == "trigger-syn" and wake["magic_after_us"] == 0, wake
    assert_keeps_addresses(lan)


@test()
def R30_the_kernel_leaves_to_the_daemon_whom_the_policy_asks_about(lan):
    proxy = sleeper(lan, "--deny-from", "203.0.113.0/24")
    wire = lan.segments[0].gateway_port()
    attempt = threading.Thread(target=lambda: lan.client.connect(lan.host.ip4), daemon=True)
    with proxy.stopped():
        attempt.start()
        time.sleep(1.5)
        assert not wire.frames(lambda f: f.ethertype == ETH_MAGIC), "a Magic Packet that no policy was asked about"
        assert not lan.host.awake
    attempt.join(20)
    proxy.wait_state("awake")
    assert wire.frames(lambda f: f.ethertype == ETH_MAGIC)


@test()
def R30_tcp_connection_completes_with_warm_caches(lan):
    proxy = lan.proxy()
    proxy.add(lan.host)
    warm(lan)
    proxy.put_to_sleep(lan.host)
    assert lan.client.neighbour(lan.host.ip4)["lladdr"] == lan.host.mac
    asked = lan.segments[0].capture("gateway", "out")
    connect_and_check(lan, proxy, lan.host.ip4)
    first = asked.frames(lambda f: f.src == lan.client.mac)[0]
    assert first.l4 and first.l4.protocol == 6 and first.dst == lan.host.mac, f"the caches were not warm: {first}"


@test()
def R30_ipv6_tcp_connection_completes_cold(lan):
    proxy = sleeper(lan)
    lan.client.flush_neighbours()
    connect_and_check(lan, proxy, lan.host.ip6, 80)
    assert_keeps_addresses(lan)


@test()
def R30_ipv6_tcp_connection_completes_with_warm_caches(lan):
    proxy = lan.proxy()
    proxy.add(lan.host)
    warm(lan)
    proxy.put_to_sleep(lan.host)
    connect_and_check(lan, proxy, lan.host.ip6, 80)


@test()
def R30_tcp_connection_to_a_temporary_and_a_link_local_address_completes(lan):
    proxy = sleeper(lan)
    connect_and_check(lan, proxy, lan.host.temp, 443)
    lan.host.wait_settled()
    proxy.put_to_sleep(lan.host)
    connection = lan.client.connect(f"{lan.host.ll}%eth0", 443)
    assert connection.connected - lan.host.wait_usable(lan.host.ll, connection.started) < 1
    proxy.wait_state("awake")


@test(ipv6=False)
def R30_tcp_connection_to_a_silent_ipv4_host_completes(lan):
    """Nothing but the proxy's probe makes this host speak after its resume."""
    proxy = sleeper(lan)
    connect_and_check(lan, proxy, lan.host.ip4)


@test("nc")
def R30_netcat_wakes_and_completes(lan):
    proxy = lan.proxy()
    proxy.add(lan.host, "sleeper", "--wake", "tcp/22")
    for address in (lan.host.ip4, lan.host.ip6):
        proxy.put_to_sleep(lan.host)
        done = lan.client.run("nc", "-N", "-w", "15", address, "22", input="hello\n")
        assert done.stdout == "port 22\nhello\n", done.stdout
        proxy.wait_state("awake")
        lan.host.wait_settled()


@test()
def R30_connection_attempt_with_ecn_completes(lan):
    proxy = sleeper(lan)
    lan.client.ns.sysctl(ipv4__tcp_ecn=1)
    attempts = lan.segments[0].capture("gateway", "out")
    connect_and_check(lan, proxy, lan.host.ip4)
    syn = attempts.frames(lambda f: f.l4 and f.l4.protocol == 6)[0]
    assert syn.l4.tcp_flags == TCP_SYN | TCP_ECE | TCP_CWR, "the client asked for no ECN"


@test()
def R30_connection_begun_while_the_host_falls_asleep_completes(lan):
    """Before the 3 s of silence are over nobody answers; the client's own TCP repeats, and that wakes."""
    proxy = lan.proxy()
    proxy.add(lan.host)
    warm(lan)
    proxy.hand_over(lan.host)
    assert proxy.state() == "arming"
    connect_and_check(lan, proxy, lan.host.ip4)


@test(resume=1.0)
def R30_twenty_connections_at_once_all_complete(lan):
    proxy = sleeper(lan)
    failures, done = [], []

    def one(address, port):
        try:
            done.append(lan.client.connect(address, port))
        except OSError as error:
            failures.append(error)

    addresses, ports = (lan.host.ip4, lan.host.ip6), lan.host.PORTS
    threads = [threading.Thread(target=one, args=(addresses[i % 2], ports[i % 3])) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len(done) == 20, failures
    assert max(c.connected for c in done) - lan.host.wait_usable(lan.host.ip6) < 1
    proxy.wait_state("awake")


@test()
def R30_connection_attempt_behind_ipv6_extension_headers_wakes(lan):
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    options = bytes([6, 0, 1, 4, 0, 0, 0, 0])
    behind = options + tcp(client.ip6, host.ip6, 40000, 22)
    client.packet_socket().send(packet(host.mac, client.mac, client.ip6, host.ip6, 60, behind))
    host.wait_up()
    proxy.wait_state("awake")


@test()
def R30_connection_attempt_to_a_port_that_does_not_wake_is_ignored(lan):
    """No wake, and no RST in the host's name either."""
    proxy = sleeper(lan, "--wake", "tcp/22")
    client, host = lan.client, lan.host
    wire = lan.segments[0].gateway_port()
    raw = client.packet_socket()
    for address, source in ((host.ip4, client.ip4), (host.ip6, client.ip6)):
        raw.send(packet(host.mac, client.mac, source, address, 6, tcp(source, address, 40000, 80)))
    proxy.wait_counter("port-closed", 2)
    with client.ns.entered():
        try:
            client.connect(host.ip4, 80, timeout=1.5)
        except TimeoutError:
            pass
        else:
            raise AssertionError("a connection to a port that does not wake completed")
    assert proxy.counters()["port-closed"] >= 3
    assert not wire.frames(is_reset), [str(f) for f in wire.frames(is_reset)]
    assert_slept(lan, proxy)
    connect_and_check(lan, proxy, host.ip4, 22)


@test()
def R36_R37_R38_ill_formed_fragmented_and_source_routed_packets_are_ignored(lan):
    """Each would be a connection attempt if it were in order."""
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    raw = client.packet_socket()
    segment = tcp(client.ip4, host.ip4, 40000, 22)
    loose_route = bytes([131, 7, 4]) + bytes([192, 0, 2, 10, 0])

    def broken(at, value):
        whole = bytearray(ipv4(client.ip4, host.ip4, 6, segment))
        whole[at] = value
        return bytes(whole)

    cases = {"ip-fragment": [ipv4(client.ip4, host.ip4, 6, segment, fragment=0x2000),
                             ipv4(client.ip4, host.ip4, 6, segment, fragment=0x0010)],
             "ip-source-route": [ipv4(client.ip4, host.ip4, 6, segment, options=loose_route)],
             "ip-checksum": [broken(10, 0x12)],
             "ip-malformed": [broken(0, 0x44), broken(2, 0x7F)]}
    before = proxy.counters()
    for packets in cases.values():
        for one in packets:
            raw.send(ethernet(host.mac, client.mac, ETH_IP4, one))
    for reason, packets in cases.items():
        proxy.wait_counter(reason, before[reason] + len(packets))
    assert_slept(lan, proxy)
    connect_and_check(lan, proxy, host.ip4)


@test("nc")
def a_datagram_to_a_port_that_wakes_is_delivered(lan):
    proxy = lan.proxy()
    proxy.add(lan.host, "sleeper", "--wake", "udp/5060")
    client, host = lan.client, lan.host
    with host.ns.entered():
        service = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with service:
        service.bind(("::", 5060))
        service.settimeout(10)
        for address, source in ((host.ip4, "::ffff:" + client.ip4), (host.ip6, client.ip6)):
            since = time.monotonic()
            proxy.put_to_sleep(host)
            client.run("nc", "-u", "-N", "-w", "1", "-q", "0", address, "5061", input="to a port that does not wake\n")
            assert_slept(lan, proxy, since)
            client.run("nc", "-u", "-N", "-w", "1", "-q", "0", address, "5060", input="wake up\n")
            data, sender = service.recvfrom(100)
            assert (data, sender[0]) == (b"wake up\n", source), (data, sender)
            proxy.wait_state("awake")
            host.wait_settled()


@test()
def a_magic_packet_without_the_hosts_password_does_not_wake(lan):
    """SecureOn: the sixteen repeats are followed by a password."""
    password = lan.folder / "password"
    password.write_text("01:23:45:67:89:ab\n")
    proxy = sleeper(lan, "--secureon-file", password)
    client, host = lan.client, lan.host
    raw, since = client.packet_socket(), host.nic.events()[-1]["t"]
    for tail in (b"", b"\x01\x23\x45\x67\x89\xac"):
        raw.send(ethernet(host.mac, client.mac, ETH_MAGIC, magic(host.mac) + tail))
    proxy.wait_counter("magic-password", 2)
    assert_slept(lan, proxy, since)
    raw.send(ethernet(host.mac, client.mac, ETH_MAGIC, magic(host.mac) + b"\x01\x23\x45\x67\x89\xab"))
    host.wait_up()
    sent = [bytes.fromhex(e["raw"]) for e in host.magic(since)]
    assert sent and all(magic(host.mac) + b"\x01\x23\x45\x67\x89\xab" in frame for frame in sent)
    proxy.wait_state("awake")


@test("arping")
def storms_of_questions_do_not_wake(lan):
    """Hundreds of ARP requests, solicitations, echo requests, datagrams and stray segments: the first three are each
    answered, and the host sleeps on."""
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    answers = client.capture()
    raw = client.packet_socket()
    rounds = 300
    for i in range(rounds):
        raw.send(arp_request(client.mac, client.ip4, host.ip4))
        raw.send(neighbour_solicitation(client.mac, client.ip6, host.ip6))
        for mac, source, address, protocol, data in (
                (host.mac, client.ip6, host.ip6, 58, icmpv6(client.ip6, host.ip6, 128, i.to_bytes(4, "big") + b"data")),
                (host.mac, client.ip4, host.ip4, 17, udp(client.ip4, host.ip4, 5000, 5000, b"data")),
                (host.mac, client.ip4, host.ip4, 6, tcp(client.ip4, host.ip4, 5000, 22, TCP_ACK)),
                (BROADCAST, client.ip4, "192.0.2.255", 17, udp(client.ip4, "192.0.2.255", 5000, 5000, b"data"))):
            raw.send(packet(mac, client.mac, source, address, protocol, data))
    answers.wait("every ARP answer", arp_replies(host), count=rounds)
    answers.wait("every advertisement", advertisements(host.ip6), count=rounds)
    answers.wait("every echo reply", lambda f: f.icmp6 and f.icmp6[0] == 129, count=rounds)
    assert_slept(lan, proxy)


@test("wakeonlan")
def R31_wakeonlan_to_the_sleepers_address_wakes(lan):
    """By unicast: the switch sends it to the gateway only, so nobody but the proxy can have woken the host."""
    proxy = sleeper(lan)
    at_card = lan.segments[0].capture("host", "out")
    lan.client.run("wakeonlan", "-i", lan.host.ip4, lan.host.mac)
    lan.host.wait_up()
    sources = {f.src for f in at_card.frames() if magic(lan.host.mac) in f.payload}
    assert sources == {lan.gateway.mac}, sources
    proxy.wait_state("awake")
    assert proxy.counters()["trigger-magic"] == 1


@test("wakeonlan")
def R31_wakeonlan_by_broadcast_wakes(lan):
    """The card hears it too, as on any LAN; the proxy must have recognised it as well, and must let go."""
    proxy = sleeper(lan)
    wire = lan.segments[0].gateway_port()
    lan.client.run("wakeonlan", "-i", "192.0.2.255", lan.host.mac)
    wire.wait("the proxy's own Magic Packet", lambda f: magic(lan.host.mac) in f.payload and f.src == lan.gateway.mac)
    proxy.wait_state("awake")
    assert proxy.counters()["trigger-magic"] == 1


@test("etherwake")
def R31_etherwake_to_the_sleepers_mac_wakes(lan):
    proxy = sleeper(lan)
    at_card = lan.segments[0].capture("host", "out")
    lan.client.run("etherwake", "-i", "eth0", lan.host.mac)
    lan.host.wait_up()
    sources = {f.src for f in at_card.frames() if magic(lan.host.mac) in f.payload}
    assert sources == {lan.gateway.mac}, sources
    proxy.wait_state("awake")
    assert proxy.counters()["trigger-magic"] == 1


@test()
def R31_the_mac_once_is_no_magic_packet(lan):
    """Nor are fifteen repeats, nor sixteen of another host's MAC (a DHCP packet carries sync-like bytes and a MAC)."""
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    raw = client.packet_socket()
    payloads = [b"\xff" * 6 + mac_bytes(host.mac), magic(host.mac, 15), magic(client.mac)]
    for payload in payloads:
        for destination in (host.mac, BROADCAST):
            raw.send(ethernet(destination, client.mac, ETH_MAGIC, payload))
        for address in (host.ip4, "192.0.2.255"):
            destination = host.mac if address == host.ip4 else BROADCAST
            datagram = udp(client.ip4, address, 9, 9, payload)
            raw.send(packet(destination, client.mac, client.ip4, address, 17, datagram))
    raw.send(arp_request(client.mac, client.ip4, host.ip4))
    client_sees = client.capture()
    raw.send(arp_request(client.mac, client.ip4, host.ip4))
    client_sees.wait("the answer to what was sent last", arp_replies(host))
    assert proxy.counters()["trigger-magic"] == 0
    assert_slept(lan, proxy)


@test()
def R35_an_operators_wake_wakes(lan):
    proxy = sleeper(lan)
    since = lan.host.nic.events()[-1]["t"]
    proxy.ctl("host", "wake", "sleeper")
    lan.host.wait_up()
    assert {e["src"] for e in lan.host.magic(since)} == {lan.gateway.mac}
    proxy.wait_state("awake")
    assert_keeps_addresses(lan)
    done = proxy.run_ctl("host", "wake", "sleeper")
    assert done.returncode == 1 and "awake" in done.stderr, f"exit {done.returncode}: {done.stderr}"


@test(resume=2.5)
def R35_a_wake_is_repeated_until_the_host_is_there(lan):
    """One lost Magic Packet is not the end, in either form."""
    proxy = sleeper(lan)
    lan.client.connect(lan.host.ip4)
    forms = [e["form"] for e in lan.host.magic()]
    assert forms.count("ethertype") >= 2 and forms.count("udp") >= 2, forms
    proxy.wait_state("awake")
    wire = lan.segments[0].gateway_port()
    lan.host.wait_settled()
    assert not wire.frames(lambda f: f.src == lan.host.mac), "after the release something was sent with the host's MAC"
