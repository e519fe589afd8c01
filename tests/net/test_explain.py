# SPDX-License-Identifier: Apache-2.0
"""`proxzzyctl explain` against a running daemon: it leaves no trace, and what it says is what then happens."""

import json

from case import sleeper, talking, test
from frames import ethernet, ETH_IP4
from lan import wait_until
from netns import run
from proxy import program
from tables import array
from test_resume import NEVER

SMALL = ("--max-hosts", "64")  # so that whole maps are dumped quickly


def everything(proxy):
    """All that a frame could change: counters, every map, the host."""
    state = {"stats": proxy.counters()}
    for path in sorted((proxy.pins / "maps").iterdir()):
        if path.name in ("pz_triggers_v1", "pz_overheard_v1", "pz_xsks_v1"):
            continue  # rings and sockets have no dump; tests/bpf looks at the rings' positions
        state[path.name] = array(path) or json.loads(run(["bpftool", "-j", "map", "dump", "pinned", path]).stdout)
    daemon = state["pz_daemon_v2"]
    state["pz_daemon_v2"] = daemon[:8] + daemon[16:]  # the heartbeat goes on
    shown = proxy.ctl("host", "show", "sleeper")
    shown.pop("since_ms")
    return {**state, "host": shown}


def explain_without_trace(proxy, *words):
    """The explanation.  Somebody's frame may come in between; what explain itself changes, it changes every time."""
    for _ in range(5):
        before = everything(proxy)
        explanation = proxy.ctl("explain", *words)
        after = everything(proxy)
        changed = [name for name in before if before[name] != after[name]]
        if not changed:
            return explanation
    raise AssertionError(f"explain {words} changed {changed}")


def expect(explanation, verdict, reason, **more):
    for name, value in {"verdict": verdict, "reason": reason, **more}.items():
        assert explanation[name] == value, f"{name} is {explanation[name]}, wanted {value}: {explanation}"


def happens(lan, proxy, explanation):
    """The frame is sent for real: counted for the same reason, and answered with the same bytes."""
    wire = lan.segments[0].gateway_port()
    before = proxy.counters()[explanation["reason"]]
    lan.client.packet_socket().send(bytes.fromhex(explanation["frame"]))
    wait_until(f"a frame is counted as {explanation['reason']}",
               lambda: proxy.counters()[explanation["reason"]] > before)
    if explanation["reply"]:
        reply = bytes.fromhex(explanation["reply"])
        wire.wait("the reply, byte for byte", lambda frame: frame.raw == reply)


@test("bpftool")
def explain_leaves_no_trace_and_says_what_then_happens(lan):
    proxy = sleeper(lan, "--wake", "tcp/22", "--wake", "udp/5060", daemon=SMALL)
    host, client = lan.host, lan.client
    desk = {"host": "sleeper", "host_state": "asleep", "interface": lan.gateway.interface, "segment": 1}

    # what is answered, ignored or passed
    for words, verdict, reason in (
            (["--arp", client.ip4, "sleeper"], "answer", "arp-answered"),
            (["--arp", "0.0.0.0", host.ip4], "answer", "arp-probe-answered"),
            (["--ns", client.ip6, "sleeper"], "answer", "nd-answered"),
            (["--ns", "::", host.ip6], "answer", "nd-dad-answered"),
            (["--echo", client.ip4, "sleeper"], "answer", "echo-answered"),
            (["--echo", client.ip6, "sleeper"], "answer", "echo-answered"),
            (["--tcp", f"{client.ip4}:40000", "sleeper:23", "--syn"], "drop", "port-closed"),
            (["--tcp", client.ip4, "sleeper:22", "--ack"], "drop", "unicast-ignored")):
        explanation = explain_without_trace(proxy, *words)
        expect(explanation, verdict, reason, sender=None, **desk)
        assert [event["kind"] for event in explanation["event"]] == (["non-wake"] if verdict == "drop" else []), explanation
        happens(lan, proxy, explanation)
        assert proxy.state() == "asleep"
    assert "sleeper wakes for tcp/22, udp/5060" in proxy.ctl("explain", "--udp", client.ip4, "sleeper:53")["sentence"]

    # a stranger's frame, and one for nobody
    explanation = explain_without_trace(proxy, "--arp", host.ip4, client.ip4, "--from-mac", "00:00:5e:00:53:99")
    expect(explanation, "pass", "conflict", **desk)
    assert explanation["event"][0]["kind"] == "conflict", explanation
    explanation = explain_without_trace(proxy, "--udp", client.ip4, f"{lan.gateway.ip4}:53")
    expect(explanation, "pass", "nobody", host=None, sender=None, event=[], reply=None)
    happens(lan, proxy, explanation)

    # what would wake it, explained only
    trigger = {"kind": "trigger", "host": "sleeper", "address": None, "next": "wakes sleeper by Magic Packets"}
    for words in (["--magic", "sleeper"], ["--magic", host.mac]):
        expect(explain_without_trace(proxy, *words), "pass", "trigger-magic", rule="magic", event=[trigger], **desk)
    explanation = explain_without_trace(proxy, "--udp", client.ip6, "sleeper:5060")
    expect(explanation, "drop", "trigger-udp", rule="udp/5060", **desk)
    # its own frame
    life = explain_without_trace(proxy, "--arp", "sleeper", lan.gateway.ip4)
    expect(life, "pass", "sign-of-life", sender="sleeper", sender_state="asleep", sign="ARP request", host=None)
    assert life["event"][0]["kind"] == "release" and life["event"][0]["address"] == host.ip4, life
    assert not host.awake and proxy.state() == "asleep" and not host.magic(), "explain woke the host"

    # and then it happens
    syn = explain_without_trace(proxy, "--tcp", f"{client.ip4}:40000", "sleeper:22", "--syn")
    expect(syn, "drop", "trigger-syn", rule="tcp/22", sender=None, reply=None, **desk)
    assert syn["event"] == [{**trigger, "address": host.ip4, "next": "wakes sleeper by Magic Packets, the first from the "
                             f"kernel at once; holds the packet until sleeper is back with {host.ip4}"}], syn
    happens(lan, proxy, syn)
    proxy.wait_state("awake")
    assert host.magic() and host.awake

    host.wait_settled()
    proxy.put_to_sleep(host)
    happens(lan, proxy, life)
    proxy.wait_state("awake")
    assert not host.awake, "only its frame came back"


