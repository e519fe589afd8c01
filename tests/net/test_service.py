# SPDX-License-Identifier: Apache-2.0
"""proxzzyd as a service: what it tells systemd, the privilege that it needs, and its unit under a systemd of its own."""

import contextlib
import ctypes
import os
import signal
import socket
import threading
import time
from pathlib import Path

from case import assert_keeps_addresses, connect_and_check, test
from lan import wait_until
from proxy import Proxy, program
from systemd import Systemd, UnitProxy
from test_daemon import refusal
from test_limits import load

CAPABILITIES = ("bpf", "perfmon", "net_admin", "net_raw")  # those of the unit


class NotifySocket:
    """What a daemon sends to NOTIFY_SOCKET: [(when, text)]."""

    def __init__(self, path):
        self.path, self.messages = path, []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        while text := self.socket.recv(4096).decode():
            self.messages.append((time.monotonic(), text))

    def texts(self, prefix="", since=0.0):
        return [text for when, text in list(self.messages) if when >= since and text.startswith(prefix)]

    def wait(self, prefix, since=0.0, timeout=10.0):
        return wait_until(f"{prefix} is sent", lambda: self.texts(prefix, since), timeout)[0]


class NotifyingProxy(Proxy):
    """A daemon that is told of a service manager."""

    def __init__(self, lan, *options):
        super().__init__(lan, *options)
        self.notify = NotifySocket(lan.folder / "notify.sock")

    def command(self):
        return ["env", f"NOTIFY_SOCKET={self.notify.path}", "WATCHDOG_USEC=10000000", *super().command()]


@test()
def a_service_manager_is_told_of_ready_reload_watchdog_and_stop(lan):
    proxy = NotifyingProxy(lan)
    proxy.start()
    notify = proxy.notify
    assert notify.wait("READY=1") == "READY=1\nSTATUS=Serving lan0", notify.messages
    wait_until("three signs of life", lambda: len(notify.texts("WATCHDOG=1")) >= 3)
    reloaded = time.monotonic()
    proxy.process.send_signal(signal.SIGHUP)
    ready = notify.wait("READY=1", reloaded)
    kind, stamp = notify.wait("RELOADING=1", reloaded).split("\n")
    assert kind == "RELOADING=1" and ready, notify.messages
    at = int(stamp.removeprefix("MONOTONIC_USEC=")) / 1e6
    assert reloaded <= at <= time.monotonic(), f"reloading since {at}, asked for at {reloaded}"
    proxy.stop()
    notify.wait("STOPPING=1")
    assert notify.texts()[-1] == "STOPPING=1", notify.messages


@contextlib.contextmanager
def stopped_thread(thread):
    """One thread of another process stands still for the time of the block."""
    attach, detach, wall = 16, 17, 0x40000000
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(attach, thread, None, None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.waitpid(thread, wall)
    try:
        yield
    finally:
        libc.ptrace(detach, thread, None, None)


@test()
def the_watchdog_is_fed_only_while_the_trigger_thread_lives(lan):
    """The loop alone is not enough: without the thread nobody wakes anybody."""
    proxy = NotifyingProxy(lan)
    proxy.start()
    notify = proxy.notify
    notify.wait("WATCHDOG=1")
    pid = proxy.process.pid
    thread, = (int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()
               if (task / "comm").read_text().strip() == "trigger")
    with stopped_thread(thread):
        wait_until("the watchdog is not fed", lambda: not notify.texts("WATCHDOG=1", time.monotonic() - 2.5), 10)
        assert proxy.run_ctl("status").returncode == 0, "the loop does not live"
    notify.wait("WATCHDOG=1", time.monotonic())


@test()
def the_watchdog_is_fed_while_hosts_are_restored(lan):
    """However many there are: a restart in place is not taken for a hang."""
    proxy = NotifyingProxy(lan, "--log-level", "warn")
    proxy.start()
    load(proxy, "add", 1000)
    proxy.stop()
    since = time.monotonic()
    proxy.start()
    proxy.notify.wait("READY=1", since)
    told = proxy.notify.texts(since=since)
    before = told[:next(i for i, text in enumerate(told) if text.startswith("READY=1"))]
    assert before.count("WATCHDOG=1") == 2 * 4, told


def unprivileged(lan, capabilities):
    """Command prefix and options of a daemon that is nobody, with these capabilities and a folder of its own in bpffs."""
    caps = ",".join(["-all", *(f"+{c}" for c in capabilities)])
    folder = lan.folder / "nobody"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    pins = lan.bpffs / "nobody"
    pins.mkdir(exist_ok=True)
    os.chown(pins, 65534, 65534)
    binary = folder / "proxzzyd"  # the build folder may be closed to nobody
    if not binary.exists():
        binary.write_bytes(program("proxzzyd").read_bytes())
        binary.chmod(0o755)
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--bounding-set", caps,
            "--inh-caps", caps, "--ambient-caps", caps, binary, "--config", "/dev/null", "--interface", "lan0",
            "--control", folder / "control.sock", "--bpffs", pins / "default", "--state", folder / "state"]


