# SPDX-License-Identifier: Apache-2.0
"""Raw messages of the control protocol (docs/control-protocol.md), right and wrong ones."""

import os
import socket
import struct

CAPABILITIES_GET, STATUS_GET, STATUS, STATS_GET, HOST_GET, HOST = 0x10, 0x12, 0x13, 0x14, 0x16, 0x17
HOST_SET, HOST_BEGIN, HOST_PUT, HOST_COMMIT, HOST_SLEEP = 0x18, 0x19, 0x1A, 0x1B, 0x1D
NLMSG_ERROR, NLMSG_DONE = 2, 3
REQUEST, ACK, DUMP, CREATE_NEW = 0x001, 0x004, 0x300, 0x600
NESTED = 0x8000
MAX_MESSAGE = 65536


def attribute(number, payload=b"", nested=False):
    length = 4 + len(payload)
    return struct.pack("<HH", length, number | (NESTED if nested else 0)) + payload + bytes(-length % 4)


def text(number, value):
    return attribute(number, value.encode() + b"\0")


def message(kind, attributes=b"", flags=REQUEST, version=1, sequence=1):
    body = bytes([version, 0, 0, 0]) + attributes
    return struct.pack("<IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def error_of(packet):
    """(errno, text) of an NLMSG_ERROR; errno 0 is an acknowledgement.  None: another message."""
    length, kind = struct.unpack_from("<IH", packet)
    if kind != NLMSG_ERROR:
        return None
    code = -struct.unpack_from("<i", packet, 16)[0]
    offset, said = 16 + 4 + 16, ""
    while offset + 4 <= length:
        size, number = struct.unpack_from("<HH", packet, offset)
        if number & 0x3FFF == 1:  # NLMSGERR_ATTR_MSG
            said = packet[offset + 4:offset + size].rstrip(b"\0").decode()
        offset += size + -size % 4
    return code, said


class Raw:
    """A connection that says what it is told."""

    def __init__(self, path, timeout=10.0):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def fileno(self):
        return self.socket.fileno()

    def send(self, packet):
        self.socket.send(packet)

    def receive(self):
        """A packet; b"" when the daemon has closed."""
        try:
            return self.socket.recv(2 * MAX_MESSAGE)
        except ConnectionResetError:
            return b""

    def ask(self, packet):
        self.send(packet)
        return self.receive()


def as_user(uid, gid, groups, body):
    """Runs `body` in a child with these credentials; its exit status is the result of `body`, an int."""
    child = os.fork()
    if child == 0:
        status = 125
        try:
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
            status = body()
        except BaseException as problem:  # the child must never return into the caller
            print(f"as user {uid}: {problem!r}", flush=True)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
