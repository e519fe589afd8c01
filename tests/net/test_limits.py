# SPDX-License-Identifier: Apache-2.0
"""What is full refuses what comes next by name, and harms nobody; what comes and goes leaves nothing."""

import json
import signal
import subprocess
import sys

from case import sleeper, test
from control_load import host_numbered
from lan import SUPPORT, wait_until
from proxy import Refused, sanitized
from tables import entries


MOST_NEIGHBOURS = 65_536  # permanent entries that proxzzyd makes


def load(proxy, verb, count):
    """A request for each of so many hosts; how many seconds it took."""
    done = subprocess.run([sys.executable, SUPPORT / "control_load.py", verb, proxy.control, str(count)],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return float(done.stdout)


def in_state(proxy, state):
    """How many hosts are."""
    listed = proxy.run_ctl("hosts", json_output=False).stdout
    return sum(state in line.split() for line in listed.splitlines())


def programmed(proxy):
    """What the kernel has of hosts: the tables that say who is answered for, and the neighbour entries."""
    tables = {table: entries(proxy.pins, table) for table in ("pz_index4_v2", "pz_index6_v2", "pz_by_mac_v2")}
    return tables | {"neighbours": len(proxy.namespace.ip_json("neigh", "show", "nud", "permanent"))}


def assert_answered(lan, address, mac):
    done = lan.client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", address, check=False)
    assert mac.upper() in done.stdout, done.stdout


def refusal(proxy, *words):
    try:
        proxy.ctl(*words)
    except Refused as refused:
        return json.loads(refused.text)["error"]
    raise AssertionError(f"not refused: {words}")


def assert_refused(proxy, words, text):
    told = refusal(proxy, *words)
    assert told == text, told


def other_host(number):
    return f"02:00:00:00:01:{number:02x}", f"192.0.2.{100 + number}"


@test("arping", "bpftool")
def a_hundred_thousand_hosts_come_and_go_without_growth_of_memory(lan):
    """Added, put to sleep, answered for and removed, twice.  The table is full with them, and the next one is refused
    by its name."""
    count = 2_000 if sanitized() else 100_000
    proxy = lan.proxy("--max-hosts", count + 1, "--log-level", "warn")
    # not the LAN's own host: while that sleeps its card looks at each of a million frames
    own_mac, own_ip = other_host(2)
    proxy.ctl("host", "add", "sleeper", "--mac", own_mac, "--ip", own_ip)
    proxy.ctl("host", "sleep", "sleeper")
    proxy.wait_state("asleep")
    before = programmed(proxy)
    memory = []
    for _ in range(2):
        took = {"added": load(proxy, "add", count)}
        mac, ip = other_host(1)
        assert_refused(proxy, ["host", "add", "one-more", "--mac", mac, "--ip", ip],
                       f"name 'one-more': the table is full with {count + 1} hosts; remove one first")
        took["put to sleep"] = load(proxy, "sleep", count)
        proxy.wait_state("asleep", f"h{count - 1}", 300)
        wait_until("all are asleep", lambda: in_state(proxy, "asleep") == count + 1, 60, 1)
        assert proxy.ctl("status")["hosts_asleep"] == count + 1
        now = programmed(proxy)
        assert now["pz_by_mac_v2"] == before["pz_by_mac_v2"] + count, now
        assert now["neighbours"] == min(before["neighbours"] + 2 * count, MOST_NEIGHBOURS), now
        _, mac, ip4, _ = host_numbered(count - 1)
        assert_answered(lan, str(ip4), mac.hex(":"))
        assert_answered(lan, own_ip, own_mac)
        took["removed"] = load(proxy, "remove", count)
        now = programmed(proxy)
        assert now == before, f"{now} instead of {before}"
        memory.append(proxy.memory_kib())
        print(", ".join(f"{what} in {seconds:.1f} s" for what, seconds in took.items()), f"{memory[-1]} KiB")
    proxy.assert_memory(memory[0], 8 * 1024)
    assert not proxy.counters()["ring-full"]
    assert_answered(lan, own_ip, own_mac)


@test("arping")
def a_full_table_names_what_does_not_fit(lan):
    """Hosts, MACs, IPv4 addresses, and pairs of interface and VLAN, each with its own words."""
    proxy = sleeper(lan, daemon=("--max-hosts", 3))

    def macs(numbers):
        return [word for n in numbers for word in ("--mac", other_host(n)[0])]

    def ips(numbers):
        return [word for n in numbers for word in ("--ip", other_host(n)[1])]

    assert_refused(proxy, ["host", "add", "a", *macs(range(6)), *ips([0])],
                   "mac: the 6 MACs of host 'a' do not fit, the table holds 1 of 6; remove a host first")
    assert_refused(proxy, ["host", "add", "a", *macs([0]), *ips(range(6))],
                   "ip: the 6 IPv4 addresses of host 'a' do not fit, the table holds 1 of 6; remove a host first")
    for number in (1, 2):
        proxy.ctl("host", "add", f"host{number}", *macs([number]), *ips([number]))
    assert_refused(proxy, ["host", "add", "a", *macs([0]), *ips([0])],
                   "name 'a': the table is full with 3 hosts; remove one first")
    assert proxy.ctl("status")["hosts"] == 3
    proxy.ctl("host", "remove", "host1")
    proxy.ctl("host", "add", "a", *macs([0]), *ips([0]))
    assert_answered(lan, lan.host.ip4, lan.host.mac)


@test("arping")
def the_table_of_vlans_refuses_the_next_one_and_serves_the_others(lan):
    proxy = sleeper(lan, daemon=("--max-hosts", 5000, "--log-level", "warn"))
    full = 4095  # PZ_MAX_SEGMENT
    site = lan.folder / "site.conf"
    # an inner tag too, for there are not as many outer ones
    vlans = [f"{outer}.{inner}" for outer in range(1, 9) for inner in range(1, 600)][:full]
    site.write_text("".join(f"[v{i}]\nmac = {host_numbered(i)[1].hex(':')}\nip = {host_numbered(i)[2]}\nvlan = {vlan}\n"
                            for i, vlan in enumerate(vlans)))
    done = proxy.run_ctl("apply", site, json_output=False)
    assert done.returncode == 1 and f"v{full - 1}" in done.stderr, done.stderr
    assert f"vlan 7: the table is full with {full} interfaces and VLANs" in done.stderr, done.stderr
    assert proxy.ctl("status")["hosts"] == full
    proxy.ctl("host", "remove", "v0")
    mac, ip = other_host(1)
    proxy.ctl("host", "add", "again", "--mac", mac, "--ip", ip, "--vlan", vlans[5])
    assert_answered(lan, lan.host.ip4, lan.host.mac)


@test()
def a_large_file_is_one_change(lan):
    """More than 10,000 hosts: all of them or none, on disk when it is acknowledged."""
    count = 10_500
    proxy = lan.proxy("--max-hosts", count + 10, "--log-level", "warn")
    site = lan.folder / "site.conf"

    def apply(numbers, changed=()):
        lines = []
        for number in numbers:
            name, mac, ip4, ip6 = host_numbered(number)
            echo = "echo = ignore\n" if number in changed else ""
            lines.append(f"[{name}]\nmac = {mac.hex(':')}\nip = {ip4}\nip = {ip6}\n{echo}")
        site.write_text("".join(lines))
        return proxy.run_ctl("apply", site, json_output=False)

    assert apply(range(count)).stdout == f"{count} added, 0 changed, 0 unchanged\n"
    assert apply(range(count), changed={5}).stdout == f"0 added, 1 changed, {count - 1} unchanged\n"
    proxy.ctl("host", "sleep", "h7")
    refused = apply(range(count + 5), changed={5, 7})
    assert refused.returncode == 1 and "host 'h7': name 'h7': the host is a" in refused.stderr, refused
    assert refused.stderr.endswith("nothing was changed\n"), refused
    wait_until("all is as before", lambda: proxy.ctl("status")["hosts"] == count, 20)
    too_many = apply(range(count + 11))
    assert too_many.returncode == 1 and f"the table is full with {count + 10} hosts" in too_many.stderr, too_many
    wait_until("all is as before", lambda: proxy.ctl("status")["hosts"] == count, 20)
    with open(site, "a") as file:
        file.write("[last]\nmac = 02:00:00:00:00:01\nip = 192.0.2.300\n")
    wrong = proxy.run_ctl("apply", site, json_output=False)
    assert wrong.returncode == 1 and f"{site}: section [last]: ip \"192.0.2.300\"" in wrong.stderr, wrong
    wait_until("all is as before", lambda: proxy.ctl("status")["hosts"] == count, 20)
    proxy.stop(signal.SIGKILL)
    proxy.start()
    assert proxy.ctl("status")["hosts"] == count
    assert proxy.ctl("host", "show", "h5")["config"]["echo"] == "ignore"
    assert proxy.ctl("host", "show", "h7")["config"]["echo"] == "answer", "of what was refused nothing is there"
