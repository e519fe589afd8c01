# SPDX-License-Identifier: Apache-2.0
"""A LAN in network namespaces: a learning switch, a client, the gateway, and a host that really sleeps.

    client:eth0 --- switch:client
    gateway:lan0 -- switch:gateway     the bridge "switch" learns as a real one: stale entries stay for 300 s
    host:eth0 - card:n0|n1 - switch:host            as often as there are hosts: host-1:eth0 - card-1:n0|n1 ...

A sleeping host is one whose eth0 is down.  Its network card (a namespace of its own, that while the host is awake only
repeats) keeps the carrier towards the switch, so the switch goes on sending to it what it has learned; its firmware
(nic.py) brings eth0 up on a Magic Packet.  Linux keeps IPv4 addresses of a link that is down; keep_addr_on_down makes
it keep global IPv6 addresses too, and it puts each through duplicate address detection when the link is back.

Every name derives from the LAN's name and the place of the build, so LANs of different tests never meet."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from frames import Capture, PacketSocket, link_local
from netns import IFA_F_TENTATIVE, PATIENCE, Failed, Interface, Namespace, ipv6_addresses, pids_in, run

SUPPORT = Path(__file__).resolve().parent
REPOSITORY = SUPPORT.parent.parent
OWN_PROGRAMS = ("ip", "bridge", "ethtool", "nsenter", "setpriv", "mount", "umount")


def build_folder():
    """Where proxzzyd and proxzzyctl were built."""
    return Path(os.environ.get("PROXZZY_BUILD", REPOSITORY / "build" / "release"))


def wait_until(what, predicate, timeout=10.0, interval=0.02):
    """The predicate's first true value."""
    started = asked = time.monotonic()
    while not (value := predicate()):
        now = time.monotonic()
        if now - started > timeout * PATIENCE:
            raise AssertionError(f"not within {timeout} s: {what}")
        # a program that is run to see takes a third of a processor at most, and less the longer nothing happens
        time.sleep(max(interval, 2 * (now - asked), min(now - started, 3) / 8))
        asked = time.monotonic()
    return value


class EventLog:
    """A file with one JSON object a line, written by a helper process."""

    def __init__(self, path):
        self.path = path

    def events(self, kind=None, since=0.0):
        try:
            lines = self.path.read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [e for e in events if (kind is None or e["event"] == kind) and e["t"] >= since]

    def wait(self, kind, timeout=10.0, since=0.0):
        return wait_until(f"event {kind} in {self.path.name}", lambda: self.events(kind, since), timeout, 0.005)[0]


class Connection(NamedTuple):
    """When connect() was called and when it returned (CLOCK_MONOTONIC), and the client's port."""

    started: float
    connected: float
    port: int


class Node:
    """A machine with one interface on the segment."""

    def __init__(self, namespace, interface, number, index):
        self.ns = namespace
        self.interface = interface
        last = number + 40 * index
        self.mac = f"00:00:5e:00:53:{last:02d}" if number < 100 else f"00:00:5e:00:54:{last:02x}"
        self.ip4 = f"{'192.0.2' if index == 0 else '198.51.100'}.{number}"
        self.ip6 = f"2001:db8:{index + 1}::{number}"
        self.ll = link_local(self.mac)
        self.temp = f"2001:db8:{index + 1}:0:79e5:2f1b:c04d:{number}"  # stands for an RFC 8981 temporary address

    def run(self, *argv, **more):
        return self.ns.run(*argv, **more)

    def neighbour(self, address):
        """The entry as `ip neigh` shows it, or {}."""
        found = self.ns.ip_json("neigh", "show", address, "dev", self.interface)
        return found[0] if found else {}

    def flush_neighbours(self):
        self.ns.ip("neigh", "flush", "dev", self.interface)

    def packet_socket(self):
        with self.ns.entered():
            return PacketSocket(self.interface)

    def capture(self, direction="in"):
        return Capture(self.packet_socket(), direction)

    def connect(self, address, port=22, timeout=20.0, own_port=0):
        """One connect() to a host's service, then its greeting and an echo."""
        started = time.monotonic()
        with self.ns.entered():
            connection = socket.create_connection((address, port), timeout, ("", own_port))
        connected = time.monotonic()
        with connection:
            own_port = connection.getsockname()[1]
            stream = connection.makefile("rw", newline="\n")
            greeting = stream.readline()
            assert greeting == f"port {port}\n", f"{address} port {port} greeted with {greeting!r}"
            stream.write("echo\n")
            stream.flush()
            assert stream.readline() == "echo\n", f"{address} port {port} did not echo"
        return Connection(started, connected, own_port)

    def addresses(self):
        """address -> flags that `ip addr` shows ("tentative", "dadfailed", ...)."""
        found = self.ns.ip_json("addr", "show", "dev", self.interface)
        return {a["local"]: {k for k, v in a.items() if v is True} for a in found[0]["addr_info"]}


