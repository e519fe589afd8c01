# SPDX-License-Identifier: Apache-2.0
"""What is acknowledged is on disk, and a daemon that ends in any way is followed by one that goes on: docs/operations.md,
"Restart and upgrade"."""

import contextlib
import random
import signal
import socket
import threading
import time

import control
from case import advertisements, arp_replies, assert_slept, connect_and_check, sleeper, test
from frames import arp_request, neighbour_solicitation, packet, tcp
from lan import wait_until
from netns import run
from proxy import Refused

CHANGE = control.REQUEST | control.ACK


def reboot(proxy):
    """Ends the daemon and takes what it left off the kernel, all at once as for the network."""
    proxy.stop(signal.SIGKILL)
    proxy.detach_killed()


def names(proxy):
    return [host["config"]["name"] for host in proxy.ctl("hosts")]


class Asking:
    """ARP requests and Neighbour Solicitations for the host at a steady rate each, while the block runs."""

    def __init__(self, lan, rate=2000):
        self.lan, self.interval = lan, 1 / rate
        self.socket = lan.client.packet_socket()
        self.capture = lan.client.capture("in")
        self.asked = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        client, host = self.lan.client, self.lan.host
        questions = [arp_request(client.mac, client.ip4, host.ip4),
                     neighbour_solicitation(client.mac, client.ip6, host.ip6)]
        due = time.monotonic()
        while not self.done.is_set():
            for question in questions:
                self.socket.send(question)
            self.asked += 1
            due += self.interval
            time.sleep(max(0, due - time.monotonic()))

    def __enter__(self):
        self.thread.start()
        time.sleep(0.2)
        return self

    def __exit__(self, *_):
        time.sleep(0.3)
        self.done.set()
        self.thread.join()

    def answers(self):
        """To ARP, to Neighbour Solicitations; what is announced to all is none."""
        host, client = self.lan.host, self.lan.client
        return tuple(len(self.capture.frames(lambda f: match(f) and f.dst == client.mac))
                     for match in (arp_replies(host), advertisements(host.ip6)))

    def assert_all_answered(self):
        self.capture.frames()
        deadline = time.monotonic() + 5
        while (answers := self.answers()) != (self.asked, self.asked):
            assert time.monotonic() < deadline, f"{self.asked} questions each, answers {answers}"
            time.sleep(0.1)
        print(f"{self.asked} questions each, all answered")


@test()
def a_killed_daemon_that_is_started_again_loses_no_answer(lan):
    proxy = sleeper(lan)
    with Asking(lan) as asking:
        proxy.stop(signal.SIGKILL)
        time.sleep(2)
        proxy.start()
        assert proxy.state() == "asleep"
    asking.assert_all_answered()
    assert_slept(lan, proxy)
    connect_and_check(lan, proxy, lan.host.ip4)


@test()
def a_restart_in_place_loses_no_answer(lan):
    proxy = sleeper(lan)
    with Asking(lan) as asking:
        for count in (2, 3):
            proxy.process.send_signal(signal.SIGUSR1)
            wait_until("the daemon serves anew", lambda: proxy.text().count("ready: ") == count)
    asking.assert_all_answered()
    assert_slept(lan, proxy)
    connect_and_check(lan, proxy, lan.host.ip4)


@test()
def a_packet_that_comes_while_there_is_no_daemon_wakes_the_host_and_is_delivered(lan):
    """One packet: nobody repeats it."""
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    wire = lan.segments[0].gateway_port()
    proxy.stop(signal.SIGKILL)
    client.packet_socket().send(packet(host.mac, client.mac, client.ip4, host.ip4, 6,
                                       tcp(client.ip4, host.ip4, 40123, 22)))
    time.sleep(0.5)
    assert not host.magic(), "who woke it?"
    proxy.start()
    host.wait_up()
    wire.wait("the packet", lambda f: f.l4 is not None and f.l4.protocol == 6 and f.l4.sport == 40123 and
              f.dst == host.mac)
    proxy.wait_state("awake")
    woken, = proxy.ctl("why", "sleeper")["wakes"]
    assert woken["reason"] == "trigger-syn" and woken["delivered"] == 1, woken


@test()
def a_host_that_wakes_while_there_is_no_daemon_is_not_answered_for(lan):
    proxy = sleeper(lan)
    host = lan.host
    proxy.stop(signal.SIGKILL)
    host.power_on()
    host.wait_settled()
    wire = lan.segments[0].gateway_port()
    proxy.start()
    proxy.wait_state("awake", timeout=5)
    raw = lan.client.packet_socket()
    for _ in range(20):
        raw.send(arp_request(lan.client.mac, lan.client.ip4, host.ip4))
        time.sleep(0.05)
    spoken = wire.frames(lambda f: f.src == host.mac)
    assert not spoken, f"in the name of a host that is awake: {[str(f) for f in spoken]}"
    lan.client.connect(host.ip4)


