# SPDX-License-Identifier: Apache-2.0
"""The daemon's life on a machine: start, stop, crash, refusal; what it leaves behind."""

import os
import signal

from case import arp_replies, assert_keeps_addresses, connect_and_check, sleeper, sleeper_in_each, test
from frames import arp_request
from lan import wait_until
from netns import run
from proxy import program


def traces(lan):
    """What a proxzzyd changes on its gateway, each thing as a line: to be compared with what was there before it."""
    found = []
    gateway = lan.gateway.ns
    for interface in (s.gateway.interface for s in lan.segments):
        link = gateway.ip_json("-d", "link", "show", "dev", interface)[0]
        found += [f"{interface}: {key} {link[key]}" for key in ("xdp", "promiscuity", "allmulti") if link.get(key)]
        found += [f"{interface}: flag {flag}" for flag in link["flags"]]
        memberships = gateway.ip("maddr", "show", "dev", interface).stdout
        found += [f"{interface}: membership {line.strip()}" for line in memberships.splitlines() if "link" in line]
        neighbours = gateway.ip("-d", "neigh", "show", "dev", interface, "nud", "permanent").stdout
        found += [f"{interface}: neighbour {line}" for line in neighbours.splitlines()]
        filters = gateway.run("tc", "qdisc", "show", "dev", interface).stdout
        found += [f"{interface}: {line}" for line in filters.splitlines() if "noqueue" not in line]
    for folder, folders, files in os.walk(lan.bpffs):
        if folder == str(lan.bpffs):  # iproute2 makes its own folders in a BPF file system that it comes across
            folders[:] = [name for name in folders if name not in ("ip", "tc", "xdp")]
        found += [f"pin {folder}/{name}" for name in folders + files]
    found += [f"socket {path}" for path in lan.folder.glob("*.sock")]
    return set(found)


def assert_nothing_left(lan, before):
    after = traces(lan)
    assert after == before, f"left: {sorted(after - before)}\ngone: {sorted(before - after)}"


def assert_served(lan, before):
    """That `traces` finds what there is to find."""
    found = "\n".join(traces(lan) - before)
    for what in ("lan0: xdp", "lan0: membership", "pin ", "socket "):
        assert what in found, f"no '{what}' while the daemon serves:\n{found}"


@test("arping", "tc")
def SIGTERM_leaves_nothing(lan):
    before = traces(lan)
    proxy = sleeper(lan)
    lan.client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", lan.host.ip4)
    assert_served(lan, before)
    proxy.stop()
    assert_nothing_left(lan, before)
    assert lan.client.run("arping", "-c", "1", "-w", "1", "-I", "eth0", lan.host.ip4, check=False).returncode == 1


@test("arping", "tc")
def detach_leaves_nothing(lan):
    before = traces(lan)
    proxy = sleeper(lan)
    assert_served(lan, before)
    proxy.ctl("detach")
    assert proxy.wait_ended() == 0, proxy.text()
    assert_nothing_left(lan, before)


@test("arping", "tc")
def a_killed_daemons_programs_go_on_answering_until_detach(lan):
    before = traces(lan)
    proxy = sleeper(lan)
    proxy.stop(signal.SIGKILL)
    done = lan.client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", lan.host.ip4)
    assert lan.host.mac.upper() in done.stdout, done.stdout
    elsewhere = proxy.run_ctl("detach", "--bpffs", proxy.pins)
    assert elsewhere.returncode == 1 and "network namespace" in elsewhere.stderr, elsewhere.stderr
    proxy.detach_killed()
    assert_nothing_left(lan, before)


@test("arping")
def a_killed_daemons_programs_stop_answering_in_time(lan):
    proxy = sleeper(lan, daemon=("--answer-without-daemon", "10"))
    proxy.stop(signal.SIGKILL)
    arping = ("arping", "-c", "1", "-w", "1", "-I", "eth0", lan.host.ip4)
    assert lan.client.run(*arping, check=False).returncode == 0, "nobody answers any more, at once"
    wait_until("nobody answers any more", lambda: lan.client.run(*arping, check=False).returncode == 1, 30)


@test("arping")
def a_daemon_starts_over_what_a_killed_one_left(lan):
    killed = sleeper(lan)
    killed.stop(signal.SIGKILL)
    proxy = lan.proxy("--state", lan.folder / "another.state")
    proxy.add(lan.host)
    proxy.put_to_sleep(lan.host)
    connect_and_check(lan, proxy, lan.host.ip4)


