# SPDX-License-Identifier: Apache-2.0
"""Clients of the control socket in great number, in a process of their own.

control_load.py readers SOCKET COUNT     COUNT connections follow events and read them, until each has come to the
                                         sequence number that standard input says;
                                         prints {"connections": [{"events": N, "missed": N, "last": SEQUENCE}]}
control_load.py requests SOCKET COUNT    COUNT requests that are refused, a few connections at a time; prints "begun"
                                         after the first, and ends after the last
control_load.py add SOCKET COUNT [IPV6]  COUNT hosts, many connections at a time: "h0", "h1", ..., each with a MAC, an IPv4
                                         and an IPv6 address, or IPV6 of them (host_numbered())
control_load.py sleep SOCKET COUNT       they are put to sleep
control_load.py remove SOCKET COUNT      they are removed.  All three print the seconds that it took; what is refused is
                                         an error"""

import ipaddress
import json
import select
import socket
import struct
import sys
import time

EVENTS_GET, EVENT, HOST_WAKE = 0x21, 0x22, 0x1E
HOST_SET, HOST_DELETE, HOST_SLEEP = 0x18, 0x1C, 0x1D
REQUEST, ACK, DUMP, EXCL, CREATE = 0x001, 0x004, 0x300, 0x200, 0x400
NESTED = 0x8000
SEQUENCE, MISSED = 1, 19  # attributes of an event


def attribute(kind, payload):
    whole = struct.pack("<HH", 4 + len(payload), kind) + payload
    return whole + b"\0" * (-len(whole) % 4)


def message(kind, flags, attributes):
    body = bytes([1, 0, 0, 0]) + attributes
    return struct.pack("<IHHII", 16 + len(body), kind, flags, 1, 0) + body


def connect(path):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(path))
    return connection


def follow(path):
    """A connection that is sent every new event from now on."""
    connection = connect(path)
    connection.send(message(EVENTS_GET, REQUEST | DUMP, attribute(2, b"\1") + attribute(3, b"\1")))
    return connection


class Tally:
    """What one connection was sent.  Every number from the first to the last is an event or a missed one."""

    def __init__(self):
        self.first = None
        self.last = 0
        self.events = self.missed = 0

    def add(self, packet):
        kind, = struct.unpack_from("<H", packet, 4)
        if kind != EVENT:
            return
        sequence, = struct.unpack_from("<Q", packet, 24)  # the first attribute
        missed = struct.unpack("<Q", packet[-8:])[0] if packet[-12:-8] == struct.pack("<HH", 12, MISSED) else 0
        if self.first is None:
            self.first = sequence - max(missed - 1, 0)
        self.last = sequence
        self.missed += missed
        self.events += not missed

    def complete(self):
        return self.events + self.missed == self.last - self.first + 1


def read_all(connection, tally, limit=1000):
    """What waits, or so many; False at the end of the connection."""
    for _ in range(limit):
        try:
            packet = connection.recv(4096)
        except BlockingIOError:
            return True
        if not packet:
            return False
        tally.add(packet)
    return True


def readers(path, count):
    tallies = {}
    poll = select.epoll()
    for _ in range(count):
        connection = follow(path)
        connection.setblocking(False)
        tallies[connection.fileno()] = (connection, Tally())
        poll.register(connection, select.EPOLLIN)
    poll.register(sys.stdin, select.EPOLLIN)
    print("reading", flush=True)
    end = None
    while end is None or any(t.last < end for _, t in tallies.values()):
        for fd, _ in poll.poll():
            if fd == sys.stdin.fileno():
                end = int(sys.stdin.readline())
                poll.unregister(sys.stdin)
            else:
                assert read_all(*tallies[fd]), "a reader was dropped"
    for _, tally in tallies.values():
        assert tally.complete(), f"{tally.events} and {tally.missed} are not {tally.first} to {tally.last}"
    print(json.dumps({"connections": [{"events": t.events, "missed": t.missed, "last": t.last}
                                      for _, t in tallies.values()]}), flush=True)


def requests(path, count, at_a_time=4, window=32):
    """Each connection has so many requests under way."""
    request = message(HOST_WAKE, REQUEST, attribute(1, b"nobody\0"))
    connections = [connect(path) for _ in range(at_a_time)]
    sent = 0
    for done in range(0, count, at_a_time * window):
        for connection in connections:
            for _ in range(window):
                connection.send(request)
        for connection in connections:
            for _ in range(window):
                assert connection.recv(4096)
        if not done:
            print("begun", flush=True)
        sent += at_a_time * window
    print(sent, flush=True)


def host_numbered(number, ipv6=1):
    """Name, MAC, IPv4 address and so many IPv6 addresses, each in a network of its own."""
    first = int(ipaddress.ip_address("2001:db8:aaaa::")) + number
    return (f"h{number}", bytes([6, 0]) + number.to_bytes(4, "big"), ipaddress.IPv4Address(0x0A000000 + number),
            *(ipaddress.IPv6Address(first + (network << 64)) for network in range(ipv6)))


def add_request(ipv6=1):
    def request(number):
        name, mac, *addresses = host_numbered(number, ipv6)
        ips = (attribute(NESTED | 3, attribute(1, address.packed)) for address in addresses)
        return message(HOST_SET, REQUEST | ACK | CREATE | EXCL,
                       attribute(1, name.encode() + b"\0") + attribute(2, mac) + b"".join(ips))

    return request


def named_request(kind):
    return lambda number: message(kind, REQUEST | ACK, attribute(1, host_numbered(number)[0].encode() + b"\0"))


def each_host(path, request, count, at_a_time=64, window=8):
    """A request for each host; the connections take turns."""
    connections = [connect(path) for _ in range(at_a_time)]
    started = time.monotonic()
    numbers = iter(range(count))
    while asked := [(c, n) for c in connections for _ in range(window) if (n := next(numbers, None)) is not None]:
        for connection, number in asked:
            connection.send(request(number))
        for connection, number in asked:
            answer = connection.recv(4096)
            error, = struct.unpack_from("<i", answer, 16)
            assert error == 0, f"host {number}: {answer}"
    print(f"{time.monotonic() - started:.2f}")


if __name__ == "__main__":
    {"readers": readers, "requests": requests,
     "add": lambda path, count, ipv6=1: each_host(path, add_request(int(ipv6)), count),
     "sleep": lambda path, count: each_host(path, named_request(HOST_SLEEP), count),
     "remove": lambda path, count: each_host(path, named_request(HOST_DELETE), count)}[sys.argv[1]](
         sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
