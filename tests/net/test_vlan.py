# SPDX-License-Identifier: Apache-2.0
"""Tagged hosts and foreign frames.  The kernel need not have VLAN devices: the frames are sent and read raw."""

from case import (advertisements, arp_replies, assert_proper_advertisement, assert_proper_arp_reply, assert_slept,
                  sleeper, test)
from frames import BROADCAST, arp_request, ethernet, neighbour_solicitation
from lan import Node


class Guest(Node):
    """A host that exists in frames only."""

    def __init__(self, lan, number):
        super().__init__(lan.client.ns, "eth0", number, 0)

    @property
    def own_addresses(self):
        return [self.ip4, self.ip6]


def tagged(lan, vlan, tags):
    """A sleeper with these tags is answered for with them, and not without."""
    proxy = lan.proxy()
    client, guest = lan.client, Guest(lan, 33)
    proxy.add(guest, "guest", "--vlan", vlan)
    proxy.ctl("host", "sleep", "guest")
    proxy.wait_state("asleep", "guest")
    raw, wire = client.packet_socket(), lan.segments[0].gateway_port()
    wrong = [(), *([(tags[0],)] if len(tags) == 2 else []), tuple(t + 1 for t in tags)]
    for other in wrong:
        raw.send(arp_request(client.mac, client.ip4, guest.ip4, vlan=other))
        raw.send(neighbour_solicitation(client.mac, client.ip6, guest.ip6, vlan=other))
    priority = 5 << 13
    raw.send(arp_request(client.mac, client.ip4, guest.ip4, vlan=[priority | t for t in tags]))
    raw.send(arp_request(client.mac, client.ip4, guest.ip4, dst=guest.mac, vlan=tags))
    raw.send(neighbour_solicitation(client.mac, client.ip6, guest.ip6, vlan=tags))
    advertisement = wire.wait("the advertisement", lambda f: advertisements(guest.ip6)(f) and f.dst == client.mac)
    replies = wire.frames(lambda f: arp_replies(guest)(f) and f.dst == client.mac)
    assert len(advertisement) == 1 and len(replies) == 2, [str(f) for f in wire.seen]
    assert_proper_advertisement(advertisement[0], guest, guest.ip6, client.mac, client.ip6, tags=tags)
    for reply in replies:
        assert_proper_arp_reply(reply, guest, client.mac, client.ip4, tags)
    untagged = wire.frames(lambda f: f.src == guest.mac and [t & 0xFFF for t in f.vlan] != list(tags))
    assert not untagged, f"sent in the sleeper's name outside its VLAN: {[str(f) for f in untagged]}"
    assert proxy.state("guest") == "asleep"


@test()
def R1_a_sleeper_behind_a_vlan_tag_is_answered_with_the_tag(lan):
    tagged(lan, "100", (100,))


@test()
def R1_a_sleeper_behind_two_vlan_tags_is_answered_with_both(lan):
    tagged(lan, "200.100", (200, 100))


@test()
def R1_a_priority_tag_is_no_vlan(lan):
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    wire = client.capture()
    client.packet_socket().send(arp_request(client.mac, client.ip4, host.ip4, vlan=[3 << 13]))
    reply = wire.wait("the answer", arp_replies(host))[0]
    assert reply.arp == (2, host.mac, host.ip4, client.mac, client.ip4)
    assert all(t & 0xFFF == 0 for t in reply.vlan)
    assert_slept(lan, proxy)


@test()
def R1_unknown_ethertypes_and_deep_tags_are_ignored(lan):
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    wire = lan.segments[0].gateway_port()
    raw = client.packet_socket()
    request = arp_request(client.mac, client.ip4, host.ip4)
    snap = b"\xaa\xaa\x03\0\0\0\x08\x06" + request[14:42]
    odd = [ethernet(host.mac, client.mac, 0x88B5, b"local experiment"),
           ethernet(BROADCAST, client.mac, 0x88B5, b"local experiment"),
           ethernet(BROADCAST, client.mac, len(snap), snap),
           request[:12] + bytes.fromhex("88a80001" "81000002" "81000003") + request[12:]]
    for frame in odd:
        raw.send(frame)
    raw.send(request)
    wire.wait("the answer to the one proper request", arp_replies(host))
    sent = wire.frames(lambda f: f.src == host.mac)
    assert len(sent) == 1, [str(f) for f in sent]
    assert_slept(lan, proxy)