@test(resume=NEVER)
def explain_follows_the_hosts_state(lan):
    """Before, while it falls asleep, asleep, and while it is woken; the text says the same as the JSON."""
    proxy = lan.proxy()
    proxy.add(lan.host)
    ask = ["--tcp", lan.client.ip4, "sleeper:22"]
    expect(proxy.ctl("explain", *ask), "pass", "nobody", host="sleeper", host_state="awake", event=[])
    with talking(lan):
        proxy.ctl("host", "sleep", "sleeper")
        own = proxy.ctl("explain", "--echo", "sleeper", lan.client.ip4)
        expect(own, "pass", "owner-arming", sender="sleeper", sender_state="arming", sign="IP packet")
    lan.host.suspend()
    proxy.wait_state("asleep")
    proxy.ctl("host", "wake", "sleeper")
    woken = proxy.ctl("explain", *ask)
    expect(woken, "drop", "trigger-syn", host_state="waking", rule="tcp/any")
    assert woken["event"][0]["next"] == (f"sleeper is already waking: holds the packet until sleeper is back with "
                                         f"{lan.host.ip4}"), woken
    plain = proxy.run_ctl("explain", *ask, json_output=False).stdout
    for line in ("verdict  drop", "host     sleeper, waking", "rule     tcp/any", f"next     {woken['event'][0]['next']}"):
        assert line in plain.splitlines(), plain
    lan.host.power_on()
    proxy.wait_state("awake")


@test()
def explain_reads_captures_and_bytes(lan):
    proxy = sleeper(lan)
    wire = lan.segments[0].capture("gateway", "out")  # what the gateway receives
    lan.client.run("ping", "-n", "-c", "1", "-W", "2", lan.host.ip4)
    wire.wait("the echo request", lambda f: f.l4 and f.l4.protocol == 1)
    path = lan.folder / "capture.pcap"
    wire.write(path)
    told = proxy.ctl("explain", "--pcap", path)
    assert [t["frame"] for t in told] == [f.raw.hex() for f in wire.seen], told
    (echo,) = [t for t in told if t["reason"] == "echo-answered"]
    one = proxy.ctl("explain", "--pcap", path, "--packet", echo["packet"])
    assert one == [echo], one
    typed = proxy.ctl("explain", "--hex", bytes.fromhex(echo["frame"]).hex(":"))
    assert {**typed, "packet": echo["packet"]} == echo, typed
    with open(path, "rb") as capture:
        piped = run([program("proxzzyctl"), "--control", proxy.control, "--json", "explain", "--pcap", "-"],
                    stdin=capture)
    assert json.loads(piped.stdout) == told, piped.stdout
    large = ethernet(lan.host.mac, lan.client.mac, ETH_IP4, b"\0" * 9300)
    for code, names, words in ((1, "13 bytes", ["--hex", "00" * 13]), (1, "9314 bytes", ["--hex", large.hex()]),
                               (1, "nosuch0", ["--hex", echo["frame"], "--interface", "nosuch0"]),
                               (1, "nosuch.pcap", ["--pcap", "/nosuch.pcap"]), (2, '\\"g\\"', ["--hex", "0g"])):
        done = proxy.run_ctl("explain", *words)
        assert done.returncode == code and names in done.stderr, f"{words}: {done.stderr}"