@test("arping")
def after_a_reboot_a_sleeper_is_looked_for_and_then_served(lan):
    proxy = sleeper(lan)
    host = lan.host
    reboot(proxy)
    wire = lan.segments[0].gateway_port()
    proxy.start()
    assert proxy.state() == "asleep"
    wire.wait("a probe", lambda f: f.arp is not None and f.arp[0] == 1 and f.arp[4] == host.ip4)
    spoken = [f for f in wire.frames() if f.src == host.mac]
    assert not spoken, f"before it was looked for: {[str(f) for f in spoken]}"
    wait_until("it is answered for", lambda: lan.client.run(
        "arping", "-c", "1", "-w", "1", "-I", "eth0", host.ip4, check=False).returncode == 0)
    connect_and_check(lan, proxy, host.ip4)


@test()
def a_host_that_woke_while_the_gateway_was_off_is_never_answered_for(lan):
    proxy = sleeper(lan)
    host = lan.host
    reboot(proxy)
    host.power_on()
    host.wait_settled()
    wire = lan.segments[0].gateway_port()
    proxy.start()
    proxy.wait_state("awake", timeout=5)
    time.sleep(1)
    spoken = wire.frames(lambda f: f.src == host.mac)
    assert not spoken, f"in the name of a host that is awake: {[str(f) for f in spoken]}"


@test("arping")
def after_a_stop_hosts_and_their_states_are_there_again(lan):
    """SIGTERM leaves nothing in the kernel; what was configured and who slept is on disk."""
    proxy = sleeper(lan, "--wake", "tcp/22")
    proxy.ctl("host", "add", "other", "--mac", "02:00:00:00:00:77", "--ip", "192.0.2.77", "--echo",
              "ignore", "--magic-port", 40000)
    before = [proxy.ctl("host", "show", name) for name in ("other", "sleeper")]
    proxy.stop()
    proxy.start()
    after = [proxy.ctl("host", "show", name) for name in ("other", "sleeper")]
    for one, two in zip(before, after):
        for changing in ("since_ms", "held_packets", "last_wake_latency_us"):
            one.pop(changing), two.pop(changing)
    assert after == before, f"{before}\n{after}"
    proxy.ctl("host", "remove", "other")
    proxy.stop()
    proxy.start()
    assert names(proxy) == ["sleeper"]
    connect_and_check(lan, proxy, lan.host.ip4)


def set_host(connection, number):
    """Adds h0 ... h63 in turn, or changes them: the MAC says which request it was."""
    attributes = (control.text(1, f"h{number % 64}") + control.attribute(2, bytes([2, 0, *number.to_bytes(4, "big")])) +
                  control.attribute(3, control.attribute(1, socket.inet_aton(f"192.0.2.{100 + number % 64}")), nested=True))
    connection.send(control.message(control.HOST_SET, attributes, CHANGE | 0x500, sequence=number))


@test()
def what_was_acknowledged_is_there_after_a_kill_at_any_point(lan):
    proxy = lan.proxy()
    dice = random.Random(1)
    number, acknowledged, kills = 0, {}, 12
    for _ in range(kills):
        killer = threading.Timer(dice.uniform(0.001, 0.06), proxy.process.kill)
        with control.Raw(proxy.control) as one, control.Raw(proxy.control) as two:
            killer.start()
            with contextlib.suppress(OSError):
                while True:
                    for connection in (one, two):  # two at a time, so that they share a flush
                        number += 1
                        set_host(connection, number)
                    for connection, sent in ((one, number - 1), (two, number)):
                        answer = connection.receive()
                        if not answer:
                            raise ConnectionError
                        assert control.error_of(answer) == (0, ""), control.error_of(answer)
                        acknowledged[f"h{sent % 64}"] = sent
        killer.join()
        proxy.stop(signal.SIGKILL)
        proxy.start()
        present = {host["config"]["name"]: int(host["config"]["mac"][0].replace(":", "")[4:], 16) for host in proxy.ctl("hosts")}
        for name, least in acknowledged.items():
            assert present.get(name, 0) >= least, f"{name}: {least} was acknowledged, there is {present.get(name)}"
        assert max(present.values(), default=0) <= number
        acknowledged = present
    print(f"{kills} kills in {number} requests")
    assert number > 2 * kills


@contextlib.contextmanager
def small_disk(lan):
    """A file system of 1 MiB for the state."""
    folder = lan.folder / "disk"
    folder.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder])
    try:
        yield folder
    finally:
        run(["umount", "-l", folder])


