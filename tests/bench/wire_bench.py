#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Answers per second and CPU time of an answer, on a link: proxzzy's data path next to bare XDP programs, the kernel
and other proxies.  Each subject has a network namespace and a veth pair of its own; all other ends are in the namespace
of the asker, where wire_load sends live frames and counts what comes back.  Nothing else on this machine is touched."""

import argparse
import contextlib
import dataclasses
import datetime
import fcntl
import functools
import hashlib
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from lan import build_folder, wait_until  # noqa: E402
from netns import Failed, Namespace, pids_in, run  # noqa: E402

ASKER_MAC, ASKED_MAC = "02:aa:bb:cc:dd:ee", "02:aa:bb:cc:dd:01"  # as in wire_generator.bpf.c
ASKER4, ASKER6 = "192.0.2.3", "fe80::1"  # that no table takes for a host: one in a hundred it does
SIZES = {"hot": 1, "1k": 1000, "10k": 10_000, "1M": 1_000_000}
BYTES = {"ask_arp": 60, "ask_ns": 86, "data": 1514}
FLOWS = {"pass-hot": 1, "pass-rotating": 4096}  # destinations of what passes through
CPUS = sorted(os.sched_getaffinity(0))
SENDER, ASKED = (CPUS * 2)[:2]  # of what asks, and of what answers if that is a process or thread of its own
CPU_LOAD = 1_000_000  # questions a second for the CPU time of an answer
ROUNDS, MILLISECONDS = 9, 200
SHORT_ROUNDS, SHORT_MILLISECONDS = 3, 100

NDPPD = """route-ttl 30000
proxy {interface} {{
  router no
  timeout 500
  ttl 30000
  rule 2001:db8::/64 {{
    static
  }}
}}
"""
NPD6 = """prefix=2001:0db8:0000:0000:
interface={interface}
listtype=none
listlogging=off
collectTargets=0
linkOption=true
ignoreLocal=false
routerNA=false
maxHops=255
pollErrorLimit=20
exprlist=none
"""


def sleeper4(host):
    return f"10.{host >> 16}.{host >> 8 & 255}.{host & 255}"


def sleeper6(host):
    return f"2001:db8::{host >> 16:x}:{host & 0xffff:x}"


class Line:
    """A program that answers each line with one line of JSON."""

    def __init__(self, name, process):
        self.name, self.process = name, process

    def ask(self, *words):
        if words:
            print(*words, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise Failed(f"{self.name} ended with status {self.process.wait()}")
        return json.loads(answer)


@dataclasses.dataclass
class Pair:
    """A link: `asking` in the asker's namespace, `asked` in a namespace of its own."""

    namespace: Namespace
    asking: str
    asked: str
    kernel: bool = False  # it is the kernel or a program on it that speaks

    def received(self):
        """Frames that came in at the asked end."""
        with self.namespace.entered(), open("/proc/thread-self/net/dev") as file:
            lines = [line.split() for line in file]
        return next(int(words[2]) for words in lines if words[0] == self.asked + ":")


@dataclasses.dataclass(frozen=True)
class Case:
    """One result.  `wants`: what must be true of every frame that was sent: "replies", "reflected", "received" at the
    other end; "some": something comes back of some of them, as from what cannot keep up with what is asked; "arrival":
    some are received."""

    what: str
    size: str
    subject: str
    program: str
    pair: Pair
    path: str
    wants: str = "replies"
    keys: int = 1
    cpus: tuple = (ASKED,)
    reason: str | None = None  # the counter of the responder that must count them too
    rate: int = 0
    responder: Line | None = None
    peer: int | None = None  # pid

    @property
    def name(self):
        return f"wire/{self.what}/{self.size}/{self.subject}"


