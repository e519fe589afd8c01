# SPDX-License-Identifier: Apache-2.0
"""The pinned maps as an operator reads them: docs/maps.md against bpftool."""

import json
import re
from pathlib import Path

from case import sleeper, test
from netns import run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "maps.md"
DOCUMENTED = re.compile(r"```\n(bpftool map [^\n]*)\n([\[{][^\n]*)\n```")


def shape(value):
    """Names and nesting, without the numbers; a list is as its first entry."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


@test("bpftool")
def every_pinned_map_dumps_as_documented(lan):
    proxy = sleeper(lan, "--wake", "tcp/22", daemon=("--max-hosts", "64"))  # small tables are dumped quickly
    shown = set()
    for command, sample in DOCUMENTED.findall(PAGE.read_text()):
        name = re.search(r"/maps/(\w+)", command).group(1)
        arguments = command.replace("/sys/fs/bpf/proxzzy/default", str(proxy.pins)).split()
        printed = json.loads(run([arguments[0], "-j", *arguments[1:]]).stdout)
        entries = printed if isinstance(printed, list) else [printed]
        readable = [entry["formatted"] for entry in entries]
        got = readable if isinstance(printed, list) else readable[0]
        assert shape(got) == shape(json.loads(sample)), f"{command} prints {got}, documented is {sample}"
        shown.add(name)
    index = json.loads(run(["bpftool", "-j", "map", "dump", "pinned", f"{proxy.pins}/maps/pz_index4_v2"]).stdout)
    slots = [slot for entry in index for slot in entry["formatted"]["value"]["slots"]]
    keys = [slot["address"] for slot in slots if slot["segment"] != "0x0"]
    assert keys == [[int(octet) for octet in lan.host.ip4.split(".")]], f"the table of IPv4 addresses has {keys}"
    pinned = {path.name for path in (proxy.pins / "maps").iterdir()}
    rings = {"pz_triggers_v1", "pz_overheard_v1", "pz_xsks_v1"}  # and sockets have no dump
    more = {"pz_more4_v1", "pz_more6_v1", "pz_more_mac_v1"}  # have the number of another map
    assert pinned == shown | rings | more, f"pinned and not documented, or the reverse: {pinned ^ (shown | rings | more)}"
