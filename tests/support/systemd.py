# SPDX-License-Identifier: Apache-2.0
"""A systemd of its own on a LAN's gateway: PID 1 of namespaces in which /etc, /usr/local, /var and /tmp are overlays, so
that what is installed there leaves no trace on this machine."""

import contextlib
import json
import os
import subprocess
from pathlib import Path

from lan import REPOSITORY, build_folder, wait_until
from netns import Failed, run
from proxy import Proxy

# A cgroup of its own: what runs $3... takes it for the root.
CGROUP = r"""
set -e
mount -t cgroup2 cgroup2 "$1"
mkdir "$1/$2"
echo $$ >"$1/$2/cgroup.procs"
umount -l "$1"
shift 2
exec "$@"
"""
REMOVE_CGROUP = r"""
set -e
mount -t cgroup2 cgroup2 "$1"
! [ -e "$1/$2" ] || find "$1/$2" -depth -type d -exec rmdir {} +
"""
BOOT = r"""
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
for folder in etc usr/local var tmp; do
    mkdir -p "$1/$folder/upper" "$1/$folder/work"
    mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$1/$folder/upper,workdir=$1/$folder/work" "/$folder"
done
rm -rf /etc/systemd/system/*  # this machine's services are none of ours
printf '[Unit]\nRequires=systemd-journald.service\nAfter=systemd-journald.service\n' >/etc/systemd/system/lan.target
mkdir "$1/dev"
mount -t tmpfs -o mode=755 tmpfs "$1/dev"
for device in null zero full random urandom tty; do
    : >"$1/dev/$device"
    mount --bind "/dev/$device" "$1/dev/$device"
done
mkdir "$1/dev/shm" "$1/dev/pts" "$1/dev/mqueue"
mount -t devpts -o newinstance devpts "$1/dev/pts"
ln -s pts/ptmx "$1/dev/ptmx"
ln -s /proc/self/fd "$1/dev/fd"
: >"$1/dev/console"
mount --rbind "$1/dev" /dev
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf -o mode=700 bpf /sys/fs/bpf  # as systemd does when it is not in a container
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock
container=lan exec /lib/systemd/systemd --system --dump-core=no --crash-shell=no --show-status=no \
    --log-target=journal --unit=lan.target
"""


class Systemd:
    """Context manager."""

    def __init__(self, lan):
        self.lan = lan
        self.folder = lan.folder / "systemd"
        self.cgroup = lan.prefix + "systemd"
        self.process = None
        self.init = None

    def __enter__(self):
        self.folder.mkdir()
        self.remove_cgroup()  # of an earlier run that was killed
        with open(self.lan.folder / "systemd.log", "w") as log:
            self.process = self.lan.gateway_ns.start(
                "unshare", "--mount", "sh", "-c", CGROUP, "sh", self.folder, self.cgroup,
                "unshare", "--pid", "--fork", "--mount", "--uts", "--ipc", "--cgroup", "--kill-child",
                "sh", "-c", BOOT, "sh", self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.init = wait_until("PID 1 is there", self.find_init)
            wait_until("systemd runs", lambda: self.systemctl("is-active", "lan.target", check=False) == "active", 60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, kind=None, *_):
        if kind is not None and self.init:  # for Lan.explain
            done = self.run("journalctl", "--no-pager", "--lines=40", check=False)
            (self.lan.folder / "journal.log").write_text(done.stdout + done.stderr)
        self.process.kill()  # and with it, by --kill-child, PID 1 and everything below
        self.process.wait()
        if self.init:
            wait_until("PID 1 is gone", lambda: not os.path.exists(f"/proc/{self.init}"))
        wait_until("its processes are gone, and its cgroup", self.remove_cgroup)

    def remove_cgroup(self):
        done = run(["unshare", "--mount", "sh", "-c", REMOVE_CGROUP, "sh", self.folder, self.cgroup], check=False)
        return done.returncode == 0

    def find_init(self):
        if self.process.poll() is not None:
            raise Failed(f"systemd did not start: {(self.lan.folder / 'systemd.log').read_text()}")
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(f"/proc/{child}/ns/pid") != os.readlink("/proc/self/ns/pid"):
                    return int(child)
        return None

    def run(self, *argv, check=True, **more):
        return run(["nsenter", "-t", self.init, "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", *argv], check,
                   **more)

    def systemctl(self, *argv, check=True):
        return self.run("systemctl", *argv, check=check).stdout.strip()

    def show(self, unit, *properties):
        """A unit's properties, as text."""
        text = self.systemctl("show", unit, *(f"--property={p}" for p in properties))
        values = dict(line.split("=", 1) for line in text.splitlines())
        return values[properties[0]] if len(properties) == 1 else values

    def journal(self, unit):
        done = self.run("journalctl", "--unit", unit, "--output=json", "--no-pager")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def install(self, *argv, **more):
        """scripts/install with what was built for the tests."""
        environment = {**os.environ, "PROXZZY_BUILD": str(build_folder().resolve())}
        return self.run(REPOSITORY / "scripts" / "install", *argv, env=environment, **more)


class UnitProxy(Proxy):
    """The proxzzyd that a Systemd runs as its unit."""

    def __init__(self, systemd):
        super().__init__(systemd.lan)
        self.systemd = systemd

    def text(self):
        return "\n".join(str(entry["MESSAGE"]) for entry in self.systemd.journal("proxzzyd"))

    def run_ctl(self, *args, json_output=True):
        return self.systemd.run("proxzzyctl", *(["--json"] if json_output else []), *args, check=False)
