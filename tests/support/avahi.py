# SPDX-License-Identifier: Apache-2.0
"""avahi-daemon on a machine of a LAN."""

import contextlib
import re
import subprocess
from typing import NamedTuple

from bus import BusDaemon
from lan import wait_until

PROGRAMS = ("avahi-daemon", "avahi-browse", "avahi-resolve", "avahi-publish", "dbus-daemon", "busctl", "unshare")
CONFIG = """[server]
host-name={name}
use-ipv4=yes
use-ipv6=yes
allow-interfaces={interface}
ratelimit-interval-usec=0
ratelimit-burst=0
[publish]
publish-hinfo=no
publish-workstation=no
"""
START = r"""
printf '%s' "$1" >/run/avahi-daemon.conf
shift
"""
RUNNING = 2  # AVAHI_SERVER_RUNNING: its name is its own


class Found(NamedTuple):
    """A line of avahi-browse.  What is not resolved has no more than the first five."""

    event: str
    interface: str
    family: str
    instance: str
    type: str
    host: str = ""
    address: str = ""
    port: int = 0
    txt: tuple = ()


def unescape(text):
    return re.sub(r"\\(\d{3})|\\(.)", lambda m: chr(int(m[1])) if m[1] else m[2], text)


def found(line):
    event, interface, family, instance, kind, _, *resolved = line.split(";", 9)
    if not resolved:
        return Found(event, interface, family, unescape(instance), kind)
    host, address, port, txt = resolved
    return Found(event, interface, family, unescape(instance), kind, host, address, int(port),
                 tuple(re.findall(r'"(.*?)"', txt)))


class Browser:
    """A running avahi-browse."""

    def __init__(self, process, path):
        self.process, self.path = process, path

    def lines(self):
        return [found(line) for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def wait(self, what, match, timeout=10.0):
        return wait_until(what, lambda: [line for line in self.lines() if match(line)], timeout, 0.05)


class Avahi(BusDaemon):
    """`name`: without .local."""

    def __init__(self, lan, node, name):
        super().__init__(lan, node, "avahi")
        self.wanted = name
        self.daemon = None

    def start_daemon(self):
        config = CONFIG.format(name=self.wanted, interface=self.node.interface)
        self.daemon = self.start_with_own_run(START, config, "avahi-daemon", "--file=/run/avahi-daemon.conf",
                                              "--no-drop-root", "--no-chroot", "--no-rlimits")
        self.wait_name(self.daemon, "org.freedesktop.Avahi")
        self.wait_running()

    def server(self, method):
        """The one value that a method of the server returns."""
        done = self.busctl("call", "org.freedesktop.Avahi", "/", "org.freedesktop.Avahi.Server", method)
        return done.stdout.split(maxsplit=1)[1].strip().strip('"')

    def wait_running(self):
        wait_until("avahi-daemon has its name", lambda: int(self.server("GetState")) == RUNNING, 20, 0.1)

    @property
    def host_name(self):
        """The name that it has, perhaps not the one that it wanted."""
        return self.server("GetHostName")

    def browse(self, *what):
        """`avahi-browse -ptk`, read."""
        done = self.run("avahi-browse", "--parsable", "--terminate", "--no-db-lookup", *what)
        return [found(line) for line in done.stdout.splitlines()]

    def browse_until(self, complete, *what):
        """browse(), repeated until `complete` is true of what was found: it ends some second after the question."""
        last = []

        def look():
            last[:] = self.browse(*what)
            return complete(last)

        wait_until(f"avahi-browse {' '.join(what)} finds all", look, 20)
        return last

    @contextlib.contextmanager
    def browsing(self, *what):
        path = self.lan.folder / f"browse.{self.node.ns.name}"
        with open(path, "w") as output, open(self.log, "a") as log:
            process = self.node.ns.start("avahi-browse", "--parsable", "--no-db-lookup", *what, env=self.environment(),
                                         stdin=subprocess.DEVNULL, stdout=output, stderr=log)
        self.processes.append(process)
        try:
            yield Browser(process, path)
        finally:
            self.stop(process)

    def resolve(self, *what):
        """What `avahi-resolve` found, or None."""
        done = self.run("avahi-resolve", *what)  # its exit status is 0 in any case
        return done.stdout.split()[1] if done.stdout.strip() else None

    def publish(self, *what):
        """What `avahi-publish` says stays there until the daemon ends."""
        before = self.text().count("Established")
        process = self.start("avahi-publish", *what)
        wait_until(f"{what} is published", lambda: self.text().count("Established") > before, 15)
        return process