def refusal(lan, *command, wrapper=(), code=1):
    """Runs a daemon that must not start: it says why in one line.  Returns the line."""
    config = [] if "--config" in command else ["--config", "/dev/null", "--state", lan.folder / "refused.state"]
    done = lan.gateway_ns.run(*wrapper, program("proxzzyd"), *config, *command, check=False, timeout=20)
    text = (done.stdout + done.stderr).strip()
    assert done.returncode == code, f"exit {done.returncode}, not {code}: {text}"
    assert len(text.splitlines()) == 1, f"more than one line, or none:\n{text}"
    return text


@test()
def a_second_daemon_refuses(lan):
    """On the same control socket, the same bpffs, the same interface: the first one is not disturbed."""
    first = sleeper(lan)
    other_socket = lan.folder / "other.sock"
    refusal(lan, "--interface", "lan0", "--control", first.control, "--bpffs", first.pins)
    refusal(lan, "--interface", "lan0", "--control", other_socket, "--bpffs", first.pins)
    other_bpffs = lan.folder / "bpf2"
    other_bpffs.mkdir()
    run(["mount", "-t", "bpf", "bpffs", other_bpffs])
    try:
        text = refusal(lan, "--interface", "lan0", "--control", other_socket, "--bpffs", other_bpffs / "proxzzy")
        assert "lan0" in text, text
    finally:
        run(["umount", "-l", other_bpffs])
    assert first.process.poll() is None
    connect_and_check(lan, first, lan.host.ip4)


@test("tc")
def what_cannot_be_served_is_refused_in_one_line(lan):
    before = traces(lan)
    control = ("--control", lan.folder / "x.sock")
    bpffs = ("--bpffs", lan.bpffs / "proxzzy")
    assert "nosuch0" in refusal(lan, "--interface", "nosuch0", *control, *bpffs)
    assert "nosuch0" in refusal(lan, "--interface", "lan0", "--interface", "nosuch0", *control, *bpffs)
    assert str(lan.folder) in refusal(lan, "--interface", "lan0", *control, "--bpffs", lan.folder / "no-bpffs")
    impossible = lan.folder / "pass.bpf.o" / "x.sock"
    assert str(impossible) in refusal(lan, "--interface", "lan0", "--control", impossible, *bpffs)
    assert "--interface" in refusal(lan, *control, *bpffs, code=2)
    assert "--nosuch" in refusal(lan, "--interface", "lan0", "--nosuch", *control, *bpffs, code=2)
    assert_nothing_left(lan, before)


@test("setpriv")
def without_privilege_the_daemon_says_so(lan):
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    before = traces(lan)
    folder = lan.folder / "nobody"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    binary = folder / "proxzzyd"  # the build folder may be closed to nobody
    binary.write_bytes(program("proxzzyd").read_bytes())
    binary.chmod(0o755)
    done = lan.gateway_ns.run(*nobody, binary, "--config", "/dev/null", "--interface", "lan0", "--control", folder / "x.sock",
                              "--bpffs", lan.bpffs / "proxzzy", "--state", folder / "state", check=False, timeout=20)
    text = (done.stdout + done.stderr).strip()
    assert done.returncode == 1 and len(text.splitlines()) == 1, f"exit {done.returncode}: {text}"
    assert any(word in text for word in ("CAP_", "root", "privilege", "permitted")), text
    # root without capabilities gets as far as the programs
    bare = ["setpriv", "--bounding-set=-all,+dac_override", "--inh-caps=-all"]
    done = lan.gateway_ns.run(*bare, program("proxzzyd"), "--interface", "lan0", "--control", folder / "x.sock",
                              "--bpffs", lan.bpffs / "proxzzy", "--state", folder / "state2", check=False, timeout=20)
    assert done.returncode == 1 and "CAP_BPF" in done.stderr, f"exit {done.returncode}: {done.stderr}"
    assert_nothing_left(lan, before)


@test("arping", segments=2)
def several_interfaces_are_served_each_for_itself(lan):
    proxy = sleeper_in_each(lan)
    for segment in lan.segments:
        done = segment.client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", segment.host.ip4)
        assert segment.host.mac.upper() in done.stdout
    first, second = lan.segments
    for asker, asked in ((first, second), (second, first)):
        wire = asker.gateway_port()
        raw = asker.client.packet_socket()
        raw.send(arp_request(asker.client.mac, asker.client.ip4, asked.host.ip4))
        raw.send(arp_request(asker.client.mac, asker.client.ip4, asker.host.ip4))
        wire.wait("the answer of this LAN's host", arp_replies(asker.host))
        assert not wire.frames(arp_replies(asked.host)), "answered for the host of another LAN"
    second.client.connect(second.host.ip4)
    proxy.wait_state("awake", "host1")
    assert proxy.state("host0") == "asleep" and not first.host.magic(), "the other LAN's host was woken"


