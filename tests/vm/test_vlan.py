# SPDX-License-Identifier: Apache-2.0
"""VLANs as a Linux gateway has them: 802.1Q devices on a trunk, and a bridge that filters VLANs."""

from case import test
from frames import arp_request, ethernet
from lan import Node, wait_until
from proxy import Refused
from test_bridge import PORTS, bridge
from test_links import events
from test_story import LIMIT, assert_answered


def on_vlan(node, vlan, number, network="198.51.100"):
    """The same machine on its 802.1Q device."""
    device = f"{node.interface}.{vlan}"
    node.ns.ip("link", "add", "link", node.interface, "name", device, "type", "vlan", "id", vlan)
    there = Node(node.ns, device, number, 1)
    there.mac, there.ip4 = node.mac, f"{network}.{number}"
    node.ns.batch([f"link set {device} up", f"addr add {there.ip4}/24 dev {device}"])
    return there


class Asker:
    """Asks for an address in frames, with and without tags; what was not answered by the time when a later question was is
    not answered."""

    def __init__(self, node, source, address):
        self.node, self.source, self.address = node, source, address
        self.wire, self.raw = node.capture("in"), node.packet_socket()

    def ask(self, *tags):
        self.raw.send(arp_request(self.node.mac, self.source, self.address, vlan=tags))

    def replies(self):
        """The tags of each, and the MAC that it gives."""
        found = self.wire.frames(lambda f: f.arp is not None and f.arp[0] == 2 and f.arp[2] == self.address)
        return [([tag & 0xFFF for tag in f.vlan], f.arp[1]) for f in found]

    def wait_replies(self, *wanted):
        wait_until(f"answers {wanted}", lambda: len(self.replies()) >= len(wanted))
        assert self.replies() == list(wanted), self.replies()
        self.wire.seen.clear()

    def answered(self, *tags):
        """Now, and by nobody before."""
        self.wire.frames()
        self.wire.seen.clear()
        self.ask(*tags)
        try:
            wait_until("an answer", self.replies, 0.3)
        except AssertionError:
            return False
        return True


@test("arping", "ping", hosts=2)
def two_vlans_of_a_trunk_are_two_networks(lan):
    """The gateway has lan0.5 and lan0.6, and serves the trunk."""
    networks = {5: "198.51.100", 6: "203.0.113"}
    lan.gateway.ns.ip("addr", "add", "198.51.100.254/32", "dev", lan.gateway.interface)  # for probes
    clients = {vlan: on_vlan(lan.client, vlan, 10, network) for vlan, network in networks.items()}
    gateways = {vlan: on_vlan(lan.gateway, vlan, 1, network) for vlan, network in networks.items()}
    machines = dict(zip(networks, lan.segments[0].hosts))
    hosts = {vlan: on_vlan(machines[vlan], vlan, 20, network) for vlan, network in networks.items()}
    proxy = lan.proxy()
    for vlan, host in hosts.items():
        proxy.ctl("host", "add", f"host{vlan}", "--mac", host.mac, "--ip", host.ip4, "--vlan", vlan)
        proxy.put_to_sleep(machines[vlan], f"host{vlan}")
    for vlan, client in clients.items():
        assert_answered(client, hosts[vlan])
        gateways[vlan].run("ping", "-n", "-c", "1", "-W", "20", hosts[vlan].ip4)
        asker = Asker(lan.client, lan.client.ip4, hosts[vlan].ip4)
        for wrong in ((), (11 - vlan,), (7,)):
            asker.ask(*wrong)
        asker.ask(vlan)
        asker.wait_replies(([vlan], hosts[vlan].mac))
    clients[5].connect(hosts[5].ip4, timeout=LIMIT)
    proxy.wait_state("awake", "host5")
    assert proxy.state("host6") == "asleep" and not machines[6].awake and not machines[6].magic()
    gateways[6].connect(hosts[6].ip4, timeout=LIMIT)
    proxy.wait_state("awake", "host6")
    assert not events(proxy, "failed"), events(proxy, "failed")


