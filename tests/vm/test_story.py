# SPDX-License-Identifier: Apache-2.0
"""The main story on another kernel, and hosts behind 802.1Q devices, which not every kernel has.  Nothing is said about
speed: a guest may be fifty times slower than its machine."""

import signal
import time

from case import test
from lan import Node, wait_until
from test_daemon import assert_nothing_left, traces

LIMIT = 90  # seconds
VLAN = 100


def assert_answered(client, host):
    done = client.run("arping", "-c", "2", "-w", "60", "-I", client.interface, host.ip4, check=False)
    assert host.mac.upper() in done.stdout, done.stdout


@test("arping", "ndisc6", "tc")
def a_sleeper_is_answered_for_woken_and_given_back_also_when_the_daemon_was_killed(lan):
    client, host = lan.client, lan.host
    before = traces(lan)
    proxy = lan.proxy()
    proxy.add(host)
    wire = lan.segments[0].gateway_port()
    for address in (host.ip4, host.ip6):
        proxy.put_to_sleep(host)
        client.flush_neighbours()
        assert_answered(client, host)
        done = client.run("ndisc6", "-1", "-q", "-w", "60000", host.temp, "eth0")
        assert done.stdout.strip().lower() == host.mac, done.stdout
        client.flush_neighbours()
        since = time.monotonic()
        connection = client.connect(address, timeout=LIMIT)
        assert host.magic(since), "nobody woke the host"
        delivered = wire.wait("the SYN that was held", lambda f, port=connection.port: (
            f.l4 and f.l4.protocol == 6 and f.l4.sport == port), LIMIT)
        assert [(f.src, f.dst) for f in delivered] == [(lan.gateway.mac, host.mac)], [str(f) for f in delivered]
        proxy.wait_state("awake")
        host.wait_settled()
        done = host.run("arping", "-D", "-c", "1", "-w", "2", "-I", "eth0", host.ip4, check=False)
        assert done.returncode == 0, f"arping -D on the host: somebody answers for {host.ip4}:\n{done.stdout}"
    proxy.put_to_sleep(host)
    proxy.stop(signal.SIGKILL)
    assert_answered(client, host)
    proxy.detach_killed()
    assert_nothing_left(lan, before)


def on_vlan(node, number):
    """The same machine on its 802.1Q device."""
    device = f"{node.interface}.{VLAN}"
    node.ns.ip("link", "add", "link", node.interface, "name", device, "type", "vlan", "id", VLAN)
    there = Node(node.ns, device, number, 1)  # addresses of another network
    there.mac = node.mac
    node.ns.batch([f"link set {device} up", f"addr add {there.ip4}/24 dev {device}"])
    return there


@test("arping")
def a_host_on_a_vlan_device_is_woken_and_gets_its_packet(lan):
    """Client and host are real machines on VLAN 100; the gateway has the trunk and an address on it for its probes."""
    client, host = on_vlan(lan.client, 10), on_vlan(lan.host, 20)
    lan.gateway.ns.ip("addr", "add", "198.51.100.1/24", "dev", lan.gateway.interface)
    proxy = lan.proxy()
    proxy.ctl("host", "add", "tagged", "--mac", host.mac, "--ip", host.ip4, "--vlan", VLAN)
    proxy.put_to_sleep(lan.host, "tagged")
    assert_answered(client, host)
    wire = lan.segments[0].gateway_port()
    since = time.monotonic()
    client.connect(host.ip4, timeout=LIMIT)
    assert lan.host.magic(since), "nobody woke the host"
    proxy.wait_state("awake", "tagged")
    delivered = wire.wait("the SYN that was held", lambda f: f.l4 and f.l4.protocol == 6, LIMIT)
    assert [(f.vlan, f.dst) for f in delivered] == [([VLAN], host.mac)], [str(f) for f in delivered]
    wait_until("no packet is held", lambda: proxy.ctl("status")["held_packets"] == 0)


@test("ping")
def a_program_on_the_gateway_reaches_a_sleeper_by_its_vlan_device(lan):
    """The tag stands beside the frame when it leaves by the trunk, and beside the answer when it comes back."""
    gateway, host = on_vlan(lan.gateway, 3), on_vlan(lan.host, 20)
    proxy = lan.proxy()
    proxy.ctl("host", "add", "tagged", "--mac", host.mac, "--ip", host.ip4, "--vlan", VLAN)
    proxy.put_to_sleep(lan.host, "tagged")
    shown = gateway.ns.ip("-d", "neigh", "show", "nud", "permanent", "dev", gateway.interface).stdout
    assert f"{host.ip4} lladdr {host.mac}" in shown and "proto 122" in shown, shown
    wire = lan.segments[0].gateway_port()
    gateway.run("ping", "-n", "-c", "2", "-W", "5", host.ip4)
    assert not wire.frames(lambda f: f.dst == host.mac), "an echo request to the sleeper left"
    gateway.connect(host.ip4, timeout=LIMIT)
    proxy.wait_state("awake", "tagged")
    delivered = wire.wait("the SYN", lambda f: f.l4 and f.l4.protocol == 6, LIMIT)
    assert (delivered[0].vlan, delivered[0].dst) == ([VLAN], host.mac), str(delivered[0])
    assert "proto 122" not in gateway.ns.ip("-d", "neigh", "show", "dev", gateway.interface).stdout
