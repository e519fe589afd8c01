# SPDX-License-Identifier: Apache-2.0
"""A host that does not wake: clients learn the truth, and it comes back by itself when it can."""

import socket

from case import sleeper, test
from lan import wait_until

IMPATIENT = ("--wake-limit", "2")


def knock(lan, address):
    """A connection attempt that nobody waits for; to be closed by the caller."""
    with lan.client.ns.entered():
        attempt = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        attempt.setblocking(False)
        attempt.connect_ex((address, 22))
    return attempt


def cut_power(lan, off=True):
    """The host's card hears nothing any more, or again."""
    lan.switch.ip("link", "set", "host", "down" if off else "up")


@test("arping", "ndisc6")
def clients_of_a_host_that_does_not_wake_learn_the_truth(lan):
    proxy = sleeper(lan, daemon=IMPATIENT)
    cut_power(lan)
    with knock(lan, lan.host.ip4):
        proxy.wait_state("unreachable")
    assert proxy.ctl("status")["held_packets"] == 0
    for command in (("arping", "-c", "2", "-w", "2", "-I", "eth0", lan.host.ip4),
                    ("ndisc6", "-1", "-q", "-w", "500", "-r", "2", lan.host.ip6, "eth0"),
                    ("ping", "-n", "-c", "1", "-W", "1", lan.host.ip4)):
        done = lan.client.run(*command, check=False)
        assert done.returncode != 0, f"{command[0]}: somebody answers\n{done.stdout}"
    proxy.wait_counter("unanswered", 3)
    assert proxy.state() == "unreachable"
    outcomes = [wake["outcome"] for wake in proxy.ctl("why", "sleeper")["wakes"]]
    assert "unreachable" in outcomes, outcomes


@test("arping")
def a_power_cut_in_the_middle_of_a_wake_recovers_by_itself(lan):
    """Whoever looks for the host has it woken, and the host that is on the network again is not answered for."""
    proxy = sleeper(lan, daemon=IMPATIENT)
    cut_power(lan)
    with knock(lan, lan.host.ip4):
        proxy.wait_state("unreachable")
    assert not lan.host.awake
    cut_power(lan, off=False)
    assert not lan.host.magic(), "its card heard nothing yet"

    def found():
        lan.client.run("arping", "-c", "1", "-w", "1", "-I", "eth0", lan.host.ip4, check=False)
        return lan.host.magic()

    wait_until("whoever looks for the host has it woken", found, 60)
    proxy.wait_state("awake", timeout=20)
    lan.host.wait_settled()
    lan.client.connect(lan.host.ip4)


@test(ipv6=False)
def an_unreachable_host_that_sends_but_ip_packets_is_awake(lan):
    proxy = sleeper(lan, daemon=IMPATIENT)
    cut_power(lan)
    with knock(lan, lan.host.ip4):
        proxy.wait_state("unreachable")
    lan.host.ns.ip("neigh", "replace", lan.gateway.ip4, "lladdr", lan.gateway.mac, "dev", "eth0", "nud", "permanent")
    lan.host.power_on()
    wait_until("the host's first frames are over", lambda: lan.host.awake)
    assert proxy.state() == "unreachable", "they were heard although the cable is cut"
    cut_power(lan, off=False)

    def heard():
        lan.host.run("ping", "-n", "-c", "1", "-W", "1", lan.gateway.ip4, check=False)
        return proxy.state() == "awake"

    wait_until("a packet of the host is heard", heard)
    assert proxy.ctl("host", "show", "sleeper")["since_reason"].endswith("IP packet")
