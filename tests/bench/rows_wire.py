# SPDX-License-Identifier: Apache-2.0
"""The rows of the group "wire": answers a second, unless the text says something else."""

from row import Row

RATE = "items_per_second"
QUESTIONS = {"arp": "ARP", "ns": "NS"}
SIZES = {"hot": "one host", "10k": "10 thousand at random", "1M": "1 million at random"}
# of the reflector's answers
OF_REFLECTOR = {("arp", "hot"): 0.88, ("arp", "10k"): 0.8, ("arp", "1M"): 0.5, ("ns", "hot"): 0.74, ("ns", "1M"): 0.33}


def at_least(target):
    return {"comparison": ">=", "target": target} if target else {}


def rate(name, text, baseline=None, target=None):
    return Row(f"wire/{name}", baseline and f"wire/{baseline}", text=text, field=RATE, **at_least(target))


def peer(name, text):
    """What another proxy answers by itself; what ours is next to it has rows of its own."""
    return rate(name, text, f"{name.partition('/')[0]}/any/reflector")


def answers(what):
    """One core asks, answers and counts."""
    word = QUESTIONS[what]
    yield rate(f"{what}/any/reflector", f"{word}, sent back as it is")
    for size, hosts in SIZES.items():
        target = OF_REFLECTOR.get((what, size))
        yield rate(f"{what}/{size}/proxzzy", f"{word}, {hosts}", f"{what}/any/reflector", target)


def two_cores(what):
    word = QUESTIONS[what]
    yield rate(f"{what}-2cpu/any/reflector", f"{word} on two cores, sent back as it is", f"{what}/any/reflector")
    for size, hosts in SIZES.items():
        yield rate(f"{what}-2cpu/{size}/proxzzy", f"{word} on two cores, {hosts}", f"{what}/{size}/proxzzy", 1.5)
    yield rate(f"{what}-2cpu/hot/kernel", f"{word} on two cores, the kernel's own", f"{what}/hot/kernel")


def cpu_time(what):
    """In ns for each answer, without what asks."""
    word = QUESTIONS[what]
    for size, hosts in SIZES.items():
        yield Row(f"wire/{what}-cpu/{size}/proxzzy", f"wire/{what}-cpu/any/reflector",
                  text=f"CPU time of an answer, {word}, {hosts}")
    yield Row(f"wire/{what}-cpu/hot/kernel", f"wire/{what}-cpu/any/reflector",
              text=f"CPU time of an answer, {word}, the kernel's own")


def passed_on(what, destinations):
    """1514 bytes of TCP that are nobody's, to the stack, which drops them because of their MAC."""
    yield rate(f"{what}/any/pass", f"TCP data passes a bare program, {destinations}")
    yield rate(f"{what}/1M/proxzzy", f"TCP data passes 1 million hosts, {destinations}", f"{what}/any/pass", 0.95)
    yield rate(f"{what}/any/none", f"TCP data without a program, {destinations}", f"{what}/any/pass")


ROWS = [
    rate("arp/any/drop", "what one core can send and drop"),
    *answers("arp"),
    *(rate(f"arp/{size}/proxzzy", f"ARP, {hosts}, next to the kernel's own ARP", f"arp/{size}/kernel", 4)
      for size, hosts in SIZES.items()),
    *(rate(f"arp/{size}/proxzzy", f"ARP, next to ip neigh add proxy, {entries}", f"arp/{size}/neigh-proxy")
      for size, entries in (("hot", "1 entry"), ("10k", "10 thousand"))),
    rate("arp/hot/proxzzy", "ARP, next to farpd", "arp/hot/farpd"),
    peer("arp/hot/kernel", "ARP, the kernel's own, one address"),
    *(peer(f"arp/{size}/kernel", f"ARP, the kernel's own, {hosts} of one route")
      for size, hosts in SIZES.items() if size != "hot"),
    *(peer(f"arp/{size}/neigh-proxy", f"ARP, ip neigh add proxy, {entries}")
      for size, entries in (("hot", "1 entry"), ("1k", "a thousand"), ("10k", "10 thousand"))),
    peer("arp/hot/farpd", "ARP, farpd"),
    *answers("ns"),
    rate("ns/hot/proxzzy", "NS, next to the kernel's own NA", "ns/hot/kernel"),
    *(rate(f"ns/{size}/proxzzy", f"NS, next to proxy_ndp, {entries}", f"ns/{size}/neigh-proxy", target)
      for size, entries, target in (("hot", "1 entry", None), ("10k", "10 thousand", 400))),
    *(rate(f"ns/{size}/proxzzy", f"NS, {hosts}, next to ndppd", f"ns/{size}/ndppd", 30)
      for size, hosts in SIZES.items() if size != "10k"),
    rate("ns/1M/proxzzy", "NS, 1 million at random, next to npd6", "ns/1M/npd6"),
    peer("ns/hot/kernel", "NS, the kernel's own"),
    *(peer(f"ns/{size}/neigh-proxy", f"NS, proxy_ndp, {entries}")
      for size, entries in (("hot", "1 entry"), ("1k", "a thousand"), ("10k", "10 thousand"))),
    *(peer(f"ns/{size}/ndppd", f"NS, ndppd, {hosts}") for size, hosts in SIZES.items() if size != "10k"),
    peer("ns/1M/npd6", "NS, npd6, 1 million at random"),
    *two_cores("arp"),
    *two_cores("ns"),
    Row("wire/arp-cpu/any/drop", text="CPU time of a frame that is dropped"),
    Row("wire/arp-cpu/any/reflector", text="CPU time of an ARP request that is sent back"),
    *cpu_time("arp"),
    Row("wire/arp-cpu/1M/kernel", "wire/arp-cpu/any/reflector",
        text="CPU time of an answer, ARP, the kernel's own, 1 million at random of one route"),
    Row("wire/ns-cpu/any/reflector", text="CPU time of an NS that is sent back"),
    *cpu_time("ns"),
    *(Row(f"wire/ns-cpu/1M/{name}", "wire/ns-cpu/1M/proxzzy", text=f"CPU time of an answer, NS, {name}")
      for name in ("ndppd", "npd6")),
    *passed_on("pass-hot", "always the same"),
    *passed_on("pass-rotating", "4,096 destinations"),
]
