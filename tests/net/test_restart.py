# SPDX-License-Identifier: Apache-2.0
"""What is acknowledged is on disk, and a daemon that ends in any way is followed by one that goes on: docs/operations.md,
"Restart and upgrade"."""

import contextlib
import ipaddress
import json
import random
import signal
import socket
import subprocess
import threading
import time

import control
from case import assert_keeps_addresses, assert_slept, connect_and_check, sleeper, test
from frames import arp_request, neighbour_solicitation, packet, tcp
from lan import build_folder, wait_until
from netns import run
from proxy import Refused, sanitized

CHANGE = control.REQUEST | control.ACK


def reboot(proxy):
    """Ends the daemon and takes what it left off the kernel, all at once as for the network."""
    proxy.stop(signal.SIGKILL)
    proxy.detach_killed()


def trigger(lan):
    """One connection attempt that nobody repeats."""
    client, host = lan.client, lan.host
    client.packet_socket().send(packet(host.mac, client.mac, client.ip4, host.ip4, 6,
                                       tcp(client.ip4, host.ip4, 40123, 22)))


def names(proxy):
    return [host["config"]["name"] for host in proxy.ctl("hosts")]


@contextlib.contextmanager
def asking(lan, rate=100_000):
    """ARP requests and Neighbour Solicitations for the host, `rate` of each a second or as many as the machine can do,
    while the block runs; then, that each was answered.  They are unicast, as from who knows the host already: the
    switch would send broadcasts to everybody's card."""
    client, host = lan.client, lan.host
    questions = [arp_request(client.mac, client.ip4, host.ip4, dst=host.mac),
                 neighbour_solicitation(client.mac, client.ip6, host.ip6, dst=host.ip6, dst_mac=host.mac)]
    process = client.ns.start(build_folder() / "tests" / "net" / "asker", "eth0", 120, rate,
                              *(question.hex() for question in questions), stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(0.5)
        yield
        time.sleep(0.5)
        process.terminate()
        said = json.loads(process.communicate(timeout=20)[0])
    finally:
        process.kill()
        process.wait()
    print(f"{said['asked']} questions each in {said['seconds']:.1f} s: {said['asked'] / said['seconds']:.0f} a second; "
          f"answered: ARP {said['arp']}, ND {said['nd']}")
    assert said["arp"] == said["nd"] == said["asked"] > 0, said


def configured_sleeper(lan, text):
    """A daemon with a configuration file, and the LAN's host asleep in its care; and that file."""
    config = lan.folder / "proxzzyd.conf"
    config.write_text(text)
    proxy = lan.proxy(config=config)
    proxy.add(lan.host)
    proxy.put_to_sleep(lan.host)
    return proxy, config


def serves_anew(proxy, count):
    wait_until("the daemon serves anew", lambda: proxy.text().count("ready: ") == count, 30)


@test()
def a_killed_daemon_that_is_started_again_loses_no_answer(lan):
    proxy = sleeper(lan)
    with asking(lan):
        proxy.stop(signal.SIGKILL)
        time.sleep(2)
        proxy.start()
        assert proxy.state() == "asleep"
    assert_slept(lan, proxy)
    connect_and_check(lan, proxy, lan.host.ip4)


@test()
def a_restart_in_place_loses_no_answer(lan):
    """Nor what the interface was told to accept, which a card with a filter needs."""
    proxy = sleeper(lan)
    looks = lan.folder / "groups"
    with open(looks, "w") as file:
        groups = proxy.namespace.start("sh", "-c", "while cat /proc/net/dev_mcast && echo; do sleep 0.01; done", stdout=file)
    sizes = [0]
    with asking(lan):
        for count in (2, 3):
            proxy.process.send_signal(signal.SIGUSR1)
            serves_anew(proxy, count)
            sizes.append(looks.stat().st_size)
    groups.kill()
    groups.wait()
    assert sizes[2] > sizes[1] > 0, "nobody looked"
    seen = [text for text in looks.read_text().split("\n\n")[:-1] if "lan0" in text]
    group = "3333ff" + ipaddress.ip_address(lan.host.ip6).packed[-3:].hex()
    assert all(group in text for text in seen), [text for text in seen if group not in text][:1]
    assert_slept(lan, proxy)
    connect_and_check(lan, proxy, lan.host.ip4)


@test()
def an_upgrade_to_other_map_sizes_loses_no_answer(lan):
    """Its maps cannot be used further: what they say goes into new ones, before those are looked at."""
    proxy, config = configured_sleeper(lan, "max-hosts = 1000\n")
    with asking(lan):
        config.write_text("max-hosts = 2000\n")
        proxy.process.send_signal(signal.SIGUSR1)
        serves_anew(proxy, 2)
        assert proxy.state() == "asleep"
        config.write_text("max-hosts = 1000\n")
        proxy.stop(signal.SIGKILL)
        proxy.start()
        assert proxy.state() == "asleep"
    assert_slept(lan, proxy)
    connect_and_check(lan, proxy, lan.host.ip4)


@test()
def what_happens_before_an_upgrade_to_other_map_sizes_is_acted_on(lan):
    """A packet that came while there was no daemon wakes the host, and one that woke is not answered for."""
    proxy, config = configured_sleeper(lan, "max-hosts = 1000\n")
    proxy.stop(signal.SIGKILL)
    trigger(lan)
    config.write_text("max-hosts = 2000\n")
    proxy.start()
    lan.host.wait_up()
    proxy.wait_state("awake")
    lan.host.wait_settled()
    proxy.put_to_sleep(lan.host)
    proxy.stop(signal.SIGKILL)
    lan.host.power_on()
    lan.host.wait_settled()
    config.write_text("max-hosts = 1000\n")
    wire = lan.segments[0].gateway_port()
    proxy.start()
    proxy.wait_state("awake")
    spoken = wire.frames(lambda f: f.src == lan.host.mac)
    assert not spoken, f"in the name of a host that is awake: {[str(f) for f in spoken]}"


@test("bpftool", segments=2)
def a_daemon_that_fails_half_way_watches_over_nobody(lan):
    """It cannot attach to one of two interfaces, time and again: what answers on the other one is not watched by that."""
    proxy = lan.proxy(interfaces=["lan0"])
    proxy.add(lan.host, "sleeper", "--interface", "lan0")
    proxy.put_to_sleep(lan.host)
    proxy.stop(signal.SIGKILL)
    maps = proxy.pins / "maps" / "pz_daemon_v2"

    def heartbeat():
        return json.loads(run(["bpftool", "-j", "map", "dump", "pinned", maps]).stdout)[0]["formatted"]["value"]["heartbeat_ns"]

    last = heartbeat()
    lan.gateway_ns.ip("link", "set", "dev", "lan1", "xdpdrv", "obj", lan.folder / "pass.bpf.o", "sec", "xdp")
    proxy.interfaces = ["lan0", "lan1"]
    for _ in range(2):
        proxy.start(wait=False)
        assert proxy.wait_ended(30) == 1, proxy.text()
        assert heartbeat() == last, "the kernel takes it for watched"
    lan.gateway_ns.ip("link", "set", "dev", "lan1", "xdpdrv", "off")
    proxy.start()
    assert_slept(lan, proxy)
    connect_and_check(lan, proxy, lan.host.ip4)


@test()
def a_stop_that_comes_during_a_restart_is_a_stop(lan):
    proxy = sleeper(lan)
    proxy.process.send_signal(signal.SIGUSR1)
    wait_until("it restarts", lambda: "stopping: restarts" in proxy.text(), interval=0.001)
    proxy.stop()
    assert not (lan.bpffs / "proxzzy").exists(), "something goes on answering"


@test("arping")
def a_daemon_that_cannot_follow_leaves_the_kernel_answering(lan):
    proxy = sleeper(lan)
    proxy.stop(signal.SIGKILL)
    control_path, proxy.control = proxy.control, lan.folder / "a-folder"
    proxy.control.mkdir()
    proxy.start(wait=False)
    assert proxy.wait_ended(30) == 1, proxy.text()
    assert "a-folder" in proxy.text(), proxy.text()
    lan.client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", lan.host.ip4)
    proxy.control = control_path
    with asking(lan):
        proxy.start()
    assert_slept(lan, proxy)
    connect_and_check(lan, proxy, lan.host.ip4)


@test()
def a_restart_with_a_wrong_configuration_is_refused(lan):
    """Else the next program ends, and nobody wakes the sleepers."""
    hosts = lan.folder / "hosts.d"
    hosts.mkdir()
    proxy, config = configured_sleeper(lan, "")
    for file, wrong, right in ((config, "max-hosts = many\n", ""),
                               (hosts / "lamp.conf", "mac = nonsense\n", "mac = 02:00:00:00:00:78\nip = 192.0.2.78\n")):
        file.write_text(wrong)
        told = proxy.text().count("no restart: ")
        proxy.process.send_signal(signal.SIGUSR1)
        wait_until("the restart is refused", lambda: proxy.text().count("no restart: ") > told)
        assert "ready: " in proxy.text() and proxy.text().count("ready: ") == 1, proxy.text()
        file.write_text(right)
    assert "many" in proxy.text() and "lamp.conf" in proxy.text(), proxy.text()
    told = proxy.text().count("no restart: ")
    lan.gateway_ns.ip("link", "set", "dev", "lan0", "name", "away")  # it would be missed at a start
    proxy.process.send_signal(signal.SIGUSR1)
    wait_until("the restart is refused", lambda: proxy.text().count("no restart: ") > told)
    lan.gateway_ns.batch(["link set dev away down", "link set dev away name lan0", "link set dev lan0 up"])
    proxy.wait_state("asleep")
    wait_until("it is served again", lambda: proxy.interfaces_status()[0]["served"])
    proxy.process.send_signal(signal.SIGUSR1)
    serves_anew(proxy, 2)
    assert names(proxy) == ["lamp", "sleeper"]
    assert_slept(lan, proxy)
    connect_and_check(lan, proxy, lan.host.ip4)


@test()
def files_that_contradict_a_stored_sleeper_wait_until_it_is_awake(lan):
    """A file that was renamed, or whose host somebody had added by hand: the daemon serves, and says so."""
    hosts = lan.folder / "hosts.d"
    hosts.mkdir()
    text = f"mac = {lan.host.mac}\nip = {lan.host.ip4}\n"
    (hosts / "desk.conf").write_text(text)
    proxy = lan.proxy("--hosts", hosts)
    proxy.put_to_sleep(lan.host, "desk")
    (hosts / "desk.conf").rename(hosts / "desktop.conf")
    for sig in (signal.SIGTERM, signal.SIGKILL):
        proxy.stop(sig)
        proxy.start()
        proxy.ctl("host", "sleep", "desk")  # is written without a file that says so
        assert names(proxy) == ["desk"], proxy.text()
        assert "desktop.conf: mac" in proxy.text(), proxy.text()
    proxy.wait_state("asleep", "desk")
    connection = lan.client.connect(lan.host.ip4)
    lan.host.wait_up(since=connection.started)
    wait_until("the new file's host takes its place", lambda: names(proxy) == ["desktop"])


@test()
def a_packet_that_comes_while_there_is_no_daemon_wakes_the_host_and_is_delivered(lan):
    """One packet, which the kernel makes a Magic Packet of: nobody repeats it."""
    proxy = sleeper(lan)
    host = lan.host
    wire = lan.segments[0].gateway_port()
    proxy.stop(signal.SIGKILL)
    trigger(lan)
    host.wait_up()
    host.wait_settled()
    proxy.start()
    wire.wait("the packet", lambda f: f.l4 is not None and f.l4.protocol == 6 and f.l4.sport == 40123 and
              f.dst == host.mac)
    proxy.wait_state("awake")
    assert_keeps_addresses(lan)


@test()
def what_a_policy_has_to_be_asked_about_waits_for_a_daemon(lan):
    proxy = sleeper(lan, daemon=("--no-wake-from", "203.0.113.0/24"))
    host = lan.host
    wire = lan.segments[0].gateway_port()
    proxy.stop(signal.SIGKILL)
    trigger(lan)
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
    proxy.wait_state("awake")
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
    wait_until("it is answered for", lambda: lan.client.run(
        "arping", "-c", "1", "-w", "1", "-I", "eth0", host.ip4, check=False).returncode == 0, 20)
    looked = wire.frames(lambda f: f.arp is not None and f.arp[0] == 1 and f.arp[4] == host.ip4 and f.src == lan.gateway.mac)
    spoken = wire.frames(lambda f: f.src == host.mac)
    assert spoken[0].when - looked[0].when > 2.5, f"looked for at {looked[0].when}, answered for from {spoken[0].when}"
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
    proxy.wait_state("awake")
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
    number, acknowledged, kills = 0, {}, 5 if sanitized() else 12
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
    assert acknowledged


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


def fill(disk, proxy):
    """Until nothing can be stored; what the daemon says then."""
    with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))

    def is_full():
        try:
            proxy.ctl("host", "add", "fills-the-log", "--mac", "02:00:00:00:00:7a", "--ip", "192.0.2.122")
        except Refused as refusal:
            return refusal.text
        proxy.ctl("host", "remove", "fills-the-log")
        return None

    return wait_until("the log's last room is used up", is_full)


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
        said = fill(disk, proxy)
        assert "state.db" in said and "full" in said, said
        assert names(proxy) == ["lamp", "sleeper"]
        for request in (("host", "remove", "lamp"), ("host", "sleep", "lamp"),
                        ("host", "add", "lamp", "--replace", "--mac", "02:00:00:00:00:79", "--ip", "192.0.2.79")):
            assert "full" in refused(proxy, *request)
            assert (proxy.state("lamp"), proxy.ctl("host", "show", "lamp")["config"]["mac"]) == ("awake", lamp), request
        since = proxy.ctl("host", "show", "sleeper")["since_ms"]
        assert "full" in refused(proxy, "host", "sleep", "sleeper")
        assert proxy.ctl("host", "show", "sleeper")["since_ms"] >= since, "it changed nothing, and was undone"
        done = client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", host.ip4, check=False)
        assert done.returncode == 0, f"a refused request takes a sleeper out of service: {done.stdout}"
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
        assert lan.client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", lan.host.ip4).returncode == 0
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