def refused(proxy, *request):
    try:
        proxy.ctl(*request)
    except Refused as refusal:
        return refusal.text
    raise AssertionError(f"{request} was not refused")


@test("arping")
def on_a_full_disk_changes_are_refused_and_everything_else_goes_on(lan):
    other = ("host", "add", "other", "--mac", "02:00:00:00:00:77", "--ip", "192.0.2.77")
    with small_disk(lan) as disk:
        proxy = sleeper(lan, daemon=("--state", disk / "state"))
        client, host = lan.client, lan.host
        proxy.ctl("host", "add", "lamp", "--mac", "02:00:00:00:00:78", "--ip", "192.0.2.78")
        lamp = proxy.ctl("host", "show", "lamp")["config"]["mac"]
        with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))

        def is_full():
            try:
                proxy.ctl(*other)
            except Refused as refusal:
                return refusal.text
            proxy.ctl("host", "remove", "other")
            return None

        said = wait_until("the log's last room is used up", is_full)
        assert "state.db" in said and "full" in said, said
        assert names(proxy) == ["lamp", "sleeper"]
        for request in (("host", "remove", "lamp"), ("host", "sleep", "lamp"),
                        ("host", "add", "lamp", "--replace", "--mac", "02:00:00:00:00:79", "--ip", "192.0.2.79")):
            assert "full" in refused(proxy, *request)
            assert (proxy.state("lamp"), proxy.ctl("host", "show", "lamp")["config"]["mac"]) == ("awake", lamp), request
        assert client.run("arping", "-c", "1", "-w", "2", "-I", "eth0", host.ip4).returncode == 0
        # nobody is kept asleep, or answered for, because a disk is full
        assert proxy.ctl("host", "wake", "sleeper") == {"durable": False}
        host.wait_up()
        proxy.wait_state("awake")
        (disk / "filler").unlink()
        assert proxy.ctl(*other) == {"durable": True}
        proxy.stop(signal.SIGKILL)
        proxy.start()
        assert {h["config"]["name"]: h["state"] for h in proxy.ctl("hosts")} == dict.fromkeys(("lamp", "other", "sleeper"), "awake")


@test("arping")
def on_a_read_only_disk_the_daemon_serves_what_it_can_read(lan):
    with small_disk(lan) as disk:
        proxy = sleeper(lan, daemon=("--state", disk / "state"))
        proxy.stop(signal.SIGKILL)
        run(["mount", "-o", "remount,ro", disk])
        proxy.start()
        assert proxy.state() == "asleep"
        assert str(disk / "state" / "state.db") in proxy.text(), "nobody is told"
        assert lan.client.run("arping", "-c", "1", "-w", "2", "-I", "eth0", lan.host.ip4).returncode == 0
        said = refused(proxy, "host", "add", "other", "--mac", "02:00:00:00:00:77", "--ip", "192.0.2.77")
        assert str(disk / "state" / "state.db") in said and "ead-only" in said, said
        assert names(proxy) == ["sleeper"]
        connect_and_check(lan, proxy, lan.host.ip4)
        run(["mount", "-o", "remount,rw", disk])
        proxy.ctl("host", "add", "other", "--mac", "02:00:00:00:00:77", "--ip", "192.0.2.77")


@test()
def a_damaged_state_file_is_moved_aside_and_told(lan):
    proxy = sleeper(lan)
    proxy.stop()
    file = proxy.state_folder / "state.db"
    data = bytearray(file.read_bytes())
    data[:16] = b"not SQLite at all"[:16]
    file.write_bytes(data)
    proxy.start()
    assert proxy.state() == "asleep"
    assert f"{file}.corrupt-1" in proxy.text(), proxy.text()
    connect_and_check(lan, proxy, lan.host.ip4)


@test(segments=2)
def a_host_whose_interface_is_not_served_stays_in_the_state_file(lan):
    proxy = lan.proxy()
    proxy.add(lan.segments[1].host, "second")
    proxy.stop()
    proxy.interfaces = ["lan0"]
    proxy.start()
    assert proxy.ctl("hosts") == []
    assert "'second'" in proxy.text() and "lan1" in proxy.text().split("'second'")[1], proxy.text()
    assert "could not be restored" in refused(proxy, "host", "add", "second", "--mac", "02:00:00:00:00:77", "--ip",
                                              "192.0.2.77")
    proxy.stop()
    proxy.interfaces = ["lan0", "lan1"]
    proxy.start()
    assert names(proxy) == ["second"]
    proxy.interfaces = ["lan0"]
    proxy.stop()
    proxy.start()
    proxy.ctl("host", "remove", "second")
    proxy.stop()
    proxy.interfaces = ["lan0", "lan1"]
    proxy.start()
    assert proxy.ctl("hosts") == []