class Wire:
    """Context manager: all links and subjects.  On exit nothing of them is left, nor on entry of an earlier run."""

    def __init__(self, sizes):
        digest = hashlib.sha256(str(build_folder().resolve()).encode()).hexdigest()[:4]
        self.tag, self.prefix = f"w{digest}", f"pz-wire-{digest}-"
        self.folder = Path("/run") / f"pz-wire-{digest}"
        self.sizes = sizes
        self.asker = Namespace(self.prefix + "asker")
        self.pairs, self.responders, self.peers, self.processes = {}, {}, {}, []
        self.lock = None

    def __enter__(self):
        self.lock = open(f"/run/lock/{self.prefix}lock", "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.lock.close()
            raise Failed("this benchmark runs already") from None
        try:
            self.remove()
            self.create()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.remove()
        self.lock.close()

    def create(self):
        (self.folder / "bpf").mkdir(parents=True)
        run(["mount", "-t", "bpf", "bpffs", self.folder / "bpf"])
        self.asker.create()
        self.asker.sysctl(ipv6__conf__default__disable_ipv6=1)
        self.asker.batch([f"link add {self.tag}s{i} type veth peer name {self.tag}s{i + 1}" for i in (0, 2)])
        self.load = Line("wire_load", self.start(self.asker, build_folder() / "tests/bench/wire_load"))
        for i, program in enumerate(BYTES):
            self.attach(self.asker, f"{self.tag}s{i}", program)
        self.create_bare()
        self.create_responders()
        self.create_kernel()
        self.create_peers()

    def remove(self):
        """Whatever bears the names of this benchmark: processes in its namespaces, these, mounts and the folder."""
        namespaces = [Namespace(path.name) for path in Path("/run/netns").glob(self.prefix + "*")]
        for number, patience in ((signal.SIGTERM, 2), (signal.SIGKILL, 20)):  # farpd is too busy to listen
            for pid in pids_in(namespaces):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                    os.kill(pid, signal.SIGCONT)
            with contextlib.suppress(AssertionError):
                wait_until("no process in the namespaces", lambda: not self.alive(namespaces), patience)
                break
        for ns in namespaces:
            ns.remove()
        for mount in [*self.folder.glob("sys-*"), self.folder / "bpf"]:
            while os.path.ismount(mount):
                run(["umount", "-l", mount])
        shutil.rmtree(self.folder, ignore_errors=True)

    def alive(self, namespaces):
        for process in self.processes:
            process.poll()  # takes away what has ended
        return bool(pids_in(namespaces))

    def start(self, namespace, *argv):
        process = namespace.start(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process

    def attach(self, namespace, interface, program):
        self.load.ask("attach", namespace.name, interface, program)

    def pair(self, name, kernel=False):
        """A link with two queues, so that two CPUs do not wait for each other, and a sink at the asking end."""
        number, ns = len(self.pairs), Namespace(self.prefix + name)
        pair = Pair(ns, f"{self.tag}a{number}", f"{self.tag}b{number}", kernel)
        ns.create()
        ns.sysctl(ipv6__conf__default__disable_ipv6=int(not kernel), ipv6__conf__default__accept_dad=0,
                  ipv6__conf__default__router_solicitations=0, ipv6__conf__default__addr_gen_mode=1)
        queues = "numtxqueues 2 numrxqueues 2"
        self.asker.batch([f"link add {pair.asking} address {ASKER_MAC} {queues} type veth "
                          f"peer name {pair.asked} address {ASKED_MAC} netns {ns.name} {queues}"])
        ns.run("ethtool", "-K", pair.asked, "gro", "on")  # else live frames do not arrive where there is no XDP program
        ns.batch(["link set lo up"])
        self.asker.batch([f"link set {pair.asking} up"])
        self.bring_up(pair)
        self.attach(self.asker, pair.asking, "sink")
        self.pairs[name] = pair
        return pair

    def bring_up(self, pair):
        """Where the kernel speaks it has addresses, and knows the asker: else a peer's kernel asks for him before it
        sends the reply, and other namespaces can fill the neighbour tables, which all share."""
        pair.namespace.batch([f"link set {pair.asked} up"])
        if pair.kernel:
            pair.namespace.batch([f"addr replace 192.0.2.2/24 dev {pair.asked}",
                                  f"addr replace fe80::2/64 dev {pair.asked} nodad",
                                  *(f"neigh replace {address} lladdr {ASKER_MAC} dev {pair.asked} nud permanent"
                                    for address in (ASKER4, ASKER6))])

    def create_bare(self):
        for name, program in (("reflector", "reflect"), ("drop", "drop"), ("pass", "pass")):
            pair = self.pair(name)
            self.attach(pair.namespace, pair.asked, program)
        self.pair("none")

    def create_responders(self):
        """The data path, with a table of each size."""
        for size in self.sizes:
            pair = self.pair(f"proxzzy-{size}")
            process = self.start(pair.namespace, build_folder() / "tests/bench/responder",
                                 self.folder / "bpf" / size, pair.asked, SIZES[size])
            self.responders[size] = Line(f"responder {size}", process)
        for responder in self.responders.values():
            responder.ask()  # its tables are full, and it is attached

    def create_kernel(self):
        """Neighbour discovery of the kernel: for own addresses, and as a proxy."""
        pair = self.pair("kernel", kernel=True)
        pair.namespace.batch([f"addr add {sleeper4(0)}/32 dev {pair.asked}",
                              "route add local 10.0.0.0/8 dev lo",  # AnyIP
                              f"addr add {sleeper6(0)}/128 dev {pair.asked} nodad"])
        pair = self.pair("proxy", kernel=True)
        pair.namespace.sysctl(**{"ipv4__ip_forward": 1, "ipv6__conf__all__forwarding": 1,
                                 f"ipv6__conf__{pair.asked}__proxy_ndp": 1,
                                 f"ipv4__neigh__{pair.asked}__proxy_delay": 0,
                                 f"ipv6__neigh__{pair.asked}__proxy_delay": 0})
        pair.namespace.batch(["link add elsewhere type veth peer name elsewhere2", "link set elsewhere2 up",
                              "link set elsewhere up", "route add 10.0.0.0/8 dev elsewhere",
                              "route add 2001:db8::/64 dev elsewhere"])
        self.proxy_entries(0)

    def proxy_entries(self, count):
        """`ip neigh add proxy` for the first sleepers.  The kernel has one table, of 16 lists, for all namespaces."""
        pair = self.pairs["proxy"]
        if count == 0:  # with the link all entries go at once
            pair.namespace.batch([f"link set {pair.asked} down"])
            self.bring_up(pair)
            self.proxied = 0
        added = range(self.proxied, count)
        pair.namespace.batch([f"neigh add proxy {address(host)} dev {pair.asked}"
                              for host in added for address in (sleeper4, sleeper6)])
        self.proxied = count

    def create_peers(self):
        """Proxies of the distribution; they stand still but for their own measurements."""
        for name, config, argv in (
            ("ndppd", NDPPD, ["ndppd", "-c", "CONFIG"]),
            ("npd6", NPD6, ["npd6", "-f", "-c", "CONFIG", "-l", self.folder / "npd6.log"]),
            ("farpd", "", ["farpd", "-i", "INTERFACE", "10.0.0.0/12"]),
        ):
            pair = self.pair(name, kernel=True)
            pair.namespace.batch([f"addr add 10.255.0.1/8 dev {pair.asked}"])  # farpd asks from its subnet
            path = self.folder / f"{name}.conf"
            path.write_text(config.format(interface=pair.asked))
            words = {"CONFIG": path, "INTERFACE": pair.asked}
            argv = ["nice", "-n", "-20", "taskset", "-c", ASKED, *(words.get(word, word) for word in argv)]
            with open(self.folder / f"{name}.out", "w") as out:
                process = pair.namespace.start(*argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            self.processes.append(process)
            if name == "farpd":  # goes to the background by itself
                process.wait(10)
                program, pause = "ask_arp", 1.5  # it probes for a second, and while it is asked that does not end
            else:
                program, pause = "ask_ns", 0.2
            wait_until(f"{name} answers", lambda: self.ask(program, pair, 1, (SENDER,), 1, 0)["replies"], 20, pause)
            self.peers[name], = pids_in([pair.namespace])
            os.kill(self.peers[name], signal.SIGSTOP)

    def ask(self, program, pair, keys, cpus, milliseconds, rate):
        return self.load.ask("measure", program, BYTES[program], pair.asking, keys, ",".join(map(str, cpus)),
                             milliseconds, rate)

    def measure(self, case, milliseconds, threads=()):
        """What wire_load counted, with the frames that were `received` at the other end, and the CPU time that was
        `used` by threads, those of the peer among them; Failed if they did not take the way that the case is about."""
        before = case.responder.ask("") if case.responder else {}
        received = case.pair.received()
        threads = [*threads, *([case.peer] if case.peer else [])]
        used = sum(map(cpu_ns, threads))
        if case.peer:
            os.kill(case.peer, signal.SIGCONT)
        try:
            count = self.ask(case.program, case.pair, case.keys, case.cpus, milliseconds, case.rate)
        finally:
            if case.peer:
                os.kill(case.peer, signal.SIGSTOP)
        count["used"] = (sum(map(cpu_ns, threads)) - used) / 1e9
        count["received"] = case.pair.received() - received
        after = case.responder.ask("") if case.responder else {}
        sent = count["all_asked"]
        done = {
            "replies": count["all_returned"] - sent or count["reflected"],
            "reflected": count["all_returned"] - sent or count["replies"],
            "received": count["received"] - sent or count["all_returned"],
            "arrival": not count["received"],
            "some": not 0 < count["replies"] + count["reflected"] <= count["received"],
        }[case.wants]
        counted = {reason: after[reason] - before[reason] for reason in after if after[reason] != before[reason]}
        if done or (case.reason and counted != {case.reason: count["received"]}):
            raise Failed(f"{case.name}: not what it should measure: {count}, proxzzy counted {counted}")
        return count

    @contextlib.contextmanager
    def threaded(self, pairs):
        """Both ends are served by kernel threads, the asked ones alone on a CPU.  Yields {pair's name: pids of the
        asked end's}."""
        ends = []
        for name in ("asker", *pairs):
            ns = self.asker if name == "asker" else self.pairs[name].namespace
            mount = self.folder / f"sys-{name}"  # sysfs shows the namespace that mounted it
            mount.mkdir(exist_ok=True)
            ns.run("mount", "-t", "sysfs", "sysfs", mount)
        for name in pairs:
            pair = self.pairs[name]
            ends += [(self.folder / "sys-asker", pair.asking, SENDER), (self.folder / f"sys-{name}", pair.asked, ASKED)]
        for mount, interface, cpu in ends:
            (mount / f"class/net/{interface}/threaded").write_text("1")
            for pid in napi_threads(interface):
                os.sched_setaffinity(pid, {cpu})
                os.setpriority(os.PRIO_PROCESS, pid, -20)
        try:
            yield {name: napi_threads(self.pairs[name].asked) for name in pairs}
        finally:
            for mount, interface, _ in ends:
                (mount / f"class/net/{interface}/threaded").write_text("0")


def kernel_threads(name):
    """The pids of those whose name begins so."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it has ended
            if path.read_text().startswith(name):
                found.append(int(path.parent.name))
    return found


def napi_threads(interface):
    return kernel_threads(f"napi/{interface}-")


@functools.cache
def softirq_thread(cpu):
    """Does what the kernel does not want to do in the thread that it interrupted."""
    return kernel_threads(f"ksoftirqd/{cpu}\n")[0]


def cpu_ns(pid):
    """CPU time of a process or kernel thread, all threads together."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def cases(wire):
    """(cases in which the CPUs that send do all the work; cases for CPU time; (size, case) for the proxy's entries)"""

    def bare(what, subject, program, wants, path, **more):
        return Case(what, "any", subject, program, wire.pairs[subject], path, wants, keys=SIZES["10k"], **more)

    def proxzzy(what, size, program, **more):
        reason = {"ask_arp": "arp-answered", "ask_ns": "nd-answered"}[program]
        return Case(what, size, "proxzzy", program, wire.pairs[f"proxzzy-{size}"], "xdp native, XDP_TX",
                    keys=SIZES[size], reason=reason, responder=wire.responders[size], **more)

    def kernel(what, size, program, **more):
        path = "kernel, own address" if size == "hot" else "kernel, AnyIP"
        wants = "some" if more else "replies"  # it drops when two CPUs wait for each other, or one gets too much
        return Case(what, size, "kernel", program, wire.pairs["kernel"], path, wants, keys=SIZES[size], **more)

    def peer(what, size, name, program, **more):
        return Case(what, size, name, program, wire.pairs[name], "process on the other CPU", "some", keys=SIZES[size],
                    cpus=(SENDER,), peer=wire.peers[name], **more)

    largest = list(wire.sizes)[-1]
    plain = [
        bare("arp", "drop", "ask_arp", "received", "xdp native, XDP_DROP"),
        peer("arp", "hot", "farpd", "ask_arp"),
        peer("ns", "hot", "ndppd", "ask_ns"),
        peer("ns", largest, "ndppd", "ask_ns"),
        peer("ns", largest, "npd6", "ask_ns"),
    ]
    own_cpu = [bare("arp-cpu", "drop", "ask_arp", "arrival", "xdp native, XDP_DROP", cpus=(SENDER,), rate=CPU_LOAD),
               peer("ns-cpu", largest, "ndppd", "ask_ns", rate=CPU_LOAD),
               peer("ns-cpu", largest, "npd6", "ask_ns", rate=CPU_LOAD)]
    for what, program in (("arp", "ask_arp"), ("ns", "ask_ns")):
        for suffix, more in (("", {}), ("-2cpu", {"cpus": (SENDER, ASKED)})):
            plain.append(bare(what + suffix, "reflector", program, "reflected", "xdp native, XDP_TX", **more))
            plain += [proxzzy(what + suffix, size, program, **more) for size in wire.sizes]
            plain.append(kernel(what + suffix, "hot", program, **more))
        more = {"cpus": (SENDER,), "rate": CPU_LOAD}
        own_cpu.append(bare(what + "-cpu", "reflector", program, "some", "xdp native, XDP_TX", **more))
        own_cpu += [proxzzy(what + "-cpu", size, program, wants="some", **more) for size in wire.sizes]
        own_cpu.append(kernel(what + "-cpu", "hot", program, **more))
    plain += [kernel("arp", size, "ask_arp") for size in wire.sizes if size != "hot"]
    own_cpu.append(kernel("arp-cpu", largest, "ask_arp", cpus=(SENDER,), rate=CPU_LOAD))
    for what, keys in FLOWS.items():
        for subject, path in (("none", "kernel"), ("pass", "xdp native, XDP_PASS")):
            plain.append(Case(what, "any", subject, "data", wire.pairs[subject], path, "received", keys))
        plain.append(Case(what, largest, "proxzzy", "data", wire.pairs[f"proxzzy-{largest}"], "xdp native, XDP_PASS",
                          "received", keys, reason="nobody", responder=wire.responders[largest]))
    proxies = [(size, Case(what, size, "neigh-proxy", program, wire.pairs["proxy"], "kernel, ip neigh add proxy",
                           "replies", SIZES[size]))
               for size in ("hot", "1k", "10k") for what, program in (("arp", "ask_arp"), ("ns", "ask_ns"))]
    return plain, own_cpu, proxies


def entry(case, number, count, answered, seconds, ns):
    """A result in the form of Google Benchmark: `answered` frames in so many seconds, `ns` for each."""
    return {"name": case.name, "run_name": case.name, "run_type": "iteration", "repetition_index": number,
            "iterations": count["asked"], "real_time": ns, "cpu_time": count["cpu_seconds"] * 1e9 / answered,
            "time_unit": "ns", "items_per_second": answered / seconds, "asked": count["asked"], "answered": answered,
            "path": case.path}


def measure_rate(wire, case, number, milliseconds):
    """Answers a second, of the time of the CPUs that do all the work, or of the one that has the peer: so it does not
    matter what else runs there.  Google Benchmark has it so too."""
    count = wire.measure(case, milliseconds, [] if case.peer else map(softirq_thread, case.cpus))
    if case.peer:  # what it does before and after counts too
        answered, seconds = count["all_returned"], count["used"]
    else:
        answered = {"reflected": count["reflected"], "received": count["asked"]}.get(case.wants, count["replies"])
        seconds = (count["cpu_seconds"] + count["used"]) / len(case.cpus)
    return entry(case, number, count, answered, seconds, count["seconds"] * 1e9 / answered)


def measure_cpu(wire, case, number, milliseconds, threads):
    """CPU time of an answer, where it is given."""
    count = wire.measure(case, milliseconds, threads[case.pair.namespace.name.removeprefix(wire.prefix)])
    # the CPU time contains the questions that warm up; a program sends back all that comes in
    answered = count["received"] if case.path.startswith("xdp") else count["all_returned"]
    return entry(case, number, count, answered, count["seconds"], count["used"] * 1e9 / answered)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="3 rounds, and no table of a million")
    parser.add_argument("--out", type=Path, required=True, help="file for the results")
    parser.add_argument("--only", default="", help="only results whose name contains this")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rounds, milliseconds = (SHORT_ROUNDS, SHORT_MILLISECONDS) if options.short else (ROUNDS, MILLISECONDS)
    if len(CPUS) < 2:
        raise Failed("needs two CPUs")
    results = []
    with Wire(["hot", "10k"] if options.short else ["hot", "10k", "1M"]) as wire:
        plain, own_cpu, proxies = cases(wire)
        plain, own_cpu = ([case for case in some if options.only in case.name] for some in (plain, own_cpu))
        proxies = [(size, case) for size, case in proxies
                   if options.only in case.name and not (options.short and size == "10k")]
        for number in range(rounds):
            random.shuffle(plain)
            results += [measure_rate(wire, case, number, milliseconds) for case in plain]
            for size, case in proxies:
                wire.proxy_entries(SIZES[size])
                results.append(measure_rate(wire, case, number, milliseconds))
            wire.proxy_entries(0)
        names = {case.pair.namespace.name.removeprefix(wire.prefix) for case in own_cpu}
        with wire.threaded(sorted(names)) as threads:
            for number in range(rounds):
                random.shuffle(own_cpu)
                results += [measure_cpu(wire, case, number, milliseconds, threads) for case in own_cpu]
    context = {"date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "host_name": platform.node(),
               "executable": "tests/bench/wire_bench.py", "num_cpus": len(CPUS), "kernel": platform.release(),
               "load_avg": list(os.getloadavg()), "library_build_type": "release"}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"context": context, "benchmarks": results}, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Failed, AssertionError) as reason:
        sys.exit(f"wire_bench: {reason}")