@test("setpriv", "arping")
def four_capabilities_are_enough(lan):
    """And no root: start, sleep, answer, wake, stop."""
    proxy = Proxy(lan)
    proxy.control = lan.folder / "nobody" / "control.sock"
    proxy.command = lambda: unprivileged(lan, CAPABILITIES)
    proxy.start()
    assert proxy.interfaces_status()[0]["egress"], "what leaves is not looked at"
    proxy.add(lan.host)
    proxy.put_to_sleep(lan.host)
    done = lan.client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", lan.host.ip4)
    assert lan.host.mac.upper() in done.stdout, done.stdout
    connect_and_check(lan, proxy, lan.host.ip4)
    proxy.stop()
    assert os.listdir(lan.bpffs / "nobody") == [], "pins are left"


@test("setpriv")
def none_of_the_four_capabilities_can_be_left_out(lan):
    for missing in CAPABILITIES:
        command = unprivileged(lan, [c for c in CAPABILITIES if c != missing])
        done = lan.gateway_ns.run(*command, check=False, timeout=20)
        assert done.returncode == 1, f"without {missing}: exit {done.returncode}: {done.stderr}"
        last = done.stderr.strip().splitlines()[-1]
        assert any(word in last for word in ("CAP_", "permitted")), f"without {missing}: {last}"


def set_up(systemd, *drop_in):
    """The unit is installed and runs, with these lines in its [Service] section."""
    systemd.install()
    systemd.run("sed", "-i", "s/^interface = .*/interface = lan0/", "/etc/proxzzy/proxzzyd.conf")
    if drop_in:
        lines = "\n".join(["[Service]", *drop_in])
        systemd.run("sh", "-c", 'mkdir -p "$1" && printf "%s\\n" "$2" >"$1/test.conf"', "sh",
                    "/etc/systemd/system/proxzzyd.service.d", lines)
        systemd.systemctl("daemon-reload")
    systemd.systemctl("enable", "--now", "proxzzyd")
    return UnitProxy(systemd)


