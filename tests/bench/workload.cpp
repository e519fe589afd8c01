// SPDX-License-Identifier: Apache-2.0
#include "workload.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "net/address.h"
#include "sleepers.h"

namespace pz::bench {

using namespace pz::test;

namespace {

constexpr std::uint32_t first_ip4 = 0x0a000000; // of sleeper 0, as a key
constexpr std::size_t scanned = 1472;           // UDP payload of a frame of 1,514 bytes
constexpr std::size_t nd_checksum = 56;
constexpr std::size_t tagged_checksum = 28;

const Ip4Address any{};
const Ether to_gateway{.destination = gateway_mac};
const Udp magic_udp{.destination_port = magic_port};

/// 2001:db8::, of sleeper 0.
Ip6Address first_ip6() {
    return "2001:db8::"_ip6;
}

Bytes tiled(const Bytes& tile, std::size_t size) {
    Bytes bytes;
    while (bytes.size() < size)
        bytes.insert(bytes.end(), tile.begin(), tile.end());
    bytes.resize(size);
    return bytes;
}

Bytes random_bytes(std::size_t size) {
    Bytes bytes;
    std::uint64_t state = 1;
    while (bytes.size() < size) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        bytes.push_back(static_cast<std::uint8_t>(state >> 56));
    }
    return bytes;
}

/// A Magic Packet's payload, whole with 16 repeats.
Bytes magic(const MacAddress& mac, int repeats = 16) {
    Bytes bytes(6, 0xff);
    for (int i = 0; i < repeats; i++)
        bytes.insert(bytes.end(), mac.bytes.begin(), mac.bytes.end());
    return bytes;
}

/// Random bytes, with `length` bytes of period six before the end of each place where the search looks for a period.
Bytes stretches(std::size_t length) {
    constexpr std::size_t first_end = 88 + 14, stride = 83;
    Bytes bytes = random_bytes(scanned);
    std::uint8_t other = 0;
    for (auto end = first_end; end <= scanned; end += stride)
        std::ranges::copy(tiled({0x02, 0, 0, 1, 2, other += 2}, length),
                          bytes.begin() + static_cast<std::ptrdiff_t>(end - length));
    return bytes;
}

/// Magic Packets or the like, each for another stranger, with `gap` bytes behind each.
Bytes strangers_one_by_one(int repeats, std::size_t gap) {
    Bytes bytes;
    for (std::uint32_t i = 0; bytes.size() < scanned; i++) {
        const auto one = magic(sleeper_mac(nobody + i), repeats);
        bytes.insert(bytes.end(), one.begin(), one.end());
        bytes.insert(bytes.end(), gap, 0);
    }
    bytes.resize(scanned);
    return bytes;
}

class Catalogue {
public:
    explicit Catalogue(std::uint32_t sleepers)
        : all_{.first = 0, .count = sleepers}, strangers_{.first = nobody, .count = std::max(sleepers, 10'000U)} {}

    std::vector<Workload> make() {
        add_answers();
        add_triggers();
        add_strangers();
        return std::move(list_);
    }

private:
    void add(Workload workload, const std::string& suffix, const Hosts& hosts) {
        workload.name += suffix;
        workload.hosts = hosts;
        list_.push_back(std::move(workload));
    }
    void add(const Workload& workload, const Hosts& hosts) {
        add(workload, "-hot", {.first = hosts.first + hosts.count / 2, .count = 1});
        if (hosts.count > 1)
            add(workload, "-random", hosts);
    }
    void add_answer(Workload workload) {
        workload.action = XDP_TX;
        add(workload, all_);
        workload.generator += "_dependent";
        if (all_.count > 1)
            add(workload, "-dependent", all_);
    }
    void add_ip4(Workload workload, const Packet& packet, const Hosts& hosts) {
        workload.name += '4';
        workload.generator = "ip4";
        workload.frame = (to_gateway / Ip4{.destination = any} / packet).padded();
        workload.first_key = first_ip4;
        add(workload, hosts);
    }
    void add_ip6(Workload workload, const Packet& packet, const Hosts& hosts) {
        workload.name += '6';
        workload.generator = "ip6";
        workload.frame = (to_gateway / Ip6{.destination = first_ip6()} / packet).padded();
        add(workload, hosts);
    }
    void add_ip(const Workload& workload, const Packet& packet, const Hosts& hosts) {
        add_ip4(workload, packet, hosts);
        add_ip6(workload, packet, hosts);
    }

    void add_answers() {
        add_answer({.name = "arp",
                    .generator = "arp",
                    .frame = (Ether{.destination = broadcast_mac} / Arp{.target_ip = any}).padded(),
                    .first_key = first_ip4,
                    .reason = PZ_REASON_ARP_ANSWERED});
        const auto solicitation = [](const Ip6Address& source) {
            const auto group = solicited_node(first_ip6());
            return Ether{.destination = group_mac(group)} /
                   Ip6{.source = source, .destination = group, .hop_limit = 255} / Ns{.target = first_ip6()};
        };
        add_answer({.name = "ns",
                    .generator = "ns",
                    .frame = (solicitation(client_ip6()) / source_lla()).bytes(),
                    .checksum = nd_checksum,
                    .reason = PZ_REASON_ND_ANSWERED,
                    .resized = true});
        add_answer({.name = "dad",
                    .generator = "dad",
                    .frame = solicitation(unspecified()).bytes(),
                    .checksum = nd_checksum,
                    .reason = PZ_REASON_ND_DAD_ANSWERED,
                    .resized = true});
        const Raw data(56, 0x61);
        add_answer({.name = "echo4",
                    .generator = "ip4",
                    .frame = (to_gateway / Ip4{.destination = any} / Icmp4{} / data).bytes(),
                    .first_key = first_ip4,
                    .reason = PZ_REASON_ECHO_ANSWERED});
        add_answer({.name = "echo6",
                    .generator = "echo6",
                    .frame = (to_gateway / Ip6{.destination = first_ip6()} / Icmp6{} / data).bytes(),
                    .checksum = nd_checksum,
                    .reason = PZ_REASON_ECHO_ANSWERED});
    }

    void add_triggers() {
        const Workload wakes{.name = "syn-hit", .action = XDP_DROP, .reason = PZ_REASON_TRIGGER_SYN, .wakes = true};
        add_ip(wakes, Tcp{.destination_port = wake_port}, all_);
        const Workload closed{.name = "syn-closed", .action = XDP_DROP, .reason = PZ_REASON_PORT_CLOSED};
        add_ip(closed, Tcp{.destination_port = wake_port + 1}, all_);

        Workload found{.reason = PZ_REASON_TRIGGER_MAGIC, .wakes = true};
        const Packet packet = magic_udp / Raw{magic(sleeper_mac(0))};
        found.name = found.generator = "magic4";
        found.frame =
            (Ether{.destination = broadcast_mac} / Ip4{.destination = "255.255.255.255"_ip4} / packet).bytes();
        add(found, all_);
        found.name = found.generator = "magic6";
        found.frame = (Ether{.destination = group_mac(all_nodes())} / Ip6{.destination = all_nodes()} / packet).bytes();
        add(found, all_);
    }

    void add_strangers() {
        add_ip({.name = "syn-miss"}, Tcp{.destination_port = wake_port}, strangers_);
        const Tcp data{.flags = 0x10};
        add_ip4({.name = "tcp"}, data / Raw(1460, 0x61), strangers_);
        add_ip6({.name = "tcp"}, data / Raw(1440, 0x61), strangers_);
        add_ip4({.name = "udp"}, Udp{} / Raw{random_bytes(1472)}, strangers_);
        add_ip6({.name = "udp"}, Udp{} / Raw{random_bytes(1452)}, strangers_);
        add({.name = "tcp4-tagged",
             .generator = "ip4_tagged",
             .frame =
                 (to_gateway / Vlan{.vid = traffic_vid} / Ip4{.destination = any} / data / Raw(1456, 0x61)).bytes(),
             .first_key = first_ip4,
             .checksum = tagged_checksum},
            strangers_);
        add({.name = "arp-miss",
             .generator = "arp",
             .frame = (Ether{.destination = broadcast_mac} / Arp{.target_ip = any}).padded(),
             .first_key = first_ip4},
            strangers_);
        list_.push_back({.name = "mdns-hot",
                         .generator = "ip4",
                         .frame = (Ether{.destination = "01:00:5e:00:00:fb"_mac} / Ip4{.destination = any} /
                                   Udp{.source_port = 5353, .destination_port = 5353} / Raw(200, 0))
                                      .bytes(),
                         .first_key = 0xe00000fb});
    }

    Hosts all_;
    Hosts strangers_;
    std::vector<Workload> list_;
};

} // namespace

std::vector<Workload> workloads(std::uint32_t sleepers) {
    return Catalogue(sleepers).make();
}

std::vector<Workload> scans() {
    const auto repeated = sleeper_mac(1).bytes;
    const std::initializer_list<std::pair<const char*, Bytes>> payloads = {
        {"none", Bytes(101, 0x61)},
        {"random", random_bytes(scanned)},
        {"text", tiled({'G', 'E', 'T', ' ', '/', 'i', 'n', 'd', 'e', 'x', '.', 'h', 't', 'm', 'l', ' '}, scanned)},
        {"attack-ones", Bytes(scanned, 0xff)},
        {"attack-zeros", Bytes(scanned, 0)},
        {"attack-one-byte", Bytes(scanned, 0x61)},
        {"attack-period-2", tiled({0x02, 0x61}, scanned)},
        {"attack-period-3", tiled({0x02, 0x61, 0x62}, scanned)},
        {"attack-period-6", tiled({0x02, 1, 2, 3, 4, 5}, scanned)},
        {"attack-period-6-ones", tiled({0xff, 0xff, 0xff, 0xff, 0xff, 0}, scanned)},
        {"attack-strangers", strangers_one_by_one(16, 0)},
        {"attack-15-repeats", strangers_one_by_one(15, 1)},
        {"attack-sleeper", tiled(Bytes(repeated.begin(), repeated.end()), scanned)},
        {"attack-stretches-14", stretches(14)},
        {"attack-stretches-82", stretches(82)},
    };
    std::vector<Workload> list;
    for (const auto& [name, payload] : payloads)
        list.push_back(
            {.name = std::string("scan-") + name,
             .generator = "ip4",
             .frame =
                 (Ether{.destination = broadcast_mac} / Ip4{.destination = any} / magic_udp / Raw{payload}).bytes(),
             .first_key = 0xffffffff}); // the limited broadcast
    return list;
}

} // namespace pz::bench
