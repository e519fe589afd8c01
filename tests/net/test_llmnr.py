# SPDX-License-Identifier: Apache-2.0
"""Sleeping hosts are found by LLMNR, as systemd-resolved sees it, and a client that asks what resolved never does."""

import json
import time

from case import assert_slept, sleeper, test
from dns import (A, AAAA, ANY, CONFLICT, LLMNR4, LLMNR6, LLMNR_PORT, PTR, RESPONSE, TENTATIVE, TRUNCATED, Asker,
                 encoded, message_of, query, record, response, reverse)
from frames import ip_bytes, packet, udp
from lan import wait_until
from resolved import PROGRAMS, Resolved

NAMES = ("--hostname", "desk.local", "--hostname", "büro")
VERIFIED = 3.5  # seconds after which a name is known to be the host's alone
FAMILIES = ((4, LLMNR4), (6, LLMNR6))


def events(proxy, kind):
    lines = proxy.run_ctl("events", "--host", "sleeper").stdout.splitlines()
    return [e for e in map(json.loads, lines) if e["kind"] == kind]


def responses(frame):
    found = message_of(frame, LLMNR_PORT)
    return found is not None and found.is_response


def is_verified(lan, name):
    """It is answered for, and as one that is the host's alone."""
    with Asker(lan.client, 4) as asker:
        found, _ = asker.ask(query((name, A)), LLMNR4, LLMNR_PORT, 1)
    return found is not None and not found.flags & TENTATIVE


def uniqueness_queries(name):
    return lambda f: (m := message_of(f, LLMNR_PORT)) and not m.is_response and m.questions == [(name, ANY, 1)]


def assert_woken_by_conflict(lan, proxy, name, since):
    lan.host.wait_up(since=since)
    told = wait_until("the event", lambda: events(proxy, "conflict"))
    assert name in told[0]["text"] and any(a in told[0]["text"] for a in (lan.client.ip4, lan.client.ll)), told
    assert "the host is woken" in told[0]["text"] and told[0]["rule"] == "llmnr conflict", told
    wake = next(w for w in proxy.ctl("why", "sleeper")["wakes"] if w["outcome"] != "not-woken")
    assert (wake["rule"], wake["decided_by"]) == ("llmnr conflict", "daemon"), wake
    proxy.wait_state("awake")


@test(*PROGRAMS)
def R82_R84_R85_R87_resolved_finds_a_sleeper_by_its_name(lan):
    """Not all that has a name is in the first label, and case does not count."""
    proxy = sleeper(lan, *NAMES, "--wake", "tcp/22")
    with Resolved(lan, lan.client, "client") as resolved:
        time.sleep(VERIFIED)
        assert resolved.addresses("-4", "desk") == {lan.host.ip4}
        assert resolved.addresses("-6", "DESK") == {lan.host.ip6, lan.host.temp, lan.host.ll}
        assert resolved.query("--type=A", "desk") == [f"desk IN A {lan.host.ip4}"]
        assert f"desk IN AAAA {lan.host.ip6}" in resolved.query("--type=AAAA", "desk")
        assert resolved.query("table") == [], "a name that nobody has"
    assert_slept(lan, proxy)


@test(*PROGRAMS)
def R90_resolved_finds_a_sleeper_by_a_name_in_utf_8(lan):
    proxy = sleeper(lan, *NAMES, "--wake", "tcp/22")
    with Resolved(lan, lan.client, "client") as resolved:
        time.sleep(VERIFIED)
        assert resolved.addresses("-4", "büro") == {lan.host.ip4}, resolved.text()[-3000:]
    assert_slept(lan, proxy)


@test("tshark")
def R85_R87_R88_R90_every_type_is_answered_over_both_ip_versions(lan):
    """By unicast, with the query's id and question, TTL 30 s, IP TTL 255."""
    proxy = sleeper(lan, *NAMES)
    host = lan.host
    for name in ("desk", "büro"):
        wait_until(f"{name} is verified", lambda: is_verified(lan, name))
    wire = lan.segments[0].gateway_port()
    addresses6 = {host.ip6, host.temp, host.ll}
    cases = [("desk", A, {host.ip4}), ("desk", AAAA, addresses6), ("DeSk", A, {host.ip4}), ("büro", A, {host.ip4}),
             (reverse(host.ip4), PTR, {"desk", "büro"}), (reverse(host.ip6), PTR, {"desk", "büro"}),
             (reverse(host.temp), PTR, {"desk", "büro"}), ("desk", 15, set())]
    for family, group in FAMILIES:
        with Asker(lan.client, family) as asker:
            for number, (name, kind, wanted) in enumerate(cases, 1):
                found, sender = asker.ask(query((name, kind), number=number), group, LLMNR_PORT)
                assert found, f"no answer about {name} type {kind} over IPv{family}"
                assert found.data(name, kind) == wanted, (name, kind, found)
                assert (found.id, found.questions) == (number, [(name, kind, 1)]), found
                assert sender in host.own_addresses, sender
                assert found.flags & ~CONFLICT == RESPONSE and all(r.ttl == 30 for r in found.answers), found
            found, _ = asker.ask(query(("desk", ANY), number=99), group, LLMNR_PORT)
            assert found and {r.data for r in found.answers} == {host.ip4} | addresses6, found
            for name in ("table", "desk.local"):
                found, _ = asker.ask(query((name, A)), group, LLMNR_PORT, 1)
                assert found is None, found
    spoken = wire.frames(responses)
    assert len(spoken) == 2 * (len(cases) + 1) and not any(f.multicast for f in spoken), [str(f) for f in spoken]
    assert all(f.l4.hops == 255 and f.dst == lan.client.mac for f in spoken), [str(f) for f in spoken]
    objections = wire.malformed(lan.folder / "llmnr.pcap")
    assert not objections, "\n".join(objections)
    assert_slept(lan, proxy)