@test("arping", "bridge", "ping")
def hosts_behind_a_bridge_that_filters_vlans_are_served_in_their_own_alone(lan):
    """A trunk to the switch with the client, the host at an access port of VLAN 5, a third machine at one of VLAN 6."""
    third = bridge(lan)
    gateway, client, host = lan.gateway_ns, lan.client, lan.host
    vlan = lambda verb, *words: gateway.run("bridge", "vlan", verb, "dev", *words)
    gateway.ip("link", "set", "br0", "type", "bridge", "vlan_filtering", 1)
    vlan("add", PORTS[0], "vid", 5)
    vlan("add", PORTS[0], "vid", 6)
    for port, vid in ((PORTS[1], 5), (PORTS[2], 6)):
        vlan("add", port, "vid", vid, "pvid", "untagged")
        vlan("del", port, "vid", 1)
    gateway.ip("addr", "add", "198.51.100.254/32", "dev", "br0")  # for probes
    there = on_vlan(client, 5, 10)
    host.ns.ip("addr", "add", "198.51.100.20/24", "dev", "eth0")
    address = "198.51.100.20"
    proxy = lan.proxy()
    try:
        proxy.ctl("host", "add", "one", "--mac", host.mac, "--ip", address, "--vlan", 1)
    except Refused as refused:
        assert refused.code == 1 and "vlan 1 is where br0 itself is" in refused.text, refused.text
    else:
        raise AssertionError("VLAN 1 is the bridge's own, and was accepted")
    proxy.ctl("host", "add", "sleeper", "--mac", host.mac, "--ip", address, "--vlan", 5)
    told = wait_until("somebody says that the bridge is not in VLAN 5", lambda: events(proxy, "failed"))
    assert "bridge vlan add dev br0 vid 5 self" in told[0]["text"], told
    vlan("add", "br0", "vid", 5, "self")
    local = on_vlan(lan.gateway, 5, 1)
    proxy.put_to_sleep(host)

    trunk, access = Asker(client, there.ip4, address), Asker(third, "198.51.100.30", address)
    access.ask()
    access.ask(5)
    for tags in ((), (6,), (1,), (7,)):
        trunk.ask(*tags)
    trunk.ask(5)
    trunk.wait_replies(([5], host.mac))
    assert not access.replies(), "answered in VLAN 6"
    vlan("add", PORTS[2], "vid", 5, "pvid", "untagged")  # the third machine moves to VLAN 5
    wait_until("it is answered there", access.answered)
    assert access.replies() == [([], host.mac)], access.replies()
    vlan("del", PORTS[2], "vid", 5)
    wait_until("it is not answered any more", lambda: not access.answered())
    local.run("ping", "-n", "-c", "1", "-W", "20", address)

    # without a tag: where the bridge itself is
    guest, guest_mac = "192.0.2.77", "00:00:5e:00:53:77"
    proxy.ctl("host", "add", "guest", "--mac", guest_mac, "--ip", guest)
    proxy.ctl("host", "sleep", "guest")
    proxy.wait_state("asleep", "guest")
    trunk, access = Asker(client, client.ip4, guest), Asker(third, third.ip4, guest)
    access.ask()
    trunk.ask(5)
    trunk.ask(6)
    trunk.ask()
    trunk.wait_replies(([], guest_mac))
    trunk.ask(1)
    trunk.wait_replies(([1], guest_mac))
    assert not access.replies(), "answered in VLAN 6"

    # what is nobody's crosses the bridge within its VLAN
    wire = third.capture("in")
    raw = client.packet_socket()
    for number, tags in enumerate(((), (5,), (6,))):
        raw.send(ethernet(third.mac, client.mac, 0x88B5, b"%d" % number, tags))
    got = wire.wait("the frame of VLAN 6", lambda f: f.ethertype == 0x88B5)
    assert [(f.vlan, f.payload[:1]) for f in got] == [([], b"2")], [str(f) for f in got]

    there.flush_neighbours()
    there.connect(address, timeout=LIMIT)
    proxy.wait_state("awake")
    assert len(events(proxy, "failed")) == 1, events(proxy, "failed")
