# SPDX-License-Identifier: Apache-2.0
"""Events, the wake log, and readers of events who do not read."""

import json
import signal
import statistics
import subprocess
import sys
import time

import control_load
from case import assert_slept, connect_and_check, sleeper, test
from frames import TCP_SYN, arp_request, magic, packet, tcp
from lan import SUPPORT, wait_until
from proxy import program, sanitized


def follow(proxy, *options):
    """`proxzzyctl events --follow --json`, and the file that it writes."""
    path = proxy.lan.folder / f"events{len(list(proxy.lan.folder.glob('events*')))}"
    with open(path, "w") as out:
        process = subprocess.Popen([program("proxzzyctl"), "--control", proxy.control, "--json", "events", "--follow",
                                    *options], stdout=out, stdin=subprocess.DEVNULL)
    return process, path


def events_in(path):
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def edges(events):
    return [(e["from"], e["to"]) for e in events if e["kind"] == "state"]


@test("tshark")
def events_and_why_tell_the_story_of_a_wake(lan):
    """Every edge once and in order, the packet in one line, every step with its time, and the packet as pcap."""
    proxy = lan.proxy()
    follower, path = follow(proxy, "--host", "sleeper")
    proxy.add(lan.host, "sleeper", "--wake", "tcp/22")
    proxy.put_to_sleep(lan.host)
    connection = connect_and_check(lan, proxy, lan.host.ip4)
    wait_until("the delivery is an event", lambda: [e for e in events_in(path) if e["kind"] == "delivered"])
    seen = events_in(path)
    assert edges(seen) == [("awake", "arming"), ("arming", "asleep"), ("asleep", "waking"), ("waking", "awake")], seen
    assert all(e["host"] == "sleeper" for e in seen), seen
    numbers = [e["sequence"] for e in seen]
    assert numbers == sorted(set(numbers)), numbers
    trigger, = [e for e in seen if e["kind"] == "trigger"]
    for part in (lan.client.mac, lan.client.ip4 + ":", f"{lan.host.ip4}:22", "TCP SYN"):
        assert part in trigger["packet"], trigger
    assert (trigger["reason"], trigger["rule"], trigger["decided_by"]) == ("trigger-syn", "tcp/22", "kernel"), trigger
    requests = [e["text"] for e in seen if e["kind"] == "request"]
    assert requests == ["host set", "host sleep"], requests
    assert all(e["uid"] == 0 and e["pid"] > 0 for e in seen if e["kind"] == "request")

    plain = proxy.run_ctl("events", json_output=False).stdout.splitlines()
    kept = [line.split()[3] for line in plain]  # date, time, host, kind
    assert [k for k in kept if k in ("ready", "interface")] == ["interface", "ready"], plain
    assert any("asleep -> waking" in line for line in plain), plain

    why = proxy.ctl("why", "sleeper")
    wake, = [w for w in why["wakes"] if w["outcome"] != "not-woken"]
    assert (wake["outcome"], wake["reason"], wake["rule"], wake["decided_by"]) == \
        ("awake", "trigger-syn", "tcp/22", "kernel"), wake
    assert wake["packet"] == trigger["packet"] and wake["delivered"] == 1 and wake["dropped"] == 0, wake
    clock = time.time() - time.monotonic()
    assert connection.started - 0.1 <= wake["time_ns"] / 1e9 - clock <= connection.connected, wake
    assert wake["magic_after_us"] == 0, "the kernel sends it at once"
    assert wake["alive_after_us"] <= wake["delivered_after_us"] + 10_000 < 5_000_000, wake
    text = proxy.run_ctl("why", "sleeper", json_output=False).stdout
    print(text, "\n".join(plain), sep="\n")
    for part in ("woken by", "rule tcp/22", "Magic Packet", "sign of life", "delivered", "outcome       awake"):
        assert part in text, text

    capture = lan.folder / "wakes.pcap"
    proxy.run_ctl("why", "sleeper", "--pcap", capture)
    shown = subprocess.run(["tshark", "-n", "-r", capture, "-T", "fields", "-e", "ip.src", "-e", "ip.dst",
                            "-e", "tcp.dstport", "-e", "tcp.flags"], capture_output=True, text=True, timeout=60)
    assert shown.stdout.split() == [lan.client.ip4, lan.host.ip4, "22", f"0x{TCP_SYN:04x}"], shown
    on_stdout = subprocess.run([program("proxzzyctl"), "--control", proxy.control, "why", "sleeper", "--pcap", "-"],
                               capture_output=True, timeout=20).stdout
    assert on_stdout == capture.read_bytes(), "the file and standard output differ"

    follower.send_signal(signal.SIGINT)
    assert follower.wait(5) == 0, "interrupted, and not done"


