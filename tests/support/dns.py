# SPDX-License-Identifier: Apache-2.0
"""DNS messages as bytes, as far as tests of mDNS and LLMNR need them, and a socket for them."""

import contextlib
import socket
import struct
import time
from dataclasses import dataclass
from typing import NamedTuple

from frames import group_mac, ip_bytes, ip_text, packet, udp

A, PTR, TXT, AAAA, SRV, NSEC, ANY = 1, 12, 16, 28, 33, 47, 255
MDNS_PORT, MDNS4, MDNS6 = 5353, "224.0.0.251", "ff02::fb"
LLMNR_PORT, LLMNR4, LLMNR6 = 5355, "224.0.0.252", "ff02::1:3"
RESPONSE, AUTHORITATIVE, TRUNCATED, CONFLICT, TENTATIVE = 0x8000, 0x0400, 0x0200, 0x0400, 0x0100
CACHE_FLUSH = UNICAST_RESPONSE = 0x8000


class Record(NamedTuple):
    name: str
    type: int
    kind: int  # the class with its topmost bit
    ttl: int
    data: object  # an address, a name, (port, name), or bytes


@dataclass
class Message:
    id: int
    flags: int
    questions: list  # (name, type, class)
    answers: list
    authorities: list
    additionals: list

    @property
    def is_response(self):
        return bool(self.flags & RESPONSE)

    def data(self, name, kind):
        """What the answers say of a name."""
        return {r.data for r in self.answers if (r.name.lower(), r.type) == (name.lower(), kind)}


def encoded(name):
    """A name whose labels have no dots but those between them."""
    labels = [label.encode() for label in name.rstrip(".").split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def query(*questions, number=0, flags=0, known=()):
    """`questions`: (name, type) or (name, type, class).  `known`: (name, type, TTL, data as bytes)."""
    message = struct.pack("!6H", number, flags, len(questions), len(known), 0, 0)
    for name, kind, *more in questions:
        message += encoded(name) + struct.pack("!HH", kind, *(more or [1]))
    return message + b"".join(record(*k) for k in known)


def record(name, kind, ttl, data, flush=0):
    return encoded(name) + struct.pack("!HHIH", kind, 1 | flush, ttl, len(data)) + data


def response(*records, number=0, flags=RESPONSE | AUTHORITATIVE, question=b""):
    """`records`: bytes.  `question`: a whole one."""
    return struct.pack("!6H", number, flags, int(bool(question)), len(records), 0, 0) + question + b"".join(records)


def reverse(address):
    raw = ip_bytes(address)
    if len(raw) == 4:
        return ".".join(str(b) for b in reversed(raw)) + ".in-addr.arpa"
    return ".".join(reversed(raw.hex())) + ".ip6.arpa"


class Reader:
    def __init__(self, raw):
        self.raw, self.at = raw, 0

    def take(self, form):
        values = struct.unpack_from("!" + form, self.raw, self.at)
        self.at += struct.calcsize("!" + form)
        return values

    def name(self):
        labels, after = [], None
        while (length := self.raw[self.at]) != 0:
            if length >= 0xC0:
                target = self.take("H")[0] & 0x3FFF
                after = after or self.at
                assert target < self.at, "a name that points forward"
                self.at = target
            else:
                labels.append(self.raw[self.at + 1:self.at + 1 + length].decode())
                self.at += 1 + length
        self.at = after or self.at + 1
        return ".".join(labels)

    def record(self):
        name = self.name()
        kind, flags, ttl, length = self.take("HHIH")
        start, self.at = self.at, self.at + length
        data = self.raw[start:self.at]
        if kind in (A, AAAA):
            data = ip_text(data)
        elif kind in (PTR, SRV):
            inner = Reader(self.raw)
            inner.at = start + (6 if kind == SRV else 0)
            port = struct.unpack("!H", data[4:6])[0] if kind == SRV else None
            data = (port, inner.name()) if kind == SRV else inner.name()
        return Record(name, kind, flags, ttl, data)


def parse(raw):
    reader = Reader(raw)
    number, flags, *counts = reader.take("6H")
    questions = [(reader.name(), *reader.take("HH")) for _ in range(counts[0])]
    sections = [[reader.record() for _ in range(count)] for count in counts[1:]]
    assert reader.at == len(raw), f"{len(raw) - reader.at} bytes behind the message"
    return Message(number, flags, questions, *sections)


def message_of(frame, port):
    """The message in a captured frame from that UDP port, or None."""
    l4 = frame.l4
    return parse(l4.data[8:]) if l4 and l4.protocol == 17 and l4.sport == port else None


def multicast_frame(node, source, group, port, message, source_port=None):
    """A frame with a message to a group, from any source address."""
    raw = ip_bytes(group)
    mac = group_mac(group) if ":" in group else f"01:00:5e:{raw[1] & 127:02x}:{raw[2]:02x}:{raw[3]:02x}"
    return packet(mac, node.mac, source, group, 17, udp(source, group, source_port or port, port, message))


class Asker:
    """A UDP socket of a node.  `port`: its own; 0 for one that the kernel chooses."""

    def __init__(self, node, family=4, port=0, groups=()):
        with node.ns.entered():
            self.socket = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
            self.index = socket.if_nametoindex(node.interface)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == 4:
            one = struct.pack("=4s4si", b"\0" * 4, ip_bytes(node.ip4), self.index)
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, one)
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        else:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, self.index)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        self.socket.bind(("" if family == 4 else "::", port))
        for group in groups:
            if family == 4:
                join = struct.pack("=4s4si", ip_bytes(group), ip_bytes(node.ip4), self.index)
                self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, join)
            else:
                join = struct.pack("=16si", ip_bytes(group), self.index)
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, join)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, message, address, port):
        scope = (0, self.index) if address.startswith(("fe80:", "ff02:")) else ()
        self.socket.sendto(message, (address, port, *scope))

    def received(self, seconds):
        """(message, address) of what comes in that time."""
        deadline = time.monotonic() + seconds
        found = []
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                raw, sender = self.socket.recvfrom(65536)
                found.append((parse(raw), sender[0].partition("%")[0]))
        return found

    def ask(self, message, address, port, seconds=3.0):
        """The first response and from whom, or (None, None)."""
        self.send(message, address, port)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                raw, sender = self.socket.recvfrom(65536)
                if (found := parse(raw)).is_response:
                    return found, sender[0].partition("%")[0]
        return None, None
