# SPDX-License-Identifier: Apache-2.0
"""systemd-resolved on a machine of a LAN: the LLMNR of one."""

import re

from bus import BusDaemon

PROGRAMS = ("systemd-resolved", "resolvectl", "dbus-daemon", "busctl", "unshare", "hostname")
CONFIG = """[Resolve]
DNS=
FallbackDNS=
LLMNR=yes
MulticastDNS=no
DNSStubListener=no
Cache=no
ReadEtcHosts=no
"""
START = r"""
hostname "$1"
mkdir -p /run/systemd/resolved.conf.d /run/systemd/resolve
chown systemd-resolve:systemd-resolve /run/systemd/resolve
printf '%s' "$2" >/run/systemd/resolved.conf.d/lan.conf
shift 2
export SYSTEMD_LOG_TARGET=console SYSTEMD_LOG_LEVEL=debug
"""


class Resolved(BusDaemon):
    """`name`: of the machine, one label."""

    def __init__(self, lan, node, name):
        super().__init__(lan, node, "resolved")
        self.wanted = name
        self.daemon = None

    def start_daemon(self):
        self.daemon = self.start_with_own_run(START, self.wanted, CONFIG, "systemd-resolved")
        self.wait_name(self.daemon, "org.freedesktop.resolve1")
        self.resolvectl("llmnr", self.node.interface, "yes")

    def resolvectl(self, *argv, check=True):
        return self.run("resolvectl", "--no-pager", *argv, check=check)

    def query(self, *what):
        """The lines that `resolvectl query` found by LLMNR, without "-- link: eth0"; none if it found nothing."""
        done = self.resolvectl("--protocol=llmnr", "--legend=no", "query", *what, check=False)
        return [re.sub(r"\s*-- link: .*", "", line).strip() for line in done.stdout.splitlines()]

    def addresses(self, *what):
        """Of a name, without zones."""
        lines = [line for line in self.query(*what) if not line.startswith("(")]  # how the name is spelt
        return {line.rsplit(" ", 1)[-1].partition("%")[0] for line in lines}