@test()
def a_follower_hears_that_the_daemon_stops(lan):
    proxy = lan.proxy()
    stopped, path = follow(proxy)
    wait_until("the follower has what is kept", lambda: events_in(path))
    proxy.stop()
    assert stopped.wait(5) == 0
    assert events_in(path)[-1]["kind"] == "stopping", events_in(path)
    proxy.start()
    killed, path = follow(proxy)
    wait_until("the follower has what is kept", lambda: events_in(path))
    proxy.stop(signal.SIGKILL)
    assert killed.wait(5) == 1, "nobody said good-bye"
    proxy.detach_killed()


@test()
def why_tells_what_did_not_wake(lan):
    proxy = sleeper(lan, "--wake", "tcp/22")
    client, host = lan.client, lan.host
    raw = client.packet_socket()
    for _ in range(3):
        raw.send(packet(host.mac, client.mac, client.ip4, host.ip4, 6, tcp(client.ip4, host.ip4, 40000, 80)))
    wait_until("the packets are in the wake log", lambda: sum(w["count"] for w in proxy.ctl("why", "sleeper")["wakes"]
                                                              if w["reason"] == "port-closed") == 3)
    closed, = [w for w in proxy.ctl("why", "sleeper")["wakes"] if w["reason"] == "port-closed"]
    assert closed["outcome"] == "not-woken" and closed["decided_by"] == "kernel", closed
    assert f"{client.ip4}:40000 > {host.ip4}:80 TCP SYN" in closed["packet"], closed
    text = proxy.run_ctl("why", "sleeper", json_output=False).stdout
    assert "not woken by" in text and "3 times" in text and "port-closed: " in text, text
    print(text)
    told = [e for e in map(json.loads, proxy.run_ctl("events", "--host", "sleeper").stdout.splitlines())
            if e["kind"] == "non-wake"]
    assert len([e for e in told if e["reason"] == "port-closed"]) == 3, told
    assert_slept(lan, proxy)
    host.power_on()
    proxy.wait_state("awake")
    by_itself = proxy.ctl("why", "sleeper")["wakes"][-1]
    assert by_itself["decided_by"] == "host" and by_itself["sign"] and not by_itself["magic_after_us"], by_itself


@test()
def stats_are_watched_with_rates(lan):
    proxy = sleeper(lan)
    watching = subprocess.Popen([program("proxzzyctl"), "--control", proxy.control, "--json", "stats", "--watch=1"],
                                stdout=subprocess.PIPE, text=True)
    first = json.loads(watching.stdout.readline())
    raw = lan.client.packet_socket()
    for _ in range(50):
        raw.send(arp_request(lan.client.mac, lan.client.ip4, lan.host.ip4))

    def answered(shown):
        return next(c for c in shown["counters"] if c["name"] == "arp-answered")

    counts = [answered(first)]
    while counts[-1]["value"] - counts[0]["value"] < 50 and len(counts) < 10:
        counts.append(answered(json.loads(watching.stdout.readline())))
    watching.send_signal(signal.SIGINT)
    assert watching.wait(15) == 0
    assert counts[0]["rate"] == 0 and counts[-1]["value"] - counts[0]["value"] == 50, counts
    assert 0 < max(count["rate"] for count in counts) <= 50.5, counts


