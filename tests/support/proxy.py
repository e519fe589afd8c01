# SPDX-License-Identifier: Apache-2.0
"""proxzzyd on a LAN's gateway, and proxzzyctl talking to it."""

import contextlib
import json
import os
import re
import signal
import subprocess

from lan import build_folder, wait_until
from netns import Failed, run

SANITIZER = re.compile(r"(ERROR|WARNING): \w*Sanitizer|runtime error:|SUMMARY: \w*Sanitizer")


def program(name):
    path = build_folder() / "userspace" / name
    if not path.exists():
        raise Failed(f"{path} is missing: build the targets proxzzyd and proxzzyctl, or set PROXZZY_BUILD")
    return path


def sanitized():
    """Whether this build has a sanitizer in it, which costs memory and time."""
    return re.search(r"^PROXZZY_SANITIZE:\w+=.", (build_folder() / "CMakeCache.txt").read_text(), re.M) is not None


class Refused(Failed):
    """proxzzyctl did not do it."""

    def __init__(self, done):
        super().__init__(f"{' '.join(done.args)}: exit {done.returncode}: {done.stderr.strip()}")
        self.code, self.text = done.returncode, done.stderr.strip()


class Proxy:
    """A running daemon.  `options` are appended to its command line.  `config` is its configuration file; this
    machine's own is none of a test's business.  `namespace`: of another gateway than the LAN's."""

    def __init__(self, lan, *options, interfaces=None, name="proxzzyd", config="/dev/null", namespace=None):
        self.lan = lan
        self.namespace = namespace or lan.gateway_ns
        self.config = config
        self.interfaces = interfaces or [s.gateway.interface for s in lan.segments]
        self.control = lan.folder / f"{name}.sock"
        self.log = lan.folder / f"{name}.log"
        self.pins = lan.bpffs / ("proxzzy" if namespace is None else name)
        self.state_folder = lan.folder / f"{name}.state"
        self.options = options
        self.process = None
        lan.proxies.append(self)

    def command(self):
        interfaces = [argument for name in self.interfaces for argument in ("--interface", name)]
        state = [] if "--state" in self.options else ["--state", self.state_folder]
        return [program("proxzzyd"), "--config", self.config, *interfaces, "--control", self.control,
                "--bpffs", self.pins, *state, *self.options]

    def start(self, wait=True):
        with open(self.log, "a") as log:
            self.process = self.namespace.start(*self.command(), keep=self.lan.keep, stdin=subprocess.DEVNULL,
                                                     stdout=log, stderr=log)
        if wait:
            wait_until("proxzzyd answers on its control socket", self.ready, 20)

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"proxzzyd ended with {self.process.returncode}: {self.text()}")
        return self.run_ctl("status").returncode == 0

    def text(self):
        return self.log.read_text(errors="replace").strip()

    def stop(self, sig=signal.SIGTERM):
        """Ends the daemon and looks at how it went."""
        if self.process is None:
            return
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(sig)
        try:
            code = process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"proxzzyd did not end within 15 s of signal {sig}") from None
        self.check_log()
        if sig != signal.SIGKILL and code != 0:
            raise AssertionError(f"proxzzyd ended with {code}: {self.text()[-2000:]}")

    @contextlib.contextmanager
    def stopped(self):
        """The daemon runs no further; the kernel does."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def wait_ended(self, timeout=10):
        """The exit status of a daemon that ends by itself."""
        code = self.process.wait(timeout)
        self.process = None
        self.check_log()
        return code

    def memory_kib(self):
        """Resident and swapped memory of the daemon."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith(("VmRSS:", "VmSwap:")))

    def assert_memory(self, before, room):
        """The daemon has at most `room` KiB more than `before`.  A sanitizer keeps what was freed."""
        now = self.memory_kib()
        assert sanitized() or now < before + room, f"{before} KiB before, {now} KiB now"

    def check_log(self):
        if SANITIZER.search(self.text()):
            raise AssertionError(f"a sanitizer objected: {self.text()[-6000:]}")

    def run_ctl(self, *args, json_output=True):
        more = ["--json"] if json_output else []
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        done = run([program("proxzzyctl"), "--control", self.control, *more, *args], check=False, env=environment)
        if SANITIZER.search(done.stderr):
            raise AssertionError(f"a sanitizer objected to proxzzyctl: {done.stderr}")
        return done

    def ctl(self, *args):
        """Parsed JSON, or Refused."""
        done = self.run_ctl(*map(str, args))
        if done.returncode:
            raise Refused(done)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def detach_killed(self):
        """`proxzzyctl detach` without a daemon, in the network namespace of the one that was killed."""
        self.namespace.run(program("proxzzyctl"), "--control", self.control, "detach", "--bpffs", self.pins)

    def state(self, name="sleeper"):
        return self.ctl("host", "show", name)["state"]

    def wait_state(self, state, name="sleeper", timeout=10.0):
        wait_until(f"{name} is {state}", lambda: self.state(name) == state, timeout)

    def add(self, host, name="sleeper", *more):
        args = ["host", "add", name, "--mac", host.mac]
        for address in host.own_addresses:
            args += ["--temporary-ip" if address == host.temp else "--ip", address]
        if len(self.interfaces) > 1 and "--interface" not in more:
            args += ["--interface", next(s.gateway.interface for s in self.lan.segments if s.host is host)]
        return self.ctl(*args, *more)

    def hand_over(self, host, name="sleeper"):
        """The host asks to be stood in for, and sleeps.  It is off the network first: what a kernel sends by itself
        (duplicate address detection, group reports) comes at any time, and after the request it is a sign of life."""
        host.suspend()
        self.ctl("host", "sleep", name)

    def put_to_sleep(self, host, name="sleeper"):
        """Returns when the proxy stands in for the host."""
        self.hand_over(host, name)
        self.wait_state("asleep", name, 15)

    def interfaces_status(self):
        return self.ctl("status")["interface"]

    def counters(self):
        """reason -> frames."""
        return {c["name"]: c["value"] for c in self.ctl("stats")["counters"]}

    def wait_counter(self, reason, at_least, timeout=5.0):
        wait_until(f"counter {reason} reaches {at_least}", lambda: self.counters()[reason] >= at_least, timeout)


class WithoutXdpSockets(Proxy):
    """AF_XDP needs locked memory."""

    def command(self):
        return ["setpriv", "--bounding-set", "-ipc_lock", "prlimit", "--memlock=0:0", *super().command()]
