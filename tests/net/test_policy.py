# SPDX-License-Identifier: Apache-2.0
"""The wake policy: from where, how often and when packets may wake a host; scans and floods stay within it, and a
client wakes its host in the middle of them."""

import json
import random
import signal
import threading
import time

from case import arp_replies, assert_slept, connect_and_check, sleeper, test
from frames import BROADCAST, ETH_MAGIC, TCP_ACK, TCP_RST, TCP_SYN, arp_request, checksum, ethernet, icmpv6, ipv4, \
    magic, packet, tcp, udp
from lan import wait_until

DPORT = 14 + 20 + 2  # in an untagged TCP segment over IPv4
IP_CHECKSUM, SOURCE, SPORT = 14 + 10, 14 + 12, 14 + 20


def syn(lan, source, port=22):
    """A connection attempt by an IPv4 source behind the client."""
    return packet(lan.host.mac, lan.client.mac, source, lan.host.ip4, 6, tcp(source, lan.host.ip4, 40000, port))


def refusals(proxy, name="sleeper"):
    """What the daemon refused, as `why` tells it."""
    return [w for w in proxy.ctl("why", name)["wakes"] if w["outcome"] == "not-woken" and w["decided_by"] == "daemon"]


def wait_refused(proxy, at_least):
    wait_until(f"{at_least} refused", lambda: proxy.ctl("host", "show", "sleeper")["refused"] >= at_least)


def sleep_again(lan, proxy):
    lan.host.wait_settled()
    proxy.put_to_sleep(lan.host)


def around_now(begin, end):
    """HH:MM-HH:MM, hours from now."""
    return "-".join(time.strftime("%H:%M", time.localtime(time.time() + 3600 * hours)) for hours in (begin, end))