def load(proxy, what, count):
    return subprocess.Popen([sys.executable, SUPPORT / "control_load.py", what, proxy.control, str(count)],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class Mimic:
    """A host of which there is nothing but the frames that it would send: made to be woken."""

    def __init__(self, lan, number):
        self.lan, self.name = lan, f"mimic{number}"
        self.mac, self.ip4 = f"02:00:00:00:01:{number:02x}", f"192.0.2.{100 + number}"

    def wake(self, raw, wire):
        """From a connection attempt to the Magic Packet, and from the first sign of life to the delivered packet."""
        client = self.lan.client
        started = time.time()
        raw.send(packet(self.mac, client.mac, client.ip4, self.ip4, 6, tcp(client.ip4, self.ip4, 40000, 22)))
        woken = wire.wait("the Magic Packet", lambda f: magic(self.mac) in f.payload)[0].when
        back = time.time()
        raw.send(arp_request(self.mac, self.ip4, client.ip4))
        delivered = wire.wait("the delivered packet", lambda f: f.dst == self.mac and f.l4 and f.l4.protocol == 6)
        return woken - started, delivered[0].when - back


@test()
def a_hundred_readers_of_whom_half_never_read_change_no_wake(lan):
    """100,000 events while hosts are woken: no wake takes longer, nobody who reads misses one unnoticed, and those who
    do not read cost nothing and are told.  A fifth of that with a sanitizer, which is slower."""
    count = 20_000 if sanitized() else 100_000
    proxy = lan.proxy("--log-level", "error")
    mimics = [Mimic(lan, i) for i in range(22)]
    for mimic in mimics:
        proxy.ctl("host", "add", mimic.name, "--mac", mimic.mac, "--ip", mimic.ip4)
        proxy.ctl("host", "sleep", mimic.name)
    wait_until("all are asleep", lambda: {h["state"] for h in proxy.ctl("hosts")} == {"asleep"}, 15)
    raw, wire = lan.client.packet_socket(), lan.segments[0].gateway_port()
    alone = [mimic.wake(raw, wire) for mimic in mimics[:11]]

    idle = [control_load.follow(proxy.control) for _ in range(50)]
    readers = load(proxy, "readers", 50)
    assert readers.stdout.readline() == "reading\n"
    begun = time.monotonic()
    requests = load(proxy, "requests", count)
    assert requests.stdout.readline() == "begun\n"
    crowded = []
    for mimic in mimics[11:]:
        time.sleep(0.1)  # spread over the load
        times = mimic.wake(raw, wire)
        if requests.poll() is not None:
            break
        crowded.append(times)
    assert len(crowded) >= 5, "the load was over before the wakes were"
    memory = proxy.memory_kib()
    sent, _ = requests.communicate(timeout=90)
    took = time.monotonic() - begun
    assert requests.returncode == 0 and int(sent) >= count, sent
    last = json.loads(proxy.run_ctl("events").stdout.splitlines()[-1])["sequence"]
    assert last >= count
    answer, _ = readers.communicate(f"{last}\n", timeout=30)
    assert readers.returncode == 0
    tallies = json.loads(answer)["connections"]
    assert len(tallies) == 50 and all(t["events"] > 100 for t in tallies), tallies

    for connection in idle:  # still there, and told what they missed
        connection.setblocking(False)
        tally = control_load.Tally()

        def caught_up(connection=connection, tally=tally):
            assert control_load.read_all(connection, tally), "who does not read was dropped"
            return tally.last >= last

        wait_until("a reader that had slept has caught up", caught_up)
        assert tally.complete() and tally.missed > count // 2, vars(tally)
    for step, name in enumerate(("to the Magic Packet", "from sign of life to delivery")):
        before, after = (statistics.median(times[step] for times in each) for each in (alone, crowded))
        print(f"{name}: median {before * 1e3:.2f} ms alone, {after * 1e3:.2f} ms among 100 readers")
        # whom a reader holds up waits for its socket; a busy machine is late by less
        assert after < max(5 * before, before + 0.25), f"{name}: {before * 1e3:.2f} ms became {after * 1e3:.2f} ms"
    received = sum(t["events"] for t in tallies)
    print(f"{last} events in {took:.1f} s, {received} of them read; the daemon takes {memory >> 10} MiB")
    proxy.assert_memory(memory, 32 << 10)
