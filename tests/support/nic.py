# SPDX-License-Identifier: Apache-2.0
"""The firmware of sleeping hosts' network cards: while a host's interface is down it looks at every frame that the
switch delivers, and resumes the host on a Magic Packet for its MAC, and on nothing else.  Says what it saw, one JSON
object a line: {"t": CLOCK_MONOTONIC seconds, "event": ...}, where an event is "frame" or "magic" (seen asleep), "up"
(it has resumed the host) or "usable" (an IPv6 address of the host is past duplicate address detection).  With --answer
the firmware also answers ARP and Neighbour Solicitations for the sleeper, as ARP and NS offload do ("answered").

One card looks at every frame in Python; several leave what cannot be a Magic Packet to the kernel, as hardware has
patterns for it, and log no "frame"."""

import argparse
import json
import select
import struct
import sys
import time

from frames import (ETH_ARP, ETH_IP4, ETH_IP6, ETH_MAGIC, PacketSocket, arp, ethernet, icmpv6, ip_bytes, ip_text, ipv6,
                    mac_bytes, magic_form)
from netns import IFA_F_DADFAILED, IFA_F_TENTATIVE, Interface, Namespace, ipv6_addresses


def keep_only_magic(wire, mac):
    """A classic BPF filter: the MAC where the repeats begin, in EtherType 0x0842 and in UDP over IPv4."""
    high, low = struct.unpack("!IH", mac_bytes(mac))
    halfword, word, jump_equal, result = 0x28, 0x20, 0x15, 0x06
    program = [(halfword, 0, 0, 12),
               (jump_equal, 1, 0, ETH_MAGIC), (jump_equal, 4, 9, ETH_IP4),
               (word, 0, 0, 20), (jump_equal, 0, 7, high), (halfword, 0, 0, 24), (jump_equal, 4, 5, low),
               (word, 0, 0, 48), (jump_equal, 0, 3, high), (halfword, 0, 0, 52), (jump_equal, 0, 1, low),
               (result, 0, 0, 65535), (result, 0, 0, 0)]
    wire.keep_only(program)


def answer(frame, mac, addresses):
    """What ARP and NS offload would say to `frame`, or None."""
    if frame.arp and frame.arp[0] == 1 and frame.arp[4] in addresses:
        _, asker, source, _, target = frame.arp
        return ethernet(asker, mac, ETH_ARP, arp(2, mac, target, asker, source))
    message = frame.icmp6
    if message and message[0] == 135 and (target := ip_text(message[8:24])) in addresses:
        body = b"\x60\0\0\0" + ip_bytes(target) + b"\2\1" + mac_bytes(mac)
        return ethernet(frame.src, mac, ETH_IP6, ipv6(target, frame.l4.src, 58, icmpv6(target, frame.l4.src, 136, body)))
    return None


class Card:
    def __init__(self, namespace, port, host, mac, log, answers, routes):
        self.answers, self.routes = answers, routes
        self.mac, self.host = mac, Namespace(host)
        with Namespace(namespace).entered():
            self.wire = PacketSocket(port)
        with self.host.entered():
            self.link = Interface("eth0")
        self.log = open(log, "w", buffering=1)
        self.resume_at = None
        self.usable = None  # while the host resumes: its addresses that are past duplicate address detection
        self.say("ready")

    def say(self, event, **more):
        self.log.write(json.dumps({"t": time.monotonic(), "event": event, **more}) + "\n")

    def receive(self, resume):
        """`resume`: seconds from the Magic Packet to the link."""
        while (frame := self.wire.receive()) is not None:
            if frame.outgoing or self.link.up:
                continue
            form = magic_form(frame.raw, self.mac)
            if reply := answer(frame, self.mac, self.answers):
                self.wire.send(reply)
                self.say("answered", to=frame.src)
            elif form is None:
                self.say("frame", src=frame.src, dst=frame.dst, ethertype=frame.ethertype)
            else:
                self.say("magic", form=form, src=frame.src, dst=frame.dst, raw=frame.raw.hex())
                if self.resume_at is None:
                    self.resume_at = time.monotonic() + resume

    def proceed(self):
        """The host's resume, as far as it has come by now."""
        if self.resume_at is not None and time.monotonic() >= self.resume_at:
            self.resume_at = None
            self.link.up = True
            if self.routes:
                self.host.batch(self.routes)
            self.say("up")
            self.usable = set()
        if self.usable is None:
            return
        with self.host.entered():
            now = ipv6_addresses("eth0")
        for address in now.keys() - self.usable:
            if not now[address] & (IFA_F_TENTATIVE | IFA_F_DADFAILED):
                self.usable.add(address)
                self.say("usable", address=address)
        if not any(flags & IFA_F_TENTATIVE for flags in now.values()):
            self.usable = None


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--resume", type=float, required=True, help="seconds from the Magic Packet to the link")
    options.add_argument("--card", nargs=5, action="append", required=True,
                         metavar=("NAMESPACE", "PORT", "HOST", "MAC", "LOG"),
                         help="the card's namespace and its port to the switch; its host's namespace and MAC; a file")
    options.add_argument("--answer", nargs="*", default=[], metavar="ADDRESS")
    options.add_argument("--routes", nargs="*", default=[], metavar="LINE",
                         help="what the host tells `ip` when it has resumed: Linux forgets routes of a link that is down")
    args = options.parse_args()

    cards = [Card(*card, set(args.answer), args.routes) for card in args.card]
    if len(cards) > 1:
        for card in cards:
            keep_only_magic(card.wire, card.mac)
    by_wire = {card.wire: card for card in cards}
    while True:
        timeout = min((max(0.0, c.resume_at - time.monotonic()) for c in cards if c.resume_at is not None),
                      default=None)
        if any(card.usable is not None for card in cards):
            timeout = min(0.002 * len(cards), timeout or 1)
        for wire in select.select(list(by_wire), [], [], timeout)[0]:
            by_wire[wire].receive(args.resume)
        for card in cards:
            card.proceed()


if __name__ == "__main__":
    sys.exit(main())