@test("unshare", "systemctl", "arping")
def the_unit_does_the_whole_story_and_is_removed_without_a_trace(lan):
    with Systemd(lan) as systemd:
        before = systemd.run("find", "/etc", "/usr/local", "/sys/fs/bpf").stdout.splitlines()
        # a system call that the filter does not have ends the daemon here, so that it is noticed
        proxy = set_up(systemd, "SystemCallErrorNumber=kill")
        unit = systemd.show("proxzzyd", "ActiveState", "MainPID", "StatusText", "UnitFileState")
        pid = unit.pop("MainPID")
        assert unit == {"ActiveState": "active", "StatusText": "Serving lan0", "UnitFileState": "enabled"}, unit
        status = dict(line.split(":\t", 1) for line in
                      systemd.run("cat", f"/proc/{pid}/status").stdout.splitlines() if ":\t" in line)
        assert status["Uid"].split()[0] != "0", "it runs as root"
        assert status["CapEff"] == status["CapBnd"] == "000000c000003000", status  # the four of CAPABILITIES
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), status
        assert proxy.ctl("status")["interface"][0]["egress"], "the unit keeps what leaves from being looked at"

        systemd.run("sh", "-c", 'printf "%s\\n" "$1" >/etc/proxzzy/hosts.d/sleeper.conf', "sh", "\n".join(
            [f"mac = {lan.host.mac}", *(f"ip = {address}" for address in lan.host.own_addresses)]))
        systemd.systemctl("reload", "proxzzyd")
        wait_until("the file's host is there", lambda: proxy.run_ctl("host", "show", "sleeper").returncode == 0)
        proxy.put_to_sleep(lan.host)
        done = lan.client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", lan.host.ip4)
        assert lan.host.mac.upper() in done.stdout, done.stdout
        connect_and_check(lan, proxy, lan.host.ip4)
        assert_keeps_addresses(lan)
        for args in (["hosts"], ["stats"], ["capabilities"], ["host", "remove", "sleeper"]):
            proxy.run_ctl(*args)

        lines = [e for e in systemd.journal("proxzzyd") if e["_COMM"] == "proxzzyd"]
        assert {(e["_TRANSPORT"], e["SYSLOG_IDENTIFIER"]) for e in lines} == {("journal", "proxzzyd")}, lines
        assert any(e["MESSAGE"].startswith("ready: ") and e["PRIORITY"] == "6" for e in lines), lines
        proxy.ctl("host", "add", "kept", "--mac", "02:00:00:00:00:77", "--ip", "192.0.2.77")
        systemd.systemctl("restart", "proxzzyd")
        assert "kept" in [host["config"]["name"] for host in proxy.ctl("hosts")], proxy.text()
        modes = systemd.run("stat", "-c", "%a %U", "/var/lib/proxzzy", "/var/lib/proxzzy/state.db").stdout.split("\n")
        assert modes[:2] == ["700 proxzzy", "600 proxzzy"], modes
        pid = systemd.show("proxzzyd", "MainPID")
        systemd.systemctl("kill", "--kill-whom=main", "--signal=SIGUSR1", "proxzzyd")
        wait_until("the daemon serves anew", lambda: sum(
            e["MESSAGE"].startswith("ready: ") for e in systemd.journal("proxzzyd")) == 3)
        assert systemd.show("proxzzyd", "ActiveState", "MainPID") == {"ActiveState": "active", "MainPID": pid}
        assert systemd.show("proxzzyd", "NRestarts") == "0", proxy.text()
        verified = systemd.run("systemd-analyze", "verify", "/usr/local/lib/systemd/system/proxzzyd.service")
        assert verified.stdout + verified.stderr == "", verified

        systemd.install("--remove")
        assert systemd.show("proxzzyd", "LoadState") == "not-found"
        kept = systemd.run("find", "/etc/proxzzy", "-type", "f").stdout.split()
        assert sorted(kept) == ["/etc/proxzzy/.made-user", "/etc/proxzzy/hosts.d/sleeper.conf",
                                "/etc/proxzzy/proxzzyd.conf"], kept
        assert systemd.run("test", "-e", "/var/lib/proxzzy/state.db", check=False).returncode == 0
        systemd.install("--remove", "--purge")
        assert systemd.run("test", "-e", "/var/lib/proxzzy", check=False).returncode == 1
        systemd.run("rm", "-r", "/etc/systemd/system/proxzzyd.service.d")
        after = systemd.run("find", "/etc", "/usr/local", "/sys/fs/bpf").stdout.splitlines()
        # folders that others use too stay; so do the copies that useradd and userdel make
        left = [path for path in set(after) - set(before) if systemd.run("test", "-d", path, check=False).returncode
                and not path.endswith("-")]
        assert left == [], f"left: {left}"
        assert set(before) <= set(after), f"gone: {set(before) - set(after)}"


@test("unshare", "systemctl", "arping")
def a_unit_that_hangs_is_started_again(lan):
    with Systemd(lan) as systemd:
        proxy = set_up(systemd, "WatchdogSec=5", "RestartSec=100ms")
        proxy.add(lan.host)
        first = systemd.show("proxzzyd", "MainPID")
        systemd.run("kill", "-STOP", first)
        wait_until("another daemon runs", lambda: systemd.show("proxzzyd", "MainPID") not in ("0", first), 30)
        wait_until("it answers", lambda: proxy.run_ctl("status").returncode == 0)
        said = [e["MESSAGE"] for e in systemd.journal("proxzzyd")]
        assert any("Watchdog timeout" in message for message in said), said
        proxy.put_to_sleep(lan.host)
        connect_and_check(lan, proxy, lan.host.ip4)


@test("unshare", "systemctl")
def a_unit_that_was_killed_and_detached_by_root_can_start_again(lan):
    """Its folder in bpffs stays: only root could make it anew."""
    with Systemd(lan) as systemd:
        proxy = set_up(systemd, "Restart=no")
        systemd.run("kill", "-KILL", systemd.show("proxzzyd", "MainPID"))
        wait_until("the daemon is gone", lambda: systemd.show("proxzzyd", "ActiveState") == "failed")
        assert proxy.ctl("detach") == {"detached": True}
        systemd.systemctl("start", "proxzzyd")
        assert proxy.run_ctl("status").returncode == 0


@test("unshare", "systemctl")
def a_unit_with_a_wrong_configuration_is_not_started_again(lan):
    with Systemd(lan) as systemd:
        systemd.install()
        systemd.run("sh", "-c", "echo 'identity = router' >>/etc/proxzzy/proxzzyd.conf")
        assert systemd.run("systemctl", "start", "proxzzyd", check=False).returncode == 1
        state = systemd.show("proxzzyd", "ActiveState", "ExecMainStatus", "NRestarts")
        assert state == {"ActiveState": "failed", "ExecMainStatus": "2", "NRestarts": "0"}, state
        said = [e["MESSAGE"] for e in systemd.journal("proxzzyd")]
        assert "proxzzyd: /etc/proxzzy/proxzzyd.conf: identity 'router' is unknown: host or proxy" in said, said
