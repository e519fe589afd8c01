# SPDX-License-Identifier: Apache-2.0
"""Addresses that end: their host is woken to renew them, routers extend them, and nobody is answered for them after."""

import json
import struct
import time

import control
from case import assert_slept, test
from frames import ALL_NODES, ETH_IP6, ethernet, group_mac, icmpv6, ip_bytes, ipv6, mac_bytes
from lan import wait_until

HOST_NAME, HOST_MAC, HOST_IP = 1, 2, 3
IP_ADDRESS, IP_TEMPORARY, IP_VALID = 1, 2, 3


def configure(lan, proxy, addresses):
    """`addresses`: address -> (seconds of validity or None, temporary), as a host's own software hands them over."""
    attributes = control.text(HOST_NAME, "sleeper") + control.attribute(HOST_MAC, mac_bytes(lan.host.mac))
    for address, (valid, temporary) in addresses.items():
        nested = control.attribute(IP_ADDRESS, ip_bytes(address))
        if temporary:
            nested += control.attribute(IP_TEMPORARY, b"\1")
        if valid:
            nested += control.attribute(IP_VALID, struct.pack("<I", valid))
        attributes += control.attribute(HOST_IP, nested, nested=True)
    with control.Raw(proxy.control) as connection:
        answer = connection.ask(control.message(control.HOST_SET, attributes, control.REQUEST | control.ACK | control.CREATE_NEW))
    assert control.error_of(answer) == (0, ""), control.error_of(answer)


def router_advertisement(node, prefix, valid):
    """One /64 for autonomous configuration."""
    option = bytes([3, 4, 64, 0xC0]) + struct.pack("!III", valid, valid, 0) + ip_bytes(prefix)
    message = icmpv6(node.ll, ALL_NODES, 134, struct.pack("!BBHII", 64, 0, 0, 0, 0) + option)
    return ethernet(group_mac(ALL_NODES), node.mac, ETH_IP6, ipv6(node.ll, ALL_NODES, 58, message))


@test("arping")
def R41_a_host_is_woken_to_renew_its_address(lan):
    proxy = lan.proxy()
    configured = time.monotonic()
    configure(lan, proxy, {lan.host.ip4: (32, False), lan.host.ip6: (None, False)})
    proxy.put_to_sleep(lan.host)
    magic = wait_until("the host is woken", lambda: lan.host.magic(), 40)[0]
    assert 23 < magic["t"] - configured < 32, f"woken {magic['t'] - configured:.1f} s after it had 32 s"
    proxy.wait_state("awake")
    wake = proxy.ctl("why", "sleeper")["wakes"][-1]
    assert (wake["decided_by"], wake["sentence"]) == ("daemon", f"{lan.host.ip4} is to be renewed"), wake
    events = map(json.loads, proxy.run_ctl("events").stdout.splitlines())
    said = [e["text"] for e in events if e["kind"] == "state" and e["to"] == "waking"]
    assert said == [f"{lan.host.ip4} is to be renewed"], said


@test("arping", "ndisc6")
def addresses_end_and_routers_extend_them(lan):
    """The temporary address of no advertised prefix ends; the other one lives by the router's word; nobody is woken."""
    proxy = lan.proxy()
    stray = "2001:db8:f::20"  # temporary, in a prefix that nobody advertises
    configured = time.monotonic()
    configure(lan, proxy, {lan.host.ip4: (None, False), lan.host.ip6: (16, False), stray: (16, True)})
    lan.client.packet_socket().send(router_advertisement(lan.client, "2001:db8:1::", 3600))
    proxy.put_to_sleep(lan.host)

    def answers(address):
        done = lan.client.run("ndisc6", "-1", "-q", "-r", "3", "-w", "500", address, "eth0", check=False)
        return done.stdout.strip().lower() == lan.host.mac

    assert answers(lan.host.ip6) and answers(stray)
    wait_until("the address that nobody extended has ended", lambda: not answers(stray), 30, 0.5)
    assert time.monotonic() - configured > 16, "it ended too early"
    assert answers(lan.host.ip6), "the router extended it"
    assert_slept(lan, proxy)
