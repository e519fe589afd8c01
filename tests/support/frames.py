# SPDX-License-Identifier: Apache-2.0
"""Ethernet frames as bytes: builders and readers for what the tests send and capture by AF_PACKET."""

import ctypes
import ipaddress
import re
import socket
import struct
import subprocess
import time
from dataclasses import dataclass, field

from netns import PATIENCE

ETH_ARP = 0x0806
ETH_IP4 = 0x0800
ETH_IP6 = 0x86DD
ETH_MAGIC = 0x0842
ETH_VLAN = 0x8100
ETH_QINQ = 0x88A8

BROADCAST = "ff:ff:ff:ff:ff:ff"
UNSPECIFIED4 = "0.0.0.0"
ALL_NODES = "ff02::1"

TCP_FIN, TCP_SYN, TCP_RST, TCP_PSH, TCP_ACK, TCP_ECE, TCP_CWR = 1, 2, 4, 8, 16, 64, 128


def mac_bytes(mac):
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(raw):
    return raw.hex(":")


def ip_bytes(address):
    return ipaddress.ip_address(address).packed


def ip_text(raw):
    return str(ipaddress.ip_address(raw))


def link_local(mac):
    """The EUI-64 link-local address of `mac` (RFC 4291 appendix A)."""
    m = bytearray(mac_bytes(mac))
    m[0] ^= 2
    return ip_text(bytes.fromhex("fe80000000000000") + bytes(m[:3]) + b"\xff\xfe" + bytes(m[3:]))


def solicited_node(address):
    """The solicited-node multicast address of `address` (RFC 4291 §2.7.1)."""
    return ip_text(bytes.fromhex("ff0200000000000000000001ff") + ip_bytes(address)[13:])


def group_mac(address):
    """The Ethernet address of an IPv6 multicast group (RFC 2464 §7)."""
    return "33:33:" + mac_text(ip_bytes(address)[12:])


