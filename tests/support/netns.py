# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: entering them, and what happens inside.  `ip netns exec` is not used: it hides bpffs."""

import contextlib
import ctypes
import fcntl
import ipaddress
import json
import os
import socket
import struct
import subprocess

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
PATIENCE = float(os.environ.get("PROXZZY_PATIENCE", 1))  # factor for every time limit, where all is slow
IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x08, 0x40


def _setns(fd):
    if _libc.setns(fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def enter(name):
    """Moves the calling thread into the namespace."""
    fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(fd)
    finally:
        os.close(fd)


class Interface:
    """The switch of a network interface.  Works from anywhere on the namespace that is current at construction."""

    def __init__(self, name):
        self.name = name
        self.control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.control.close()

    def _flags(self, request, flags=0):
        answer = fcntl.ioctl(self.control, request, struct.pack("16sH14x", self.name.encode(), flags))
        return struct.unpack("16sH14x", answer)[1]

    @property
    def up(self):
        return bool(self._flags(_SIOCGIFFLAGS) & _IFF_UP)

    @up.setter
    def up(self, wanted):
        flags = self._flags(_SIOCGIFFLAGS)
        self._flags(_SIOCSIFFLAGS, flags | _IFF_UP if wanted else flags & ~_IFF_UP)


def ipv6_addresses(interface):
    """address -> IFA_F_ flags, in the namespace of the calling thread."""
    with open("/proc/thread-self/net/if_inet6") as file:
        lines = [line.split() for line in file]
    return {str(ipaddress.IPv6Address(bytes.fromhex(address))): int(flags, 16)
            for address, *_, flags, name in lines if name == interface}


class Failed(Exception):
    """A program that should have succeeded did not."""


def run(argv, check=True, timeout=60, **more):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout * PATIENCE, **more)
    if check and done.returncode:
        raise Failed(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done


class Namespace:
    def __init__(self, name):
        self.name = name

    def command(self, *argv):
        return ["nsenter", f"--net=/run/netns/{self.name}", *map(str, argv)]

    def run(self, *argv, check=True, timeout=60, **more):
        """Runs a program inside and returns it completed, with its output as text."""
        return run(self.command(*argv), check, timeout, **more)

    def start(self, *argv, keep=False, **more):
        """Starts a program inside.  Its pid is the program's own.  Unless `keep`, it dies with this process."""
        tie = [] if keep else ["setpriv", "--pdeathsig", "KILL"]
        return subprocess.Popen(tie + self.command(*argv), start_new_session=keep, **more)

    def ip(self, *argv, check=True):
        return run(["ip", "-n", self.name, *argv], check)

    def ip_json(self, *argv):
        return json.loads(run(["ip", "-j", "-n", self.name, *argv]).stdout or "[]")

    def batch(self, lines):
        run(["ip", "-n", self.name, "-batch", "-"], input="\n".join(lines) + "\n")

    @contextlib.contextmanager
    def entered(self):
        """The calling thread is inside for the time of the block; a socket opened there stays there."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(self.name)
            try:
                yield self
            finally:
                _setns(before)
        finally:
            os.close(before)

    def sysctl(self, **values):
        """`a__b="1"` writes /proc/sys/net/a/b."""
        with self.entered():
            for key, value in values.items():
                with open("/proc/sys/net/" + key.replace("__", "/"), "w") as file:
                    file.write(str(value))

    def bridge_only(self):
        """Its bridges pass every frame as it is; br_netfilter would look at IP packets first and drop bad ones."""
        with self.entered(), contextlib.suppress(FileNotFoundError):
            for name in os.listdir("/proc/sys/net/bridge"):
                with open(f"/proc/sys/net/bridge/{name}", "w") as file:
                    file.write("0")

    def create(self):
        run(["ip", "netns", "add", self.name])

    def remove(self):
        run(["ip", "netns", "del", self.name], check=False)

    def exists(self):
        return os.path.exists(f"/run/netns/{self.name}")


def pids_in(namespaces):
    """The processes whose network namespace is one of these."""
    inodes = set()
    for ns in namespaces:
        with contextlib.suppress(FileNotFoundError):
            inodes.add(os.stat(f"/run/netns/{ns.name}").st_ino)
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if os.stat(f"/proc/{pid}/ns/net").st_ino in inodes:
                found.append(int(pid))
    return found
