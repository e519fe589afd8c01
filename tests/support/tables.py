# SPDX-License-Identifier: Apache-2.0
"""The kernel's tables of addresses and MACs, read as memory: a dump by bpftool has every free slot too."""

import ctypes
import json
import mmap
import os
import struct
from pathlib import Path

from netns import run

_libc = ctypes.CDLL(None, use_errno=True)
_SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
_BPF_OBJ_GET, _BPF_OBJ_GET_INFO_BY_FD, _BPF_MAP_LOOKUP_BATCH = 7, 15, 24
# pz_slot4, pz_slot6 and pz_slot_mac of include/proxzzy/abi/maps.h, and where in them is what is 0 in a free slot
_SLOTS = {"pz_index4_v2": ("=4sI6sH", 3), "pz_index6_v2": ("=16sIHH6sH", 5), "pz_by_mac_v2": ("=6sHII", 3)}


def _bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = _libc.syscall(_SYS_BPF, command, buffer, len(attributes))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _open(path):
    name = ctypes.create_string_buffer(str(path).encode())
    return _bpf(_BPF_OBJ_GET, struct.pack("=QII", ctypes.addressof(name), 0, 0))


def _more(path):
    """What found no slot."""
    entry = json.loads(run(["bpftool", "-j", "map", "dump", "pinned", path]).stdout)[0]
    inner = int.from_bytes(bytes(int(byte, 16) for byte in entry["value"]), "little")
    return json.loads(run(["bpftool", "-j", "map", "dump", "id", inner]).stdout)


_BPF_MAP_TYPE_ARRAY = 2


def _info(fd):
    """The type of map, bytes of a key, bytes of a value, and the number of entries."""
    info = ctypes.create_string_buffer(64)  # the beginning of struct bpf_map_info
    _bpf(_BPF_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, len(info), ctypes.addressof(info)))
    kind, _, *sizes = struct.unpack_from("=5I", info)
    return kind, *sizes


def array(path):
    """All values of a pinned array as bytes, at once: bpftool takes a second for some ten thousand.  None: it is no array."""
    fd = _open(path)
    try:
        kind, key_size, value_size, max_entries = _info(fd)
        if kind != _BPF_MAP_TYPE_ARRAY:
            return None
        batch, keys = ctypes.create_string_buffer(8), ctypes.create_string_buffer(key_size * max_entries)
        values = ctypes.create_string_buffer(value_size * max_entries)
        attributes = struct.pack("=QQQQIIQQ", 0, *map(ctypes.addressof, (batch, keys, values)), max_entries, fd, 0, 0)
        try:
            _bpf(_BPF_MAP_LOOKUP_BATCH, attributes)
        except FileNotFoundError:
            pass  # that was the last one
        return values.raw
    finally:
        os.close(fd)


def entries(pins, table):
    """How many keys there are in a pinned table."""
    slot, head = _SLOTS[table]
    fd = _open(Path(pins) / "maps" / table)
    try:
        _, _, value_size, max_entries = _info(fd)
        with mmap.mmap(fd, value_size * max_entries, mmap.MAP_SHARED, mmap.PROT_READ) as memory:
            used = sum(1 for fields in struct.iter_unpack(slot, memory) if fields[head])
    finally:
        os.close(fd)
    more = {"pz_index4_v2": "pz_more4_v1", "pz_index6_v2": "pz_more6_v1", "pz_by_mac_v2": "pz_more_mac_v1"}[table]
    return used + len(_more(Path(pins) / "maps" / more))
