# SPDX-License-Identifier: Apache-2.0
"""What scripts/lab runs: a host sleeps, the network does not notice, a connection wakes it, from its own network, from
the other side of the gateway, from the gateway itself, and while the daemon is killed; it sleeps again and wakes by
itself.  In between it is a printer that avahi-browse finds.  Narrated, with timings."""

import argparse
import concurrent.futures
import shutil
import signal
import sys
import time

from avahi import PROGRAMS, Avahi
from lan import Lan, REPOSITORY
from netns import Failed
from proxy import Proxy, program

NAME = "lab"
RESUME = 1.5  # seconds that the lab's host needs from the Magic Packet to its link


PRINTER = "Front office"


def has_avahi():
    return all(shutil.which(name) for name in PROGRAMS)


class Story:
    def __init__(self):
        self.begin = time.monotonic()

    def say(self, text):
        print(f"[{time.monotonic() - self.begin:6.2f} s] {text}", flush=True)

    def check(self, holds, text, otherwise=""):
        """A sentence of the story, and whether it is true."""
        if not holds:
            raise AssertionError(f"it is not so that {text}" + (f": {otherwise}" if otherwise else ""))
        self.say(f"  {text}")


def asks(story, lan, proxy):
    """What the client asks of the sleeping host is answered in its name."""
    client, host = lan.client, lan.host
    since = time.monotonic()
    client.flush_neighbours()

    def peer(what, *argv, expect=0):
        story.say(f"the client: {' '.join(argv)}")
        done = client.run(*argv, check=False)
        story.check(done.returncode == expect, what, f"exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    out = peer("is answered", "arping", "-c", "1", "-I", "eth0", host.ip4)
    story.check(host.mac.upper() in out, f"with the host's MAC, {host.mac}", out)
    peer("learns that the address is taken", "arping", "-D", "-c", "1", "-I", "eth0", host.ip4, expect=1)
    for address in (host.ip6, host.ll):
        out = peer("is answered", "ndisc6", "-1", "-q", address, "eth0")
        story.check(out.strip().lower() == host.mac, "with the host's MAC", out)
    for address in (host.ip4, host.ip6):
        out = peer("is answered", "ping", "-n", "-c", "2", "-i", "0.2", "-W", "2", address)
        story.say("  " + next(line for line in out.splitlines() if line.startswith("rtt")))
        mac = client.neighbour(address).get("lladdr")
        story.check(mac == host.mac, f"by {host.mac}, says the client's neighbour table", mac)
    story.check(proxy.state() == "asleep" and not host.awake and not host.magic(since),
                "and all the while the host slept: its link is down, nobody woke it")


def finds(story, lan, proxy):
    """Who browses for printers finds the sleeping one, which sleeps on."""
    client, host = lan.client, lan.host
    with Avahi(lan, client, "client") as avahi:
        story.say("the client: avahi-browse --resolve _ipp._tcp")
        found = [line for line in avahi.browse("--resolve", "_ipp._tcp") if line.event == "="]
        story.check(any((line.instance, line.host, line.port) == (PRINTER, "printer.local", 631) for line in found),
                    f'"{PRINTER}" is there, at printer.local port 631', found)
        address = avahi.resolve("-4", "-n", "printer.local")
        story.check(address == host.ip4, f"and printer.local is {host.ip4}", address)
    story.check(proxy.state() == "asleep" and not host.awake, "all the while the printer slept")


def connects(story, lan, proxy, address, port, node=None, who="the client", meanwhile=lambda: None, within=1):
    """One connect() to the sleeping host wakes it and completes, at most `within` seconds after the host is back."""
    client, host = node or lan.client, lan.host
    story.say(f"{who} connects to {address} port {port}, with one connect()")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        connecting = pool.submit(client.connect, address, port)
        meanwhile()
        connection = connecting.result()
    started, connected = connection.started, connection.connected
    up = host.wait_up(since=started)
    magic = host.magic(started)[0]
    usable = host.wait_usable(address, started)
    story.say(f"  {magic['t'] - started:.3f} s: the sleeper's card has a Magic Packet from {magic['src']}")
    story.say(f"  {up - started:.3f} s: the host is up")
    if ":" in address:
        story.say(f"  {usable - started:.3f} s: and {address} is past duplicate address detection")
    story.check(connected - usable < within, f"{connected - started:.3f} s: that connection is there, and it works: "
                f"{connected - usable:.3f} s after the host could use the address", f"{connected - usable:.3f} s")
    proxy.wait_state("awake")
    story.say("  proxzzy has let go: the host is awake")


def keeps(story, lan):
    """The host has its addresses back, and nobody disputes them."""
    host = lan.host
    host.wait_settled()
    story.check(True, f"the host has {', '.join(host.own_addresses)}, all past duplicate address detection")
    done = host.run("arping", "-D", "-c", "2", "-w", "3", "-I", "eth0", host.ip4, check=False)
    story.check(done.returncode == 0, f"arping -D {host.ip4} on the host: nobody else answers for it", done.stdout)


def is_killed(story, lan, proxy, address, port):
    """The daemon is gone until the host is back: the kernel answers, and wakes."""
    story.say("proxzzyd is killed, with kill -9")
    proxy.stop(signal.SIGKILL)
    lan.client.flush_neighbours()
    done = lan.client.run("arping", "-c", "1", "-w", "2", "-I", "eth0", lan.host.ip4, check=False)
    story.check(done.returncode == 0, "the kernel goes on answering for the host", done.stdout)

    since = time.monotonic()

    def start_again():
        lan.host.wait_up(since=since)
        story.check(True, "the kernel wakes it, too: by a Magic Packet in the place of the packet that needs the host")
        proxy.start()
        story.say("proxzzyd is started again, and finds the host in its state file and the packet in the kernel's ring")

    connects(story, lan, proxy, address, port, meanwhile=start_again, within=3)  # or the client's TCP asks again


def resumes(story, lan, proxy, wire):
    """Somebody presses the sleeper's button: its own duplicate address detection is not contradicted."""
    host = lan.host
    story.say("somebody presses the sleeping host's button; it checks its addresses with accept_dad=2, as a careful host")
    pressed = time.monotonic()
    host.power_on()
    proxy.wait_state("awake")
    released = proxy.ctl("host", "show", "sleeper")["since_reason"]
    story.say(f"  {time.monotonic() - pressed:.3f} s: proxzzy has let go, because of its {released.split(': ')[-1]}")
    host.wait_settled()
    story.say(f"  {time.monotonic() - pressed:.3f} s: duplicate address detection found nobody: {host.ip6} and "
              f"{len(host.own_addresses) - 1} more are usable")
    first_frame = proxy.ctl("why", "sleeper")["wakes"][-1]["time_ns"] / 1e9
    spoken = wire.frames(lambda f: f.src == host.mac and f.when > first_frame)
    story.check(not spoken, "the gateway sent nothing in the host's name after the host's first frame",
                ", ".join(map(str, spoken)))
    told = proxy.run_ctl("why", "sleeper", json_output=False).stdout
    line = next(line for line in told.splitlines() if "woke by itself" in line)
    story.say(f"  proxzzyctl why: {line.split('  ', 1)[1]}")


def sleeps(story, lan, proxy):
    story.say("the host hands over to proxzzy and suspends")
    proxy.put_to_sleep(lan.host)
    story.check(not lan.host.awake, "its link is down; after 3 s of silence proxzzy stands in for it")


def tell(story, lan, proxy):
    host = lan.host
    story.say(f"a LAN: client {lan.client.ip4}, gateway {lan.gateway.ip4}, host {host.ip4} {host.ip6} ({host.mac})")
    wire = lan.segments[0].gateway_port()
    proxy.start()
    proxy.add(lan.host, "sleeper", "--hostname", "printer.local", "--service", f'_ipp._tcp 631 "{PRINTER}" rp=ipp/print')
    served = ", ".join(f"{i['name']} ({i['mode']})" for i in proxy.interfaces_status())
    story.say(f"proxzzyd serves {served}")
    lan.client.run("ping", "-n", "-c", "1", lan.host.ip4)
    lan.client.run("ping", "-n", "-c", "1", lan.host.ip6)
    story.say("the client knows the awake host, and the switch knows its port")

    sleeps(story, lan, proxy)
    connects(story, lan, proxy, lan.host.ip4, 22)
    keeps(story, lan)
    sleeps(story, lan, proxy)
    asks(story, lan, proxy)
    connects(story, lan, proxy, lan.host.ip6, 80)
    keeps(story, lan)
    sleeps(story, lan, proxy)
    if has_avahi():
        finds(story, lan, proxy)
    else:
        story.say("there is no avahi here to look for the printer")
    connects(story, lan, proxy, lan.host.ip4, 631)
    keeps(story, lan)
    sleeps(story, lan, proxy)
    resumes(story, lan, proxy, wire)
    keeps(story, lan)

    objections = wire.malformed(lan.folder / "gateway.pcap")
    story.check(not objections, f"tshark finds nothing wrong in the {len(wire.seen)} frames that the gateway sent",
                "\n".join(objections))

    sleeps(story, lan, proxy)
    connects(story, lan, proxy, lan.host.ip4, 443, lan.outside, f"{lan.outside.ip4}, behind the gateway's other interface,")
    sleeps(story, lan, proxy)
    connects(story, lan, proxy, lan.host.ip6, 22, lan.gateway, "a program on the gateway")
    sleeps(story, lan, proxy)
    is_killed(story, lan, proxy, lan.host.ip4, 80)
    keeps(story, lan)


def how_to_play(lan, proxy):
    ctl = f"{program('proxzzyctl').relative_to(REPOSITORY)} --control {proxy.control}"
    return f"""
The LAN is up.  Try, as root:
  {ctl} hosts
  {ctl} stats
  {ctl} host sleep sleeper && ip -n {lan.host.ns.name} link set eth0 down
  nsenter --net=/run/netns/{lan.client.ns.name} arping -I eth0 {lan.host.ip4}
  nsenter --net=/run/netns/{lan.client.ns.name} nc {lan.host.ip4} 22
  tail -f {lan.host.nic.path}         what the sleeper's card sees
  tail -f {proxy.log}
  scripts/lab --down"""


def main():
    options = argparse.ArgumentParser(prog="scripts/lab", description=__doc__)
    choice = options.add_mutually_exclusive_group()
    choice.add_argument("--keep", action="store_true", help="leave the LAN up, to play in")
    choice.add_argument("--down", action="store_true", help="remove a LAN that was kept")
    args = options.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if args.down:
            Lan(NAME).remove()
            return 0
        story = Story()
        with Lan(NAME, resume=RESUME, outside=True, keep=args.keep) as lan:
            proxy = Proxy(lan)
            tell(story, lan, proxy)
            if args.keep:
                print(how_to_play(lan, proxy))
                return 0
        story.say("the story holds, and everything is removed")
    except (AssertionError, Failed, OSError) as error:
        print(f"scripts/lab: the story does not hold: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