@test()
def hosts_of_a_damaged_file_are_written_anew_when_there_is_room(lan):
    with small_disk(lan) as disk:
        proxy = lan.proxy("--state", disk / "state")
        for number in (77, 78):
            proxy.ctl("host", "add", f"h{number}", "--mac", f"02:00:00:00:00:{number}", "--ip", f"192.0.2.{number}")
        proxy.stop()
        file = disk / "state" / "state.db"
        data = bytearray(file.read_bytes())
        data[:16] = b"not SQLite at all"[:16]
        file.write_bytes(data)
        with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        proxy.start()
        assert names(proxy) == ["h77", "h78"]
        (disk / "filler").unlink()
        assert proxy.ctl("host", "add", "h79", "--mac", "02:00:00:00:00:79", "--ip", "192.0.2.79") == {"durable": True}
        proxy.stop(signal.SIGKILL)
        proxy.start()
        assert names(proxy) == ["h77", "h78", "h79"]


@test(segments=2)
def a_record_that_could_not_be_restored_survives_a_removal_that_was_refused(lan):
    with small_disk(lan) as disk:
        proxy = lan.proxy("--state", disk / "state")
        proxy.add(lan.segments[1].host, "second")
        proxy.stop()
        proxy.interfaces = ["lan0"]
        proxy.start()
        fill(disk, proxy)
        assert "nothing was changed" in refused(proxy, "host", "remove", "second")
        (disk / "filler").unlink()
        proxy.ctl("host", "add", "lamp", "--mac", "02:00:00:00:00:78", "--ip", "192.0.2.78")  # what waited is written, too
        proxy.stop()
        proxy.interfaces = ["lan0", "lan1"]
        proxy.start()
        assert "second" in names(proxy), proxy.text()


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
