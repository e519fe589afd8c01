# SPDX-License-Identifier: Apache-2.0
"""The firmware of a sleeping host's network card: while the host's interface is down it looks at every frame that the
switch delivers, and resumes the host on a Magic Packet for its MAC, and on nothing else.  Says what it saw, one JSON
object a line: {"t": CLOCK_MONOTONIC seconds, "event": ...}, where an event is "frame" or "magic" (seen asleep), "up"
(it has resumed the host) or "usable" (an IPv6 address of the host is past duplicate address detection)."""

import argparse
import json
import select
import sys
import time

from frames import PacketSocket, ip_text, magic_form
from netns import enter, interface_up, set_interface_up

IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x08, 0x40


def addresses():
    """The IPv6 addresses of eth0 and their flags.  For the namespace that was entered last."""
    with open("/proc/self/net/if_inet6") as file:
        lines = [line.split() for line in file]
    return {ip_text(bytes.fromhex(address)): int(flags, 16) for address, *_, flags, name in lines if name == "eth0"}


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--card", required=True, help="namespace of the card")
    options.add_argument("--host", required=True, help="namespace of the host")
    options.add_argument("--mac", required=True)
    options.add_argument("--resume", type=float, required=True, help="seconds from the Magic Packet to the link")
    options.add_argument("--log", required=True)
    args = options.parse_args()

    enter(args.card)
    wire = PacketSocket("n1")
    enter(args.host)
    with open(args.log, "w", buffering=1) as log:

        def say(event, **more):
            log.write(json.dumps({"t": time.monotonic(), "event": event, **more}) + "\n")

        say("ready")
        resume_at = None
        usable = None  # while the host resumes: its addresses that are past duplicate address detection
        while True:
            timeout = None if resume_at is None else max(0.0, resume_at - time.monotonic())
            if usable is not None:
                timeout = 0.002
            if select.select([wire], [], [], timeout)[0]:
                while (frame := wire.receive()) is not None:
                    if frame.outgoing or interface_up("eth0"):
                        continue
                    form = magic_form(frame.raw, args.mac)
                    if form is None:
                        say("frame", src=frame.src, dst=frame.dst, ethertype=frame.ethertype)
                        continue
                    say("magic", form=form, src=frame.src, dst=frame.dst, raw=frame.raw.hex())
                    if resume_at is None:
                        resume_at = time.monotonic() + args.resume
            if resume_at is not None and time.monotonic() >= resume_at:
                resume_at = None
                set_interface_up("eth0")
                say("up")
                usable = set()
            if usable is not None:
                now = addresses()
                for address in now.keys() - usable:
                    if not now[address] & (IFA_F_TENTATIVE | IFA_F_DADFAILED):
                        usable.add(address)
                        say("usable", address=address)
                if not any(flags & IFA_F_TENTATIVE for flags in now.values()):
                    usable = None


if __name__ == "__main__":
    sys.exit(main())