@test()
def R86_a_query_to_a_sleepers_own_address_is_ignored(lan):
    proxy = sleeper(lan, *NAMES)
    time.sleep(VERIFIED)
    wire = lan.segments[0].gateway_port()
    for family, address in ((4, lan.host.ip4), (6, lan.host.ip6), (6, lan.host.ll)):
        with Asker(lan.client, family) as asker:
            found, _ = asker.ask(query(("desk", A), number=5), address, LLMNR_PORT, 1)
            assert found is None, found
    raw = lan.client.packet_socket()  # the gateway's MAC does not make it one to the group
    datagram = udp(lan.client.ip4, lan.host.ip4, 40000, LLMNR_PORT, query(("desk", A), number=6))
    raw.send(packet("01:00:5e:00:00:fc", lan.client.mac, lan.client.ip4, lan.host.ip4, 17, datagram))
    time.sleep(0.5)
    assert not wire.frames(responses), [str(f) for f in wire.frames(responses)]
    for family, group in FAMILIES:
        with Asker(lan.client, family) as asker:
            assert asker.ask(query(("desk", A), number=7), group, LLMNR_PORT)[0], "the group is answered"
    assert_slept(lan, proxy)


@test(*PROGRAMS)
def R89_a_resolved_that_has_the_sleepers_name_wakes_it(lan):
    """It answers the queries by which the proxy verifies that the name is the host's alone."""
    proxy = lan.proxy()
    proxy.add(lan.host, "sleeper", *NAMES, "--wake", "tcp/22")
    with Resolved(lan, lan.client, "desk") as resolved:
        wait_until("resolved has verified its name", lambda: "successfully probed" in resolved.text())
        wire = lan.segments[0].gateway_port()
        since = lan.host.nic.events()[-1]["t"]
        proxy.hand_over(lan.host)
        wire.wait("the uniqueness query", uniqueness_queries("desk"), 15)
        assert_woken_by_conflict(lan, proxy, "desk", since)


@test()
def R89_a_claim_of_the_sleepers_name_after_it_was_verified_wakes_it(lan):
    """Somebody else saw two answers and says so with the C bit; the proxy verifies anew, and the other one answers."""
    wire = lan.segments[0].gateway_port()
    proxy = sleeper(lan, *NAMES)
    host, client = lan.host, lan.client
    wire.wait("the third uniqueness query over either IP version", uniqueness_queries("desk"), count=6)
    time.sleep(11)  # it was verified lately (RFC 4795 §4.2)
    since = host.nic.events()[-1]["t"]
    wire.frames()
    wire.seen.clear()
    with Asker(client, 4, LLMNR_PORT, [LLMNR4]) as asker:
        asker.send(query(("desk", A), number=8, flags=CONFLICT), LLMNR4, LLMNR_PORT)
        asked = message_of(wire.wait("it is verified anew", lambda f: message_of(f, LLMNR_PORT))[0], LLMNR_PORT)
        assert not asked.is_response and asked.questions == [("desk", A, 1)], asked
        assert not wire.frames(responses), "a query with the C bit was answered"
        question = encoded("desk") + A.to_bytes(2) + (1).to_bytes(2)
        claim = response(record("desk", A, 30, ip_bytes(client.ip4)), number=asked.id, flags=RESPONSE,
                         question=question)
        asker.send(claim, host.ip4, LLMNR_PORT)
        assert_woken_by_conflict(lan, proxy, "desk", since)


@test()
def llmnr_is_not_truncated_and_a_flood_of_its_queries_is_bounded(lan):
    proxy = sleeper(lan, *NAMES)
    time.sleep(VERIFIED)
    wire = lan.segments[0].gateway_port()
    raw = lan.client.packet_socket()
    started = time.monotonic()
    for number in range(3000):
        datagram = udp(lan.client.ip4, LLMNR4, 40000 + number, LLMNR_PORT, query(("desk", ANY), number=number))
        raw.send(packet("01:00:5e:00:00:fc", lan.client.mac, lan.client.ip4, LLMNR4, 17, datagram))

    def allowed():
        return 40 + 20 * (time.monotonic() - started + 2)

    def ignored():
        counters = proxy.counters()
        return counters["llmnr-ignored-rate-limited"] + counters["option-lost"]  # by a daemon that is slow

    wait_until("most are ignored", lambda: ignored() >= 3000 - allowed())
    time.sleep(0.3)
    spoken = [message_of(f, LLMNR_PORT) for f in wire.frames(responses)]
    assert 0 < len(spoken) <= allowed(), len(spoken)
    assert not any(m.flags & TRUNCATED for m in spoken)
    assert_slept(lan, proxy)