@test()
def a_scan_of_every_other_port_does_not_wake(lan):
    proxy = sleeper(lan, "--wake", "tcp/22")
    raw = lan.client.packet_socket()
    frame = bytearray(syn(lan, lan.client.ip4))
    ports, at_a_time = [port for port in range(1, 65536) if port != 22], 500
    for first in range(0, len(ports), at_a_time):
        for port in ports[first:first + at_a_time]:
            frame[DPORT:DPORT + 2] = port.to_bytes(2, "big")  # nobody looks at the checksum before a packet is held
            raw.send(bytes(frame))
        if first % 10_000 == 0:  # a sender that is too fast for the rig scans nothing
            proxy.wait_counter("port-closed", first // 2)
    proxy.wait_counter("port-closed", 30_000)  # the rig may lose some
    assert_slept(lan, proxy)
    connect_and_check(lan, proxy, lan.host.ip4)


@test()
def only_allowed_sources_wake_and_denied_ones_never(lan):
    proxy = sleeper(lan, "--allow-from", "192.0.2.0/28", "--allow-from", "2001:db8:1::/64", "--deny-from", "192.0.2.9")
    client, host, raw = lan.client, lan.host, lan.client.packet_socket()
    raw.send(syn(lan, "192.0.2.9"))
    raw.send(syn(lan, "192.0.2.16"))
    other = "2001:db8:2::7"
    raw.send(packet(host.mac, client.mac, other, host.ip6, 6, tcp(other, host.ip6, 40000, 22)))
    raw.send(packet(BROADCAST, client.mac, "192.0.2.99", "192.0.2.255", 17,
                    udp("192.0.2.99", "192.0.2.255", 9, 9, magic(host.mac))))
    wait_refused(proxy, 4)
    told = {w["sentence"]: w for w in refusals(proxy)}
    assert set(told) == {"192.0.2.9 is in deny-from 192.0.2.9/32", "192.0.2.16 is not in allow-from",
                         f"{other} is not in allow-from", "192.0.2.99 is not in allow-from"}, told
    denied = told["192.0.2.9 is in deny-from 192.0.2.9/32"]
    assert (denied["rule"], denied["reason"]) == ("deny-from 192.0.2.9/32", "trigger-syn"), denied
    events = [e for e in map(json.loads, proxy.run_ctl("events", "--host", "sleeper").stdout.splitlines())
              if e["kind"] == "refused"]
    assert len(events) == 4 and all(e["packet"] for e in events), events
    assert proxy.ctl("status")["held_packets"] == 0
    # the card hears a broadcast by itself, on this rig as on any LAN
    host.wait_up()
    proxy.wait_state("awake")
    sleep_again(lan, proxy)
    since = time.monotonic()
    raw.send(syn(lan, "192.0.2.9"))
    raw.send(syn(lan, "192.0.2.16"))
    wait_refused(proxy, 6)
    assert_slept(lan, proxy, since)
    wire = lan.segments[0].gateway_port()
    connection = connect_and_check(lan, proxy, host.ip4)
    delivered = wire.frames(lambda f: f.l4 and f.l4.protocol == 6)
    assert {f.l4.src for f in delivered} == {client.ip4}, [str(f) for f in delivered]
    assert connection.connected - connection.started < 10


@test(resume=3.0)
def while_it_wakes_nothing_is_held_for_who_may_not_wake_it(lan):
    proxy = sleeper(lan, "--deny-from", "192.0.2.9")
    raw, wire = lan.client.packet_socket(), lan.segments[0].gateway_port()
    raw.send(syn(lan, lan.client.ip4))
    raw.send(syn(lan, "192.0.2.9"))
    wait_refused(proxy, 1)
    wire.wait("the delivered SYN", lambda f: f.dst == lan.host.mac and f.l4 and f.l4.src == lan.client.ip4)
    proxy.wait_state("awake")
    wait_until("nothing is held", lambda: proxy.ctl("status")["held_packets"] == 0)
    assert not wire.frames(lambda f: f.l4 and f.l4.src == "192.0.2.9" and f.src == lan.gateway.mac)


@test("ping")
def monitoring_is_answered_and_wakes_nobody(lan):
    """--no-wake-from is for all hosts: the monitor's pings are answered, and its connections are not."""
    proxy = sleeper(lan, daemon=("--no-wake-from", "192.0.2.10", "--no-wake-from", "2001:db8:1::10"))
    client, host = lan.client, lan.host
    for address in (host.ip4, host.ip6):
        client.run("ping", "-c", "1", "-W", "3", address)
        try:
            client.connect(address, 22, timeout=0.5)
        except TimeoutError:
            continue
        raise AssertionError(f"a connection to {address} completed")
    wait_refused(proxy, 2)
    assert {w["rule"] for w in refusals(proxy)} == {"no-wake-from 192.0.2.10/32", "no-wake-from 2001:db8:1::10/128"}
    assert proxy.ctl("status")["no_wake_from"] == ["192.0.2.10/32", "2001:db8:1::10/128"]
    assert_slept(lan, proxy)
    client.packet_socket().send(syn(lan, "192.0.2.11"))
    host.wait_up()


@test()
def a_budget_that_is_spent_keeps_the_host_asleep(lan):
    """For packets: an operator wakes it as before, and his wakes cost nothing."""
    proxy = sleeper(lan, "--wakes-per-hour", "1")
    client, host, raw = lan.client, lan.host, lan.client.packet_socket()
    proxy.ctl("host", "wake", "sleeper")
    proxy.wait_state("awake")
    sleep_again(lan, proxy)
    since = time.monotonic()
    raw.send(syn(lan, "192.0.2.7"))
    host.wait_up(since=since)
    proxy.wait_state("awake")
    sleep_again(lan, proxy)
    since = time.monotonic()
    raw.send(syn(lan, "192.0.2.8"))
    raw.send(ethernet(host.mac, client.mac, ETH_MAGIC, magic(host.mac)))
    wait_refused(proxy, 2)
    assert {w["sentence"] for w in refusals(proxy)} == {"1 wakes in the last hour, wakes-per-hour allows 1"}
    assert_slept(lan, proxy, since)
    proxy.ctl("host", "wake", "sleeper")
    host.wait_up(since=since)
    proxy.wait_state("awake")


@test()
def events_that_did_not_fit_wake_who_lost_one_and_nobody_else(lan):
    """The daemon stands still while packets for others fill its ring."""
    proxy = lan.proxy()
    raw, client = lan.client.packet_socket(), lan.client

    def add(number, *options):
        proxy.ctl("host", "add", f"h{number}", "--mac", f"02:00:00:00:01:{number:02x}", "--ip", f"192.0.2.{number}",
                  "--wake", "udp/9999", *options)
        proxy.ctl("host", "sleep", f"h{number}")

    def ask(number, source, port, size=0):
        raw.send(packet(f"02:00:00:00:01:{number:02x}", client.mac, source, f"192.0.2.{number}", 17,
                        udp(source, f"192.0.2.{number}", port, 9999, bytes(size))))

    refused, lost, others = 100, 101, range(110, 130)
    add(refused, "--wakes-per-source", 1)
    proxy.wait_state("asleep", f"h{refused}")
    ask(refused, client.ip4, 1)
    wait_until("it is woken", lambda: proxy.state(f"h{refused}") != "asleep")
    proxy.ctl("host", "release", f"h{refused}")
    for number in (refused, lost, *others):
        if number == refused:
            proxy.ctl("host", "sleep", f"h{refused}")
        else:
            add(number)
    for number in (refused, lost, *others):
        proxy.wait_state("asleep", f"h{number}")
    ask(refused, client.ip4, 2)
    wait_until("it is refused", lambda: proxy.ctl("host", "show", f"h{refused}")["refused"] == 1)
    since = proxy.counters()["ring-full"]
    proxy.process.send_signal(signal.SIGSTOP)
    for port in range(1, 61):
        for number in others:
            ask(number, client.ip4, port, 1400)
        time.sleep(0.01)
    ask(lost, client.ip4, 1, 1400)
    time.sleep(0.2)
    proxy.process.send_signal(signal.SIGCONT)
    wait_until("who lost one is woken", lambda: proxy.state(f"h{lost}") != "asleep")
    assert proxy.counters()["ring-full"] > since and "ring-loss" in proxy.text(), "nothing was lost"
    show = proxy.ctl("host", "show", f"h{refused}")
    assert (show["state"], show["refused"]) == ("asleep", 1), "woken for what was refused"


@test()
def quiet_hours_are_kept(lan):
    quiet = around_now(-1, 1)
    proxy = sleeper(lan, "--quiet", quiet, "--quiet", around_now(3, 4))
    client, host, raw = lan.client, lan.host, lan.client.packet_socket()
    raw.send(syn(lan, client.ip4))
    wait_refused(proxy, 1)
    assert [w["sentence"] for w in refusals(proxy)] == [f"quiet hours {quiet}"]
    assert_slept(lan, proxy)
    # the same packet, and a policy that it does not contradict
    tested, = proxy.ctl("policy", "test", "sleeper", "--quiet", around_now(3, 4))["triggers"]
    assert not tested["then"]["woken"] and tested["now"]["woken"], tested
    assert tested["then"]["rule"] == f"quiet {quiet}", tested
    tested, = proxy.ctl("policy", "test", "sleeper", "--quiet", "none", "--deny-from", client.ip4)["triggers"]
    assert tested["now"] == {"woken": False, "rule": f"deny-from {client.ip4}/32",
                             "why": f"{client.ip4} is in deny-from {client.ip4}/32"}, tested
    tested, = proxy.ctl("policy", "test", "sleeper")["triggers"]
    assert not tested["now"]["woken"], tested
    print(proxy.run_ctl("policy", "test", "sleeper", "--quiet", "none", json_output=False).stdout)
    proxy.ctl("host", "wake", "sleeper")  # an operator is not packets
    host.wait_up()
    proxy.wait_state("awake")
    proxy.add(host, "sleeper", "--quiet", around_now(3, 4), "--replace")
    sleep_again(lan, proxy)
    connect_and_check(lan, proxy, host.ip4)


class Flood:
    """SYNs from random sources and ports, `rate` of them a second, until it is stopped or `most` are out."""

    def __init__(self, lan, rate=10_000, most=400_000):
        self.raw, self.frame = lan.client.packet_socket(), bytearray(syn(lan, lan.client.ip4))
        self.rate, self.most, self.sent, self.stopping = rate, most, 0, False
        self.thread = threading.Thread(target=self.run)

    def run(self):
        chance, begun = random.Random(), time.monotonic()  # no two floods from the same sources
        while not self.stopping and self.sent < self.most:
            due = int((time.monotonic() - begun) * self.rate)
            while self.sent < min(due, self.most):
                self.frame[IP_CHECKSUM:SOURCE + 4] = bytes([0, 0, chance.randrange(1, 224)]) + chance.randbytes(3)
                self.frame[SPORT:SPORT + 2] = self.frame[SPORT + 4:SPORT + 6] = chance.randbytes(2)
                self.frame[IP_CHECKSUM:SOURCE] = checksum(self.frame[14:34]).to_bytes(2, "big")
                self.raw.send(bytes(self.frame))
                self.sent += 1
            time.sleep(0.002)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join()


@test()
def a_client_wakes_its_host_in_the_middle_of_a_flood_from_forged_sources(lan):
    """The flood spends its half of the budget on one wake, and cannot wake the host any more; the client can, since its
    TCP asks again."""
    proxy = sleeper(lan, "--wakes-per-hour", "2")
    client, host = lan.client, lan.host
    with Flood(lan, most=1000):
        host.wait_up()
        proxy.wait_state("awake")
    sleep_again(lan, proxy)
    since = time.monotonic()
    with Flood(lan) as flood:
        wait_until("the flood runs", lambda: flood.sent > 5000)
        wait_refused(proxy, 50)
        assert_slept(lan, proxy, since)
        begun = flood.sent
        connection = client.connect(host.ip4, 22, 60)
        sent = flood.sent
        assert sent > begun, "the flood was over before the client came"
    woken = host.magic(since)[0]["t"] - connection.started
    print(f"woken {woken:.3f} s after connect() began, connected after "
          f"{connection.connected - connection.started:.3f} s; by then {sent} forged SYNs, "
          f"{proxy.counters()['trigger-throttled']} of them not handed on")
    proxy.wait_state("awake")
    show = proxy.ctl("host", "show", "sleeper")
    assert show["wakes"] == 2, show
    wake = [w for w in proxy.ctl("why", "sleeper")["wakes"] if w["outcome"] != "not-woken"][-1]
    assert f" {client.ip4}:" in wake["packet"], wake
    events = [e for e in map(json.loads, proxy.run_ctl("events", "--host", "sleeper").stdout.splitlines())
              if e["kind"] == "refused"]
    assert 16 <= len(events) < sent / 10, f"{len(events)} events of refusals: a flood is to be told sparingly"


@test()
def a_denied_source_that_floods_does_not_keep_others_out(lan):
    proxy = sleeper(lan, "--deny-from", "192.0.2.9")
    raw, frame, stop = lan.client.packet_socket(), syn(lan, "192.0.2.9"), threading.Event()

    def run():
        while not stop.wait(0.01):
            for _ in range(40):
                raw.send(frame)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_until("its allowance is used up", lambda: proxy.counters()["trigger-throttled"] > 2000)
        connect_and_check(lan, proxy, lan.host.ip4)
    finally:
        stop.set()
        thread.join()


@test()
def backscatter_and_sweeps_do_not_wake(lan):
    """What answers to somebody's forged packets brings (SYN-ACK, RST, ICMP errors), and a sweep by ARP."""
    proxy = sleeper(lan)
    client, host, raw = lan.client, lan.host, lan.client.packet_socket()
    for i in range(100):
        source = f"198.51.100.{i}"
        for flags in (TCP_SYN | TCP_ACK, TCP_RST, TCP_RST | TCP_ACK):
            raw.send(packet(host.mac, client.mac, source, host.ip4, 6, tcp(source, host.ip4, 22, 40000 + i, flags)))
        inside = ipv4(host.ip4, source, 6, tcp(host.ip4, source, 40000, 80)[:8])
        for kind, code in ((3, 1), (3, 3), (11, 0)):
            error = bytes([kind, code, 0, 0, 0, 0, 0, 0]) + inside
            error = error[:2] + checksum(error).to_bytes(2, "big") + error[4:]
            raw.send(packet(host.mac, client.mac, source, host.ip4, 1, error))
        if i % 20 == 0:  # a sender that is too fast for the rig proves nothing
            proxy.wait_counter("unicast-ignored", 4 * i)
        source6 = f"2001:db8:9::{i:x}"
        for kind in (1, 3):
            raw.send(packet(host.mac, client.mac, source6, host.ip6, 58,
                            icmpv6(source6, host.ip6, kind, bytes(4) + bytes([0x60]) + bytes(39))))
    answers = client.capture()
    for _ in range(3):
        for last in range(1, 255):
            raw.send(arp_request(client.mac, client.ip4, f"192.0.2.{last}"))
    answers.wait("the answers to the sweep", arp_replies(host), count=3)
    proxy.wait_counter("unicast-ignored", 400)
    counters = proxy.counters()
    assert not any(counters[r] for r in ("trigger-syn", "trigger-udp", "trigger-magic", "trigger-echo")), counters
    assert_slept(lan, proxy)
