# SPDX-License-Identifier: Apache-2.0
"""The control socket and those who mean no good: refused by name or dropped, and nobody else notices."""

import errno
import os
import random
import select
import struct
import time

import control
from case import assert_slept, connect_and_check, sleeper, test
from lan import wait_until

NOBODY = 65534
NEW = control.REQUEST | control.CREATE_NEW


def descriptors(proxy):
    return len(os.listdir(f"/proc/{proxy.process.pid}/fd"))


def assert_unharmed(lan, proxy):
    """The table is as it was, the sleeper is answered for, and a connection still wakes it."""
    assert proxy.process.poll() is None, f"the daemon ended: {proxy.text()[-2000:]}"
    assert [h["config"]["name"] for h in proxy.ctl("hosts")] == ["sleeper"]
    assert_slept(lan, proxy)
    done = lan.client.run("arping", "-f", "-c", "5", "-w", "6", "-I", "eth0", lan.host.ip4)
    assert lan.host.mac.upper() in done.stdout, done.stdout
    connect_and_check(lan, proxy, lan.host.ip4)


def refused(connection, packet, code, *words):
    """The daemon refuses the packet with `code`, and its text has the words."""
    answer = connection.ask(packet)
    found = control.error_of(answer)
    assert found is not None, f"not refused: {answer.hex()}"
    assert found[0] == code and found[1], f"{found}, not {errno.errorcode[code]}"
    for word in words:
        assert word in found[1], f"'{word}' is not named in: {found[1]}"


def deeply_nested(depth):
    inside = b""
    for _ in range(depth):
        inside = control.attribute(3, inside, nested=True)
    return inside


@test("arping")
def garbage_and_half_messages_are_refused(lan):
    proxy = sleeper(lan)
    whole = control.message(control.STATUS_GET)
    name = control.text(1, "sleeper")
    with control.Raw(proxy.control) as connection:
        refused(connection, b"\0", errno.EINVAL)
        refused(connection, os.urandom(7), errno.EINVAL)
        refused(connection, whole[:17], errno.EINVAL)  # half a header of ours
        refused(connection, whole + b"\0\0\0\0", errno.EINVAL)  # longer than it says
        refused(connection, struct.pack("<I", 4) + whole[4:], errno.EINVAL)  # shorter than a header
        refused(connection, control.message(control.HOST_GET, name[:-3]), errno.EINVAL)
        refused(connection, control.message(control.HOST_GET, name + b"\1"), errno.EINVAL)
        refused(connection, control.message(control.HOST_GET, name + name), errno.EINVAL, "name")
        refused(connection, control.message(control.HOST_GET, control.attribute(77, b"1234")), errno.EINVAL, "77")
        refused(connection, control.message(control.HOST_SET, deeply_nested(4000), NEW), errno.EINVAL)
        refused(connection, control.message(control.STATUS_GET, version=9), errno.EOPNOTSUPP, "9")
        refused(connection, control.message(0x7F), errno.EOPNOTSUPP, "127")
        chance = random.Random(393)
        for _ in range(2000):
            packet = bytearray(control.message(control.HOST_SET, name + control.attribute(2, bytes(6)), NEW))
            for _ in range(chance.randint(1, 6)):
                packet[chance.randrange(len(packet))] = chance.randrange(256)
            connection.send(bytes(packet[:chance.randint(1, len(packet))]))
            answer = connection.receive()
            assert answer, "dropped, not refused"
        assert connection.ask(whole)[4] == control.STATUS, "after all that an honest question is not answered"
    assert_unharmed(lan, proxy)


