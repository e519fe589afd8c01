# SPDX-License-Identifier: Apache-2.0
"""Daemons of the machines of a LAN that are talked to by D-Bus.  Each machine has a bus of its own, and its daemons a
/run of their own; nothing of them touches this machine's."""

import os
import subprocess

from lan import wait_until
from netns import Failed

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>{address}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/>
    <allow receive_type="signal"/>
  </policy>
</busconfig>
"""
# What runs then has an empty /run, the users that installing its package makes, and none of this machine's services.
OWN_RUN = r"""
set -e
mount -t tmpfs -o mode=755 tmpfs /run
[ ! -d /etc/avahi ] || mount -t tmpfs -o mode=755 tmpfs /etc/avahi
number=64000
for user in avahi systemd-resolve; do
    number=$((number + 1))
    getent passwd "$user" >/dev/null || echo "$user:x:$number:$number::/nonexistent:/usr/sbin/nologin" >>/run/passwd
    getent group "$user" >/dev/null || echo "$user:x:$number:" >>/run/group
done
for file in passwd group; do
    cat "/etc/$file" >>"/run/$file"
    mount --bind "/run/$file" "/etc/$file"
done
"""


class BusDaemon:
    """Context manager: a daemon of `node`, with a bus.  Derived classes say what it is."""

    def __init__(self, lan, node, name):
        self.lan, self.node, self.name = lan, node, name
        self.address = f"unix:abstract=proxzzy-{name}"  # such a socket belongs to the network namespace
        self.log = lan.folder / f"{name}.{node.ns.name.removeprefix(lan.prefix)}.log"
        self.processes = []

    def start_bus(self):
        self.start_with_own_run('printf "%s" "$1" >/run/bus.conf; shift', CONFIG.format(address=self.address),
                                "dbus-daemon", "--nofork", "--nopidfile", "--nosyslog", "--config-file=/run/bus.conf")
        wait_until("the bus answers", lambda: self.busctl("list", check=False).returncode == 0)

    def start(self, *argv):
        with open(self.log, "a") as log:
            process = self.node.ns.start(*argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         env=self.environment())
        self.processes.append(process)
        return process

    def start_with_own_run(self, script, *argv):
        """`script` prepares; then "$@" is exec'd."""
        return self.start("unshare", "--mount", "--uts", "sh", "-c", OWN_RUN + script + '\nexec "$@"', "sh", *argv)

    def environment(self):
        return {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address, "LC_ALL": "C.UTF-8"}

    def stop(self, process):
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.processes.remove(process)

    def __enter__(self):
        try:
            self.start_bus()
            self.start_daemon()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes[:]):
            self.stop(process)

    def run(self, *argv, check=True, **more):
        """A program that asks the daemon."""
        return self.node.run(*argv, check=check, env=self.environment(), **more)

    def busctl(self, *argv, check=True):
        return self.run("busctl", f"--address={self.address}", *argv, check=check)

    def text(self):
        return self.log.read_text(errors="replace")

    def wait_name(self, process, bus_name):
        """The daemon is on its bus."""
        def there():
            if process.poll() is not None:
                raise Failed(f"{self.name} ended with {process.returncode}:\n{self.text()}")
            return bus_name in self.busctl("list", "--no-legend", check=False).stdout
        wait_until(f"{bus_name} is on the bus", there)