def checksum(data):
    """The Internet checksum (RFC 1071), host order."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_checksum(src, dst, protocol, data):
    s, d = ip_bytes(src), ip_bytes(dst)
    if len(s) == 4:
        return checksum(s + d + struct.pack("!BBH", 0, protocol, len(data)) + data)
    return checksum(s + d + struct.pack("!I3xB", len(data), protocol) + data)


def ethernet(dst, src, ethertype, payload, vlan=(), pad=True):
    """`vlan`: TCIs from the outside in; the outer one of two is 802.1ad.  Padded to 60 bytes, as hardware does."""
    tags = b""
    for i, tci in enumerate(vlan):
        tags += struct.pack("!HH", ETH_QINQ if len(vlan) == 2 and i == 0 else ETH_VLAN, tci)
    frame = mac_bytes(dst) + mac_bytes(src) + tags + struct.pack("!H", ethertype) + payload
    return frame.ljust(60, b"\0") if pad else frame


def arp(op, sender_mac, sender_ip, target_mac, target_ip):
    return (struct.pack("!HHBBH", 1, ETH_IP4, 6, 4, op) + mac_bytes(sender_mac) + ip_bytes(sender_ip) +
            mac_bytes(target_mac) + ip_bytes(target_ip))


def arp_request(src_mac, src_ip, target_ip, dst=BROADCAST, vlan=()):
    return ethernet(dst, src_mac, ETH_ARP, arp(1, src_mac, src_ip, "00:00:00:00:00:00", target_ip), vlan)


def ipv4(src, dst, protocol, payload, ttl=64, options=b"", fragment=0):
    """`fragment`: flags and offset field."""
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | words, 0, words * 4 + len(payload), 1, fragment, ttl, protocol, 0,
                       ip_bytes(src), ip_bytes(dst)) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(src, dst, next_header, payload, hops=255):
    return struct.pack("!IHBB", 6 << 28, len(payload), next_header, hops) + ip_bytes(src) + ip_bytes(dst) + payload


def packet(dst_mac, src_mac, src, dst, protocol, payload):
    """A frame with an IPv4 or IPv6 packet, as the addresses are."""
    if ":" in dst:
        return ethernet(dst_mac, src_mac, ETH_IP6, ipv6(src, dst, protocol, payload, 64))
    return ethernet(dst_mac, src_mac, ETH_IP4, ipv4(src, dst, protocol, payload))


def tcp(src, dst, sport, dport, flags=TCP_SYN, seq=1000, ack=0):
    segment = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, 64240, 0, 0)
    return segment[:16] + struct.pack("!H", pseudo_checksum(src, dst, 6, segment)) + segment[18:]


def udp(src, dst, sport, dport, data):
    datagram = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
    return datagram[:6] + struct.pack("!H", pseudo_checksum(src, dst, 17, datagram) or 0xFFFF) + datagram[8:]


def icmpv6(src, dst, kind, body):
    message = struct.pack("!BBH", kind, 0, 0) + body
    return message[:2] + struct.pack("!H", pseudo_checksum(src, dst, 58, message)) + message[4:]


def neighbour_solicitation(src_mac, src_ip, target, dst=None, dst_mac=None, vlan=(), option=True, extension=b""):
    """`extension`: (already built) extension headers of which the last one's next header is ICMPv6; the first is a
    destination options header (60)."""
    dst = dst or solicited_node(target)
    body = b"\0" * 4 + ip_bytes(target) + (b"\1\1" + mac_bytes(src_mac) if option else b"")
    message = icmpv6(src_ip, dst, 135, body)
    packet = ipv6(src_ip, dst, 60 if extension else 58, extension + message)
    return ethernet(dst_mac or group_mac(dst), src_mac, ETH_IP6, packet, vlan)


def magic(mac, repeats=16):
    return b"\xff" * 6 + mac_bytes(mac) * repeats


def magic_form(frame, mac):
    """How `frame` carries a Magic Packet for `mac`: "ethertype", "udp", or None.  This is what a NIC's firmware asks:
    the synchronisation stream and sixteen repeats, in a frame that the NIC receives at all."""
    f = Frame(frame)
    if f.dst != mac and not f.multicast:
        return None
    if magic(mac) not in f.payload:
        return None
    if f.ethertype == ETH_MAGIC:
        return "ethertype"
    if f.l4 and f.l4.protocol == 17 and magic(mac) in f.l4.data[8:]:
        return "udp"
    return None


@dataclass
class L4:
    src: str
    dst: str
    protocol: int
    data: bytes
    hops: int

    @property
    def sport(self):
        return struct.unpack("!H", self.data[:2])[0]

    @property
    def dport(self):
        return struct.unpack("!H", self.data[2:4])[0]

    @property
    def tcp_flags(self):
        return self.data[13]


class Frame:
    """A captured frame, read as far as the tests need."""

    def __init__(self, raw, when=0.0, outgoing=False):
        self.raw, self.when, self.outgoing = raw, when, outgoing
        self.dst, self.src = mac_text(raw[:6]), mac_text(raw[6:12])
        self.vlan = []
        at = 12
        while raw[at:at + 2] in (b"\x81\x00", b"\x88\xa8"):
            self.vlan.append(struct.unpack("!H", raw[at + 2:at + 4])[0])
            at += 4
        self.ethertype = struct.unpack("!H", raw[at:at + 2].ljust(2, b"\0"))[0]
        self.payload = raw[at + 2:]

    @property
    def multicast(self):
        return bool(self.raw[0] & 1)

    @property
    def l4(self):
        """The innermost header of an IP packet; None for anything else."""
        p = self.payload
        if self.ethertype == ETH_IP4 and len(p) >= 20:
            segment = p[(p[0] & 15) * 4:struct.unpack("!H", p[2:4])[0]]
            return L4(ip_text(p[12:16]), ip_text(p[16:20]), p[9], segment, p[8])
        if self.ethertype == ETH_IP6 and len(p) >= 40:
            end = 40 + struct.unpack("!H", p[4:6])[0]
            kind, at = p[6], 40
            while kind in (0, 43, 60) and at + 8 <= end:
                kind, at = p[at], at + (p[at + 1] + 1) * 8
            return L4(ip_text(p[8:24]), ip_text(p[24:40]), kind, p[at:end], p[7])
        return None

    @property
    def arp(self):
        """(operation, sender MAC, sender address, target MAC, target address), or None."""
        p = self.payload
        if self.ethertype != ETH_ARP or len(p) < 28:
            return None
        operation = struct.unpack("!H", p[6:8])[0]
        return operation, mac_text(p[8:14]), ip_text(p[14:18]), mac_text(p[18:24]), ip_text(p[24:28])

    @property
    def icmp6(self):
        l4 = self.l4
        return l4.data if l4 and l4.protocol == 58 and ":" in l4.src else None

    @property
    def advertisement(self):
        """A Neighbour Advertisement as (flags octet, target, target link-layer address or None), or None."""
        m = self.icmp6
        if not m or m[0] != 136 or len(m) < 24:
            return None
        at = 24
        lladdr = None
        while at + 8 <= len(m) and m[at + 1]:
            if m[at] == 2:
                lladdr = mac_text(m[at + 2:at + 8])
            at += m[at + 1] * 8
        return m[4], ip_text(m[8:24]), lladdr

    def __str__(self):
        tags = "".join(f" vlan {t & 0xFFF}" for t in self.vlan)
        what = f"ethertype {self.ethertype:#06x}"
        if self.arp:
            op, smac, sip, _, tip = self.arp
            what = f"ARP op {op} {sip} ({smac}) -> {tip}"
        elif self.advertisement:
            flags, target, lladdr = self.advertisement
            what = f"NA {target} lladdr {lladdr} flags {flags:#x} to {self.l4.dst}"
        elif self.icmp6:
            what = f"ICMPv6 type {self.icmp6[0]} {self.l4.src} -> {self.l4.dst}"
        elif self.l4:
            what = f"IP protocol {self.l4.protocol} {self.l4.src} -> {self.l4.dst}"
        way = ">" if self.outgoing else "<"
        return f"{self.when:.6f} {way} {self.src} -> {self.dst}{tags} {what} ({len(self.raw)} bytes)"


class PacketSocket:
    """AF_PACKET on one interface of the namespace that is current at construction.  It captures from that moment on, so
    nothing has to be awaited; tags that the kernel took off the frame are put back."""

    SOL_PACKET, PACKET_AUXDATA, SO_ATTACH_FILTER, SO_RCVBUFFORCE, SO_TIMESTAMPNS = 263, 8, 26, 33, 35
    PACKET_OUTGOING = 4
    VLAN_VALID, VLAN_TPID_VALID = 0x10, 0x40

    def __init__(self, interface):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, self.SO_RCVBUFFORCE, 256 << 20)
        self.socket.setsockopt(self.SOL_PACKET, self.PACKET_AUXDATA, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, self.SO_TIMESTAMPNS, 1)
        self.socket.bind((interface, 3))  # ETH_P_ALL
        self.socket.setblocking(False)

    def fileno(self):
        return self.socket.fileno()

    def close(self):
        self.socket.close()

    def keep_only(self, program):
        """From now on it gets what a classic BPF filter, lines of (code, jt, jf, k), lets through."""
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
        self.socket.setsockopt(socket.SOL_SOCKET, self.SO_ATTACH_FILTER,
                               struct.pack("@HP", len(program), ctypes.addressof(code)))

    def send(self, frame):
        self.socket.send(frame)

    def receive(self):
        """The next frame, or None."""
        try:
            raw, control, _, address = self.socket.recvmsg(65536, 256)
        except BlockingIOError:
            return None
        when = 0.0
        for level, kind, data in control:
            if (level, kind) == (self.SOL_PACKET, self.PACKET_AUXDATA):
                status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", data[:20])
                if status & self.VLAN_VALID:
                    tpid = tpid if status & self.VLAN_TPID_VALID else ETH_VLAN
                    raw = raw[:12] + struct.pack("!HH", tpid, tci) + raw[12:]
            elif (level, kind) == (socket.SOL_SOCKET, self.SO_TIMESTAMPNS):
                seconds, nanoseconds = struct.unpack("=qq", data[:16])
                when = seconds + nanoseconds / 1e9
        return Frame(raw, when, address[2] == self.PACKET_OUTGOING)


@dataclass
class Capture:
    """What passes an interface, from construction on.  `direction`: "in" (received by the interface), "out", "both"."""

    socket: PacketSocket | None  # None: nothing but what is given as `seen`
    direction: str = "both"
    seen: list = field(default_factory=list)

    def frames(self, match=lambda frame: True):
        """Every frame so far for which `match` is true."""
        while self.socket and (frame := self.socket.receive()) is not None:
            if self.direction == "both" or frame.outgoing == (self.direction == "out"):
                self.seen.append(frame)
        return [frame for frame in self.seen if match(frame)]

    def wait(self, what, match, timeout=15.0, count=1):
        """The frames for which `match` is true, as soon as there are `count`."""
        deadline = time.monotonic() + timeout * PATIENCE
        while len(found := self.frames(match)) < count:
            if time.monotonic() > deadline:
                listing = "\n  ".join(str(frame) for frame in self.seen[-40:])
                raise AssertionError(f"not seen within {timeout} s: {what}; seen:\n  {listing}")
            time.sleep(0.005)
        return found

    def write(self, path):
        """A pcap file (nanoseconds) of everything so far."""
        self.frames()
        with open(path, "wb") as file:
            file.write(struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1))
            for frame in self.seen:
                seconds, size = int(frame.when), len(frame.raw)
                file.write(struct.pack("=IIII", seconds, int((frame.when - seconds) * 1e9), size, size) + frame.raw)

    def malformed(self, path):
        """What tshark objects to, one line per frame: malformed, an expert error, or any wrong checksum."""
        self.write(path)
        return tshark_objections(path)


def tshark_objections(path):
    checked = ["ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"]
    bad = " || ".join(f"{p}.checksum.status == 0" for p in ("ip", "tcp", "udp", "icmp", "icmpv6", "igmp"))
    command = ["tshark", "-n", "-r", path]
    for option in checked:
        command += ["-o", option + ":TRUE"]
    command += ["-Y", f"_ws.malformed || _ws.short || _ws.expert.severity >= 8388608 || {bad}", "-T", "fields"]
    for column in ("frame.number", "_ws.col.Protocol", "_ws.col.Info", "_ws.expert.message"):
        command += ["-e", column]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(f"tshark: {re.sub(r'(?m)^Running as user.*$', '', done.stderr).strip()}")
    return done.stdout.splitlines()