class Host(Node):
    """The host that sleeps, together with its network card."""

    PORTS = (22, 80, 443, 631)

    def __init__(self, lan, suffix, index, number):
        """`number` counts the hosts of a segment from 0."""
        more = "" if number == 0 else f"-{number}"
        super().__init__(lan.namespace(f"host{suffix}{more}"), "eth0", 20 if number == 0 else 99 + number, index)
        self.lan, self.card, self.port = lan, lan.namespace(f"card{suffix}{more}"), "host" + more
        self.nic = EventLog(lan.folder / f"nic{index}{more}.log")
        self.service = EventLog(lan.folder / f"server{index}{more}.log")

    @property
    def awake(self):
        with self.ns.entered(), Interface("eth0") as link:
            return link.up

    @awake.setter
    def awake(self, wanted):
        with self.ns.entered(), Interface("eth0") as link:
            link.up = wanted

    @property
    def own_addresses(self):
        return [self.ip4] + ([self.ip6, self.temp, self.ll] if self.lan.ipv6 else [])

    def suspend(self):
        """The host is off the network, as of now."""
        self.awake = False

    def power_on(self):
        """Somebody presses the button."""
        self.awake = True

    def settled(self):
        """True once every address is there and past duplicate address detection."""
        with self.ns.entered():
            if any(flags & IFA_F_TENTATIVE for flags in ipv6_addresses(self.interface).values()):
                return False
        have = self.addresses()
        return all(a in have and "tentative" not in have[a] for a in self.own_addresses)

    def wait_settled(self, timeout=10.0):
        wait_until("the host's addresses are past duplicate address detection", self.settled, timeout)
        failed = {a: f for a, f in self.addresses().items() if "dadfailed" in f}
        assert not failed, f"the host lost addresses to duplicate address detection: {failed}"

    def wait_up(self, timeout=10.0, since=0.0):
        """When the firmware had brought the link up (CLOCK_MONOTONIC)."""
        return self.nic.wait("up", timeout, since)["t"]

    def wait_usable(self, address, since=0.0):
        """When a resumed host could use `address`: for IPv6 that is after duplicate address detection."""
        up = self.wait_up(since=since)
        if ":" not in address:
            return up
        return wait_until(f"{address} is usable", lambda: [
            e for e in self.nic.events("usable", up) if e["address"] == address])[0]["t"]

    def magic(self, since=0.0):
        return self.nic.events("magic", since)