@test("arping")
def an_interface_without_native_xdp_is_served_in_generic_mode(lan):
    """macvlan has no native XDP."""
    gateway = lan.gateway.ns
    gateway.batch(["link add link lan0 name soft0 type macvlan mode passthru", "link set soft0 up",
                   "addr flush dev lan0", f"addr add {lan.gateway.ip4}/24 dev soft0"])
    proxy = lan.proxy(interfaces=["soft0"])
    interface, = proxy.interfaces_status()
    assert interface["name"] == "soft0" and interface["mode"] == "generic", interface
    assert "generic" in proxy.text(), "the log does not say which mode it is"
    proxy.add(lan.host)
    proxy.put_to_sleep(lan.host)
    done = lan.client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", lan.host.ip4)
    assert lan.host.mac.upper() in done.stdout, done.stdout
    connect_and_check(lan, proxy, lan.host.ip4)
    told = proxy.ctl("why", "sleeper")["wakes"][-1]
    assert told["magic_after_us"] > 0, "the kernel must leave it to the daemon: a checksum would be written into it"
    lan.host.wait_settled()


@test("arping", "ndisc6")
def identity_proxy_answers_with_the_gateways_own_mac(lan):
    proxy = sleeper(lan, daemon=("--identity", "proxy"))
    client, host = lan.client, lan.host
    wire = lan.segments[0].gateway_port()
    done = client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", host.ip4)
    assert lan.gateway.mac.upper() in done.stdout, done.stdout
    done = client.run("ndisc6", "-1", "-q", host.ip6, "eth0")
    assert done.stdout.strip().lower() == lan.gateway.mac, done.stdout
    flags = [f.advertisement[0] for f in wire.frames(lambda f: f.advertisement and f.dst == client.mac)]
    assert flags == [0x40], f"flags {flags}: S=1, O=0 would be right (RFC 4861 §7.2.4)"
    assert not wire.frames(lambda f: f.src == host.mac), "sent with the host's MAC"
    connect_and_check(lan, proxy, host.ip4)


@test()
def identity_proxy_hands_an_address_back_only_when_its_owner_uses_it(lan):
    """While the host probes for duplicates nobody else names it; afterwards clients know the host's own MAC."""
    proxy = sleeper(lan, daemon=("--identity", "proxy"))
    client, host = lan.client, lan.host
    wire = lan.segments[0].gateway_port()
    client.connect(host.ip4)
    assert client.neighbour(host.ip4)["lladdr"] in (lan.gateway.mac, host.mac)
    assert_keeps_addresses(lan)
    proxy.wait_state("awake")
    named = lambda f: (f.arp is not None and f.arp[1] == host.mac and f.arp[2] == host.ip4 and f.src == lan.gateway.mac)
    frame = wire.wait("the announcement of the host's own MAC", named)[0]
    assert frame.dst == "ff:ff:ff:ff:ff:ff" and frame.arp[4] == host.ip4, f"{frame.arp}"
    wait_until("the client knows the host's own MAC", lambda: client.neighbour(host.ip4)["lladdr"] == host.mac)
    assert not wire.frames(lambda f: f.src == host.mac), "sent with the host's MAC"


@test("arping", "tc")
def an_interface_whose_name_has_a_dot_is_served(lan):
    gateway = lan.gateway.ns
    gateway.batch(["link set lan0 down", "link set lan0 name lan.7", "link set lan.7 up"])
    lan.gateway.interface = "lan.7"
    # with the address comes a membership, and both come some time after the link
    wait_until("the gateway has its link-local address again",
               lambda: "tentative" not in lan.gateway.addresses().get(lan.gateway.ll, {"tentative"}))
    before = traces(lan)
    proxy = sleeper(lan)
    done = lan.client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", lan.host.ip4)
    assert lan.host.mac.upper() in done.stdout, done.stdout
    proxy.stop(signal.SIGKILL)
    proxy.start()  # takes over the pinned link
    proxy.stop()
    assert_nothing_left(lan, before)


@test()
def native_mode_is_obtained_and_shown(lan):
    proxy = lan.proxy()
    interface, = proxy.interfaces_status()
    assert [interface[key] for key in ("name", "mode", "mac")] == ["lan0", "native", lan.gateway.mac], interface
    assert "xdp" in lan.gateway.ns.ip_json("-d", "link", "show", "dev", "lan0")[0]
    assert "native" in proxy.text(), "the log does not say which mode it is"
