# SPDX-License-Identifier: Apache-2.0
"""A gateway and a client with one cable between them, in network namespaces: nothing else takes time.

    client:eth0 - gateway:lan0        client:spare0 - client:spare1, for programs that only have to be attached"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent.parent / "support"
sys.path.insert(0, str(SUPPORT))

from lan import build_folder, wait_until  # noqa: E402: the folder above is theirs
from netns import Namespace, pids_in, run  # noqa: E402
from proxy import Proxy  # noqa: E402

GATEWAY_MAC, GATEWAY_IP = "02:00:00:00:00:97", "192.0.2.1"
CLIENT_PROCESSOR, GATEWAY_PROCESSOR = 0, 1


@contextlib.contextmanager
def on_processor(number):
    """What is started inside runs there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {number})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Node:
    def __init__(self, interface):
        self.interface = interface


class Segment:
    def __init__(self, gateway):
        self.gateway = gateway


class Cable:
    """Context manager; also what a Proxy takes for its LAN.  On exit, also after a failure, nothing of it is left; on
    entry neither is anything of an earlier run that was killed."""

    keep = False  # what it starts ends with this process

    def __init__(self, name, client_passes=False):
        """`client_passes`: a program at the client's end lets everything through, for answers by XDP_TX arrive only
        where there is one."""
        self.client_passes = client_passes
        digest = hashlib.sha256(f"{name} {build_folder().resolve()}".encode()).hexdigest()[:6]
        self.prefix = f"pz-{digest}-"
        self.folder = Path("/run") / f"pz-{digest}"
        self.bpffs = self.folder / "bpf"
        self.gateway_ns, self.client_ns = Namespace(self.prefix + "gateway"), Namespace(self.prefix + "client")
        self.segments = [Segment(Node("lan0"))]
        self.proxies, self.processes, self.lock = [], [], None

    def __enter__(self):
        try:
            self.create()
        except BaseException:
            self.destroy()
            raise
        return self

    def __exit__(self, *_):
        self.destroy()

    def create(self):
        self.lock = open(f"/run/lock/{self.prefix}cable", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.remove_leftovers()
        self.folder.mkdir()
        self.bpffs.mkdir()
        run(["mount", "-t", "bpf", "bpffs", self.bpffs])
        self.gateway_ns.create()
        self.client_ns.create()
        self.client_ns.sysctl(ipv6__conf__default__disable_ipv6=1)
        self.gateway_ns.sysctl(ipv6__conf__default__accept_dad=0, ipv6__conf__default__router_solicitations=0)
        self.client_ns.batch([f"link add name eth0 type veth peer name lan0 address {GATEWAY_MAC} "
                              f"netns {self.gateway_ns.name}", "link add name spare0 type veth peer name spare1",
                              "link set spare0 up", "link set spare1 up", "link set eth0 up"])
        self.gateway_ns.batch(["link set lo up", "link set lan0 up", f"addr add {GATEWAY_IP}/24 dev lan0",
                               "addr add 2001:db8:ffff::1/64 dev lan0"])
        if self.client_passes:
            program = build_folder() / "tests" / "net" / "pass.bpf.o"
            self.client_ns.ip("link", "set", "dev", "eth0", "xdpdrv", "obj", str(program), "sec", "xdp")

    def destroy(self):
        for process in self.processes:
            process.kill()
            process.wait()
        for proxy in self.proxies:
            if proxy.process and proxy.process.poll() is None:
                proxy.process.kill()
                proxy.process.wait()
        if self.lock:
            self.remove_leftovers()
            self.lock.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"/run/lock/{self.prefix}cable")

    def remove_leftovers(self):
        namespaces = [Namespace(path.name) for path in Path("/run/netns").glob(self.prefix + "*")]
        for pid in pids_in(namespaces):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for namespace in namespaces:
            namespace.remove()
        while os.path.ismount(self.bpffs):
            run(["umount", "-l", self.bpffs])
        shutil.rmtree(self.folder, ignore_errors=True)

    def proxy(self, *options, name="proxzzyd"):
        """proxzzyd on the gateway's processor."""
        proxy = Proxy(self, *options, name=name)
        with on_processor(GATEWAY_PROCESSOR):
            proxy.start()
        return proxy

    def start(self, namespace, *argv, **more):
        process = namespace.start(*argv, **more)
        self.processes.append(process)
        return process


def control_load(proxy, verb, count, *more, timeout=1200):
    """A request for each of so many hosts, from the client's processor; how many seconds it took."""
    with on_processor(CLIENT_PROCESSOR):
        done = subprocess.run([sys.executable, SUPPORT / "control_load.py", verb, proxy.control, str(count), *more],
                              capture_output=True, text=True, check=False, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return float(done.stdout)


def processor_seconds(pid):
    """That a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def processor_ns(pid):
    """The same of all its threads, as the scheduler counts."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def wait_quiet(proxy, timeout=300):
    """Until the daemon has done what it had to do: it uses less than 3 % of a processor for a second."""

    def quiet():
        before = processor_seconds(proxy.process.pid)
        time.sleep(1)
        return processor_seconds(proxy.process.pid) - before < 0.03

    wait_until("the daemon has nothing to do", quiet, timeout)
