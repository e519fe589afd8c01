# SPDX-License-Identifier: Apache-2.0
"""The LAN itself: without proxzzy a sleeping host is gone, and the other tests' instruments can fail."""

from case import test
from frames import (BROADCAST, ETH_ARP, ETH_MAGIC, Capture, Frame, arp_request, ethernet, icmpv6, ip_bytes, mac_bytes,
                    magic, magic_form, packet, tcp, udp)
from lan import wait_until


@test("arping", "ping", "ndisc6")
def rig_without_proxzzy_a_sleeping_host_is_gone(lan):
    host, client = lan.host, lan.client
    for address in (host.ip4, host.ip6):
        client.run("ping", "-n", "-c", "1", "-W", "2", address)
    assert lan.segments[0].switch_port_of(host.mac) == "host"
    host.suspend()
    assert lan.segments[0].switch_port_of(host.mac) == "host", "the switch forgot the sleeper"
    assert "no-carrier" not in str(lan.switch.ip_json("link", "show", "host")[0]["flags"]).lower()
    client.flush_neighbours()
    assert client.run("arping", "-c", "1", "-w", "1", "-I", "eth0", host.ip4, check=False).returncode == 1
    assert client.run("ndisc6", "-1", "-r", "1", "-w", "500", host.ip6, "eth0", check=False).returncode != 0
    assert client.run("ping", "-n", "-c", "1", "-W", "1", host.ip4, check=False).returncode == 1


@test(resume=0.1)
def rig_the_card_hears_only_a_magic_packet(lan):
    host, client = lan.host, lan.client
    wire = client.packet_socket()
    host.suspend()
    payloads = [b"\xff" * 6 + mac_bytes(host.mac), magic(host.mac, 15), magic(client.mac),
                b"\xfe" + magic(host.mac)[1:]]
    for payload in payloads:
        wire.send(ethernet(BROADCAST, client.mac, ETH_MAGIC, payload))
    wire.send(arp_request(client.mac, client.ip4, host.ip4))
    segment = tcp(client.ip4, "192.0.2.255", 9, 9) + magic(host.mac)
    wire.send(packet(BROADCAST, client.mac, client.ip4, "192.0.2.255", 6, segment))
    wait_until("the card has looked at all of it", lambda: len(
        [e for e in host.nic.events("frame") if e["src"] == client.mac]) == len(payloads) + 2)
    assert not host.magic() and not host.awake
    wire.send(ethernet(BROADCAST, client.mac, ETH_MAGIC, b"leading" + magic(host.mac)))
    host.wait_up()
    host.wait_settled()
    assert client.connect(host.ip4).connected
    host.suspend()
    since = host.nic.events()[-1]["t"]
    datagram = udp(client.ip4, "192.0.2.255", 9, 9, magic(host.mac))
    wire.send(packet(BROADCAST, client.mac, client.ip4, "192.0.2.255", 17, datagram))
    host.wait_up(since=since)
    assert [e["form"] for e in host.magic()] == ["ethertype", "udp"]
    elsewhere = ethernet(client.mac, host.mac, ETH_MAGIC, magic(host.mac))
    assert magic_form(elsewhere, host.mac) is None, "a frame that is not addressed to the card"


@test("tshark")
def rig_tshark_objects_to_bad_frames(lan):
    """Each of these must be found, or the tests that find nothing mean nothing."""
    client, host = lan.client, lan.host
    good = packet(client.mac, host.mac, host.ip4, client.ip4, 6, tcp(host.ip4, client.ip4, 22, 40000))

    def with_byte(at, frame=good):
        return frame[:at] + bytes([frame[at] ^ 0x55]) + frame[at + 1:]

    datagram = with_byte(6, udp(host.ip4, client.ip4, 9999, 9999, b"data"))
    advertisement = with_byte(2, icmpv6(host.ip6, client.ip6, 136, b"\x60\0\0\0" + ip_bytes(host.ip6)))
    bad = {"ip checksum": with_byte(24), "tcp checksum": with_byte(50),
           "udp checksum": packet(client.mac, host.mac, host.ip4, client.ip4, 17, datagram),
           "icmpv6 checksum": packet(client.mac, host.mac, host.ip6, client.ip6, 58, advertisement),
           "short ARP": ethernet(client.mac, host.mac, ETH_ARP, b"\0\1\x08\0\6\4\0\2" + bytes(4), pad=False)}
    path = lan.folder / "rig.pcap"
    assert Capture(None, seen=[Frame(good)]).malformed(path) == []
    for what, frame in bad.items():
        assert len(Capture(None, seen=[Frame(frame)]).malformed(path)) == 1, f"not found: {what}"