class Segment:
    """One broadcast domain: switch, client, hosts, and an interface of the gateway."""

    def __init__(self, lan, index, hosts):
        self.lan, self.index = lan, index
        suffix = "" if index == 0 else str(index + 1)
        self.switch = lan.namespace("switch" + suffix)
        self.client = Node(lan.namespace("client" + suffix), "eth0", 10, index)
        self.hosts = [Host(lan, suffix, index, number) for number in range(hosts)]
        self.host = self.hosts[0]
        self.gateway = Node(lan.gateway_ns, f"lan{index}", 1, index)

    def create(self):
        lan = self.lan
        for ns in (self.switch, self.client.ns, *(ns for host in self.hosts for ns in (host.card, host.ns))):
            ns.create()
        for ns in (self.switch, *(host.card for host in self.hosts)):
            ns.sysctl(ipv6__conf__default__disable_ipv6=1)
            ns.bridge_only()
        for ns in (self.client.ns, self.gateway.ns):
            ns.sysctl(ipv6__conf__default__accept_dad=0, ipv6__conf__default__router_solicitations=0)
        for host in self.hosts:
            host.ns.sysctl(ipv6__conf__default__accept_dad=2, ipv6__conf__default__keep_addr_on_down=1,
                           ipv6__conf__default__router_solicitations=0,
                           ipv6__conf__default__router_solicitation_delay=0,
                           ipv6__conf__default__disable_ipv6=int(not lan.ipv6))

        ports = ["client", "gateway", *(host.port for host in self.hosts)]
        self.switch.batch([
            "link add name switch type bridge stp_state 0 forward_delay 0 ageing_time 30000 "
            f"mcast_snooping {int(lan.multicast_snooping)}",
            self.cable("client", self.client), self.cable("gateway", self.gateway),
            *(f"link add name {host.port} type veth peer name n1 netns {host.card.name} index 1001"
              for host in self.hosts),
            *(f"link set {port} master switch up" for port in ports),
            "link set switch up"])
        # distinct indexes: for equal ones at both ends of a veth the kernel reports the carrier a second late
        for host in self.hosts:
            host.card.batch([
                self.cable("n0", host, "index 1000"),
                "link add name repeater type bridge stp_state 0 forward_delay 0 ageing_time 0 mcast_snooping 0",
                "link set n0 master repeater up", "link set n1 master repeater up", "link set repeater up"])
        # every broadcast goes to every host, more at once than the kernel's queue for all of them takes (1,000 frames);
        # with GRO each veth has one of its own
        if len(self.hosts) > 1:
            for host in self.hosts:
                self.switch.run("ethtool", "-K", host.port, "gro", "on")
                host.card.run("sh", "-c", "ethtool -K n0 gro on; ethtool -K n1 gro on")
                host.ns.run("ethtool", "-K", "eth0", "gro", "on")
        self.prepare_gateway_port()
        for node in (self.client, self.gateway, *self.hosts):
            self.configure(node)

    def prepare_gateway_port(self):
        # XDP_TX at the gateway arrives only if this end runs a program too
        run(["ip", "-n", self.switch.name, "link", "set", "dev", "gateway", "xdpdrv", "obj",
             self.lan.folder / "pass.bpf.o", "sec", "xdp"])
        # tags inside the frame, as a cable carries them, and not beside it
        self.switch.run("ethtool", "-K", "gateway", "txvlan", "off", "tx-vlan-stag-hw-insert", "off")

    def configure(self, node):
        """Brings the node's interface up with its addresses."""
        prefix = [f"addr add {node.ip4}/24 dev {node.interface}"]
        if node not in self.hosts or self.lan.ipv6:
            prefix.append(f"addr add {node.ip6}/64 dev {node.interface}")
            if node in self.hosts:
                prefix.append(f"addr add {node.temp}/64 dev {node.interface}")
        node.ns.batch([f"link set {node.interface} up", "link set lo up", *prefix])

    def cable(self, port, node, more=""):
        """The words that make a switch's port and what is plugged into it."""
        return (f"link add name {port} {more} type veth peer name {node.interface} address {node.mac} "
                f"netns {node.ns.name}")

    def recable_gateway(self):
        """The gateway's interface made anew, after it was deleted."""
        self.switch.batch([self.cable("gateway", self.gateway), "link set gateway master switch up"])
        self.prepare_gateway_port()
        self.configure(self.gateway)

    def gateway_port(self):
        """What the gateway sends, as the switch gets it."""
        return self.capture("gateway", "in")

    def capture(self, port, direction="both"):
        with self.switch.entered():
            return Capture(PacketSocket(port), direction)

    def switch_port_of(self, mac):
        """The port behind which the switch has learned `mac`, or None."""
        done = run(["bridge", "-n", self.switch.name, "-j", "fdb", "show", "br", "switch"])
        for entry in json.loads(done.stdout or "[]"):
            if entry["mac"] == mac and entry.get("state", "") != "permanent":
                return entry["ifname"]
        return None