@test("arping")
def messages_of_64_KiB_and_more_are_bounded(lan):
    proxy = sleeper(lan)
    before = proxy.memory_kib()
    room = control.MAX_MESSAGE - 20
    fill = control.attribute(2, bytes(6)) * (room // 12)
    with control.Raw(proxy.control) as connection:
        for _ in range(200):
            refused(connection, control.message(control.HOST_SET, fill, NEW), errno.EINVAL)
        refused(connection, control.message(control.HOST_SET, fill + bytes(64), NEW), errno.ENOSPC, "65536")
    proxy.assert_memory(before, 8 * 1024)
    assert_unharmed(lan, proxy)


@test("arping")
def a_commit_that_never_comes_leaves_nothing(lan):
    """Many connections that each begin a record and fill it as far as it goes."""
    proxy = sleeper(lan)
    before = proxy.memory_kib()
    part = b"".join(control.attribute(3, control.attribute(1, bytes([192, 0, 2, 1 + n % 200])), nested=True)
                    for n in range(4000))
    connections = []
    for i in range(16):
        connection = control.Raw(proxy.control)
        connections.append(connection)
        begin = control.message(control.HOST_BEGIN, control.text(1, f"half{i}"), flags=control.REQUEST | control.ACK | control.CREATE_NEW)
        assert control.error_of(connection.ask(begin))[0] == 0
        for _ in range(30):
            code, _ = control.error_of(connection.ask(control.message(control.HOST_PUT, part, control.REQUEST | control.ACK)))
            if code:
                break
        assert code, "a record grows without bound"
    proxy.assert_memory(before, 64 * 1024)
    for connection in connections:
        connection.socket.close()
    assert_unharmed(lan, proxy)


@test("arping")
def who_does_not_read_holds_nobody_up(lan):
    proxy = sleeper(lan)
    before = proxy.memory_kib()
    deaf = [control.Raw(proxy.control) for _ in range(20)]
    for connection in deaf:
        connection.socket.setblocking(False)
        for _ in range(500):
            try:
                connection.send(control.message(control.STATS_GET, flags=control.REQUEST | control.DUMP))
            except BlockingIOError:
                break  # the daemon has stopped taking questions from a peer that takes no answers
        else:
            raise AssertionError("500 dumps were taken from a peer that reads none")
    proxy.assert_memory(before, 8 * 1024)
    assert_unharmed(lan, proxy)
    for connection in deaf:
        connection.socket.close()


@test("arping")
def a_thousand_connections_are_bounded(lan):
    """Of somebody without rights: he is told, and neither root nor another user is kept out."""
    proxy = sleeper(lan)
    before = descriptors(proxy)
    crowd_in, go = os.pipe()
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:  # holds its connections until the parent has looked
        status = 125
        try:
            os.close(go)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            waiting = [control.Raw(proxy.control) for _ in range(1000)]
            give_up = time.monotonic() + 10
            while len(waiting) > 100 and time.monotonic() < give_up:
                for connection in select.select(waiting, [], [], 1)[0]:
                    answer = connection.receive()
                    assert answer == b"" or control.error_of(answer)[0] == errno.EBUSY, answer
                    waiting.remove(connection)
            os.write(told, struct.pack("<I", 1000 - len(waiting)))
            os.read(crowd_in, 1)
            status = 0
        except Exception as problem:
            print(f"the crowd: {problem!r}", flush=True)
        finally:
            os._exit(status)
    os.close(told)
    try:
        answer = os.read(ready, 4)
        assert answer, "the crowd failed"
        turned_away, = struct.unpack("<I", answer)
        assert turned_away >= 900, f"only {turned_away} of 1000 were turned away"
        assert descriptors(proxy) < before + 150, f"{before} descriptors before, {descriptors(proxy)} during"

        def another_user():
            with control.Raw(proxy.control) as connection:
                return 0 if connection.ask(control.message(control.STATUS_GET))[4] == control.STATUS else 1

        assert control.as_user(12345, 12345, [], another_user) == 0, "another user is kept out"
        assert_unharmed(lan, proxy)
    finally:
        os.write(go, b"x")
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for fd in (crowd_in, go, ready):
            os.close(fd)
    assert status == 0, f"the crowd ended with {status}"
    wait_until("the connections are gone", lambda: descriptors(proxy) <= before + 2)


@test("arping")
def only_root_and_the_group_may_see_hosts_and_change_them(lan):
    proxy = sleeper(lan)
    name = control.text(1, "sleeper")

    def a_stranger():
        with control.Raw(proxy.control) as connection:
            assert connection.ask(control.message(control.STATUS_GET))[4] == control.STATUS
            for kind in (control.HOST_GET, control.HOST_SLEEP, 0x1C, 0x1E, 0x1F):
                refused(connection, control.message(kind, name), errno.EPERM, "proxzzy")
            refused(connection, control.message(0x20), errno.EPERM, "proxzzy")
        return 0

    assert control.as_user(NOBODY, NOBODY, [], a_stranger) == 0
    assert_unharmed(lan, proxy)
