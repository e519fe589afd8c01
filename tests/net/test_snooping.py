# SPDX-License-Identifier: Apache-2.0
"""Behind a switch that snoops (RFC 4541): solicitations for a sleeper still reach the gateway."""

import json
import struct

from case import test
from frames import ALL_NODES, ETH_IP6, ethernet, group_mac, icmpv6, ip_bytes, ipv6, solicited_node
from lan import wait_until


def general_query(node):
    """MLDv1 (RFC 2710 §3), with Router Alert; one second for the answers."""
    alert = bytes([58, 0, 5, 2, 0, 0, 1, 0])
    query = icmpv6(node.ll, ALL_NODES, 130, struct.pack("!HH", 1000, 0) + ip_bytes("::"))
    return ethernet(group_mac(ALL_NODES), node.mac, ETH_IP6, ipv6(node.ll, ALL_NODES, 0, alert + query, hops=1))


def listeners(lan, group):
    """The switch's ports that have asked for the group."""
    database = json.loads(lan.switch.run("bridge", "-j", "mdb", "show").stdout)
    return {entry["port"] for entry in database[0]["mdb"] if entry["grp"] == group}


@test("bridge", "ndisc6", multicast_snooping=True)
def solicitations_reach_the_proxy_through_a_switch_that_snoops(lan):
    proxy = lan.proxy()
    proxy.add(lan.host)
    client = lan.client.packet_socket()
    client.send(general_query(lan.client))  # a switch snoops only where there is a querier
    addresses = (lan.host.ip6, lan.host.temp, lan.host.ll)
    for address in addresses:
        wait_until("the host is a listener", lambda: "host" in listeners(lan, solicited_node(address)))
        assert "gateway" not in listeners(lan, solicited_node(address)), "the test would show nothing"
    at_gateway = lan.segments[0].capture("gateway", "out")
    wait_until("the switch snoops", lambda: snoops(lan, at_gateway), 20, 0.2)

    proxy.put_to_sleep(lan.host)
    for address in addresses:
        wait_until("the gateway is a listener", lambda: "gateway" in listeners(lan, solicited_node(address)))
        done = lan.client.run("ndisc6", "-1", "-q", address, "eth0")
        assert done.stdout.strip().lower() == lan.host.mac, done.stdout

    lan.host.power_on()
    proxy.wait_state("awake")
    lan.host.wait_settled()
    for address in addresses:
        assert "host" in listeners(lan, solicited_node(address)), "nobody may take the host out of its groups"


def snoops(lan, at_gateway):
    """What is multicast to a group without listeners at the gateway does not get there."""
    done = lan.client.run("ndisc6", "-1", "-q", "-r", "3", "-w", "1000", lan.host.ip6, "eth0")
    assert done.stdout.strip().lower() == lan.host.mac, "the host itself answers"
    group = group_mac(solicited_node(lan.host.ip6))
    seen = at_gateway.frames(lambda f: f.dst == group)
    at_gateway.seen.clear()
    return not seen