class Lan:
    """Context manager.  On exit, also after a failure, nothing of it is left; on entry neither is anything of an
    earlier run of the same name that was killed.  `hosts`: on each segment.  `offload`: a card answers ARP and ND for
    its sleeping host.  `outside`: the gateway is a router, with the node `outside` behind its other interface wan0.
    `keep`: what it starts outlives this process, and exit leaves it up."""

    def __init__(self, name, segments=1, hosts=1, resume=0.3, ipv6=True, multicast_snooping=False, offload=False,
                 outside=False, keep=False):
        self.name, self.resume, self.ipv6, self.keep = name, resume, ipv6, keep
        self.multicast_snooping, self.offload = multicast_snooping, offload
        digest = hashlib.sha256(f"{name} {build_folder().resolve()}".encode()).hexdigest()[:6]
        self.prefix = f"pz-{digest}-"
        self.folder = Path("/run") / f"pz-{digest}"
        self.bpffs = self.folder / "bpf"  # a mount of its own; the daemon's pins are in a folder below it
        self.lock = None
        self.processes = []
        self.proxies = []
        self.host_routes = []  # that a host has besides its own network's
        self.gateway_ns = self.namespace("gateway")
        self.outside = Node(self.namespace("outside"), "eth0", 10, 1) if outside else None
        self.segments = [Segment(self, i, hosts) for i in range(segments)]
        first = self.segments[0]
        self.client, self.host, self.gateway, self.switch = first.client, first.host, first.gateway, first.switch

    def namespace(self, role):
        return Namespace(self.prefix + role)

    def __enter__(self):
        try:
            self.create()
        except BaseException:
            self.destroy()
            raise
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.explain()
        if self.keep and kind is None:
            return
        trouble = self.destroy()
        if trouble and kind is None:
            raise AssertionError(trouble)

    def take_lock(self):
        self.lock = open(f"/run/lock/{self.prefix}lan", "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.lock.close()
            self.lock = None
            raise Failed(f"the LAN {self.name} is in use by another run") from None

    def create(self):
        self.take_lock()
        self.remove_leftovers()
        self.folder.mkdir()
        self.folder.chmod(0o755)
        self.bpffs.mkdir()
        run(["mount", "-t", "bpf", "bpffs", self.bpffs])
        shutil.copy(build_folder() / "tests" / "net" / "pass.bpf.o", self.folder)
        self.gateway_ns.create()
        for segment in self.segments:
            segment.create()
        if self.outside:
            self.create_outside()
        hosts = [host for segment in self.segments for host in segment.hosts]
        self.start(hosts)
        for host in hosts:
            host.wait_settled()
            # the random delay before duplicate address detection, which this first time was left out
            host.ns.sysctl(ipv6__conf__eth0__router_solicitation_delay=1)

    def create_outside(self):
        """Nothing on that cable is switched off: packets come with partial checksums, and several in one."""
        far, near = self.outside, Node(self.gateway_ns, "wan0", 1, 1)
        far.ns.create()
        for ns in (far.ns, self.gateway_ns):
            ns.sysctl(ipv6__conf__default__accept_dad=0, ipv6__conf__default__router_solicitations=0)
        self.gateway_ns.batch([f"link add name wan0 type veth peer name eth0 netns {far.ns.name}"])
        for node in (near, far):
            self.segments[0].configure(node)
        far.ns.batch([f"route add default via {near.ip4}", f"route add default via {near.ip6}"])
        self.gateway_ns.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
        self.host_routes = [f"route add default via {self.gateway.ip4}", f"route add default via {self.gateway.ip6}"]
        self.host.ns.batch(self.host_routes)

    def start(self, hosts):
        """The cards' firmware and the hosts' services."""
        cards = [a for h in hosts for a in ("--card", h.card.name, "n1", h.ns.name, h.mac, h.nic.path)]
        services = [a for h in hosts for a in ("--host", h.ns.name, h.service.path)]
        answer = ["--answer", *(a for h in hosts for a in h.own_addresses)] if self.offload else []
        routes = ["--routes", *self.host_routes] if self.host_routes else []
        self.spawn(self.host.ns, sys.executable, SUPPORT / "nic.py", "--resume", self.resume, *cards, *answer, *routes)
        self.spawn(self.host.ns, sys.executable, SUPPORT / "server.py", *services, "--ports", *Host.PORTS)
        for host in hosts:
            host.nic.wait("ready")
            host.service.wait("ready")

    def spawn(self, namespace, *argv):
        command = (namespace.command if namespace else lambda *a: list(map(str, a)))(*argv)
        tie = [] if self.keep else ["setpriv", "--pdeathsig", "KILL"]
        with open(self.folder / "helpers.log", "a") as log:
            process = subprocess.Popen(tie + command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=self.keep)
        self.processes.append(process)
        return process

    def proxy(self, *more, **settings):
        """Starts proxzzyd on every segment's interface."""
        from proxy import Proxy
        proxy = Proxy(self, *more, **settings)
        proxy.start()
        return proxy

    def destroy(self):
        """Removes everything; returns what should not have happened on the way (a daemon that did not stop well)."""
        trouble = []
        for proxy in self.proxies:
            try:
                proxy.stop()
            except (AssertionError, Failed) as error:
                trouble.append(str(error))
        for process in self.processes:
            process.kill()
            process.wait()
        if self.lock:
            self.remove_leftovers()
            self.lock.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"/run/lock/{self.prefix}lan")
            self.lock = None
        return "\n".join(trouble)

    def remove_leftovers(self):
        """Whatever bears this LAN's names: processes in its namespaces, the namespaces, the folder."""
        namespaces = [Namespace(path.name) for path in Path("/run/netns").glob(self.prefix + "*")]
        for sig, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            for pid in pids_in(namespaces):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sig)
            with contextlib.suppress(AssertionError):
                wait_until("no process in the namespaces", lambda: not pids_in(namespaces), patience)
        for ns in namespaces:
            ns.remove()
        while os.path.ismount(self.bpffs):
            run(["umount", "-l", self.bpffs])
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove(self):
        """Removes a LAN that an earlier process kept."""
        self.take_lock()
        self.destroy()

    def explain(self):
        """What helps to see why a test failed."""
        lines = 30 if len(self.segments[0].hosts) < 5 else 3
        for path in sorted(self.folder.glob("*.log")):
            text = path.read_text(errors="replace").splitlines()
            if text:
                print(f"--- {path.name}, last lines", *(line[:200] for line in text[-lines:]), sep="\n", file=sys.stderr)
