# SPDX-License-Identifier: Apache-2.0
"""Entering and leaving proxy operation: the host's and the operator's word, and a host that comes back by itself."""

from case import arp_replies, assert_keeps_addresses, assert_slept, connect_and_check, sleeper, talking, test
from frames import arp_request
from proxy import Refused


def unanswered(lan):
    done = lan.client.run("arping", "-c", "1", "-w", "1", "-I", "eth0", lan.host.ip4, check=False)
    return done.returncode == 1


@test("arping", "ping")
def R32_nothing_is_answered_before_the_host_sleeps(lan):
    """Configured is not asleep; and while the host still talks it stays in `arming`."""
    proxy = lan.proxy()
    proxy.add(lan.host)
    wire = lan.segments[0].gateway_port()
    lan.client.packet_socket().send(arp_request(lan.client.mac, lan.client.ip4, lan.host.ip4))
    assert proxy.state() == "awake"
    with talking(lan):
        proxy.ctl("host", "sleep", "sleeper")
        for _ in range(5):
            lan.client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", lan.host.ip4)
            shown = proxy.ctl("host", "show", "sleeper")
            assert shown["state"] == "arming", shown
    assert not wire.frames(arp_replies(lan.host)), "the proxy answered for a host that was awake"
    lan.host.suspend()
    proxy.wait_state("asleep")


@test("arping")
def R32_a_released_host_is_not_answered_for(lan):
    proxy = sleeper(lan)
    assert not unanswered(lan)
    proxy.ctl("host", "release", "sleeper")
    assert proxy.state() == "awake"
    assert unanswered(lan), "still answered after the release"


@test("arping")
def R32_a_removed_host_is_not_answered_for(lan):
    proxy = sleeper(lan)
    proxy.ctl("host", "remove", "sleeper")
    try:
        proxy.state()
    except Refused as refused:
        assert refused.code == 1 and "sleeper" in refused.text, refused.text
    else:
        raise AssertionError("the host is still there")
    assert unanswered(lan), "still answered after the removal"


@test("arping")
def R32_a_host_that_powers_on_by_itself_is_released(lan):
    """Its first frame ends the proxy's operation, before its duplicate address detection could be disturbed."""
    proxy = sleeper(lan)
    since = lan.host.nic.events()[-1]["t"]
    lan.host.power_on()
    proxy.wait_state("awake")
    assert_keeps_addresses(lan)
    assert not lan.host.magic(since), "the host was awake, but was sent a Magic Packet"
    assert proxy.counters()["sign-of-life"] >= 1


@test("arping")
def R32_a_sign_of_life_from_another_of_the_hosts_macs_releases(lan):
    """A laptop that comes back on its dock."""
    dock = "00:00:5e:00:53:d0"
    proxy = sleeper(lan, "--mac", dock)
    wire = lan.segments[0].gateway_port()
    lan.client.packet_socket().send(arp_request(dock, lan.host.ip4, lan.host.ip4))
    proxy.wait_state("awake")
    assert unanswered(lan), "still answered, although the host is back"
    assert not wire.frames(arp_replies(lan.host))


@test("arping")
def R32_five_sleeps_cost_no_address(lan):
    """accept_dad=2: one wrong answer to its own duplicate address detection would take IPv6 away from this host."""
    proxy = lan.proxy()
    proxy.add(lan.host)
    for i in range(5):
        proxy.put_to_sleep(lan.host)
        assert_slept(lan, proxy, since=lan.host.nic.events()[-1]["t"])
        if i % 2:
            lan.host.power_on()
            proxy.wait_state("awake")
        else:
            connect_and_check(lan, proxy, (lan.host.ip4, lan.host.ip6)[i // 2 % 2])
        assert_keeps_addresses(lan)
        assert lan.host.run("cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6").stdout.strip() == "0"


@test("arping", "ndisc6", "ping", "etherwake", "tshark")
def tshark_finds_nothing_malformed_in_anything_sent(lan):
    """A whole story, then everything that the gateway sent during it, checksums included."""
    client, host = lan.client, lan.host
    wire = lan.segments[0].gateway_port()
    proxy = sleeper(lan)
    client.flush_neighbours()
    client.run("arping", "-c", "2", "-I", "eth0", host.ip4)
    client.run("arping", "-D", "-c", "1", "-I", "eth0", host.ip4, check=False)
    for address in (host.ip6, host.temp, host.ll):
        client.run("ndisc6", "-1", address, "eth0")
    for size in (0, 1, 55, 1400):
        client.run("ping", "-n", "-c", "2", "-i", "0.05", "-s", size, host.ip4)
        client.run("ping", "-n", "-c", "2", "-i", "0.05", "-s", size, host.ip6)
    connect_and_check(lan, proxy, host.ip4)
    host.wait_settled()
    proxy.put_to_sleep(host)
    connect_and_check(lan, proxy, host.ip6)
    host.wait_settled()
    proxy.put_to_sleep(host)
    client.run("etherwake", "-i", "eth0", host.mac)
    proxy.wait_state("awake")
    host.wait_settled()
    proxy.stop()
    sent = wire.frames()
    assert len(sent) > 30 and {f.src for f in sent} == {host.mac, lan.gateway.mac}, [str(f) for f in sent]
    objections = wire.malformed(lan.folder / "gateway.pcap")
    assert not objections, "\n".join(objections)
