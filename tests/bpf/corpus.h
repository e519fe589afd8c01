// SPDX-License-Identifier: Apache-2.0
// Valid frames of every kind, as a starting point for damaged ones, and the damage.
#pragma once

#include <algorithm>
#include <random>

#include "harness.h"

namespace pz::test {

struct CorpusFrame {
    std::string what;
    Bytes frame;
    std::size_t needed; // bytes without which the frame is not whole; what follows is padding
};

inline std::vector<CorpusFrame> corpus() {
    std::vector<CorpusFrame> out;
    const auto add = [&](std::string what, const Packet& packet, std::size_t padding = 0) {
        const auto bytes = packet.bytes();
        out.push_back(
            {.what = std::move(what), .frame = (packet / Trailer{padding, 0}).bytes(), .needed = bytes.size()});
    };
    const auto tagged = Ether{.destination = broadcast_mac, .type = 0x8100} / Vlan{.vid = 0, .priority = 3};
    const auto stacked = Ether{.type = 0x88a8} / Vlan{.vid = 100, .tpid = 0x88a8} / Vlan{.vid = 200};
    const Ext hop{.kind = ext_hop_by_hop};
    const Ext routing{.kind = ext_routing, .body = {0, 0, 0, 0, 0, 0}};
    const Ext auth{.kind = ext_auth, .body = Bytes(14)};
    add("ARP request", arp_request());
    add("padded ARP request", arp_request(), 18);
    add("ARP probe", arp_request({.sender_ip = {}}));
    add("unicast ARP request", Ether{} / Arp{});
    add("ARP announcement of a stranger", arp_request({.sender_ip = host_ip4}));
    add("tagged ARP request", tagged / Arp{});
    add("NS", solicitation());
    add("NS without option", solicitation_headers() / Ns{});
    add("NS with nonce", solicitation_headers() / Ns{} / nonce_option() / source_lla());
    add("unicast NS", Ether{} / Ip6{.hop_limit = 255} / Ns{} / source_lla(), 4);
    add("DAD", solicitation_headers(host_ip6(), unspecified()) / Ns{});
    add("NS behind headers", solicitation_headers() / hop / Ext{} / routing / auth / Ns{} / source_lla());
    add("tagged NS", tagged / Ip6{.destination = solicited_node(host_ip6()), .hop_limit = 255} / Ns{} / source_lla());
    add("NA of a stranger", Ether{.destination = group_mac(all_nodes()), .source = stranger_mac} /
                                Ip6{.source = host_ip6(), .destination = all_nodes(), .hop_limit = 255} /
                                Na{.solicited = false} / target_lla(stranger_mac));
    add("Router Advertisement", router_advertisement());
    add("IPv4 echo", echo4());
    add("small IPv4 echo", echo4(Raw{}), 18);
    add("IPv4 echo with options", Ether{} / Ip4{.options = {7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0}} / Icmp4{} / Raw{"x"});
    add("IPv6 echo", echo6());
    add("IPv6 echo behind headers", Ether{} / Ip6{} / hop / Ext{} / Icmp6{} / Raw{"odd"});
    add("stacked IPv4 echo", stacked / Ip4{} / Icmp4{} / Raw{"tagged"});
    add("SYN", Ether{} / Ip4{} / Tcp{.options = {2, 4, 5, 0xb4, 4, 2, 1, 3}}, 4);
    add("SYN over IPv6", Ether{} / Ip6{} / Tcp{});
    add("SYN behind headers", Ether{} / Ip6{} / hop / Ext{} / auth / Tcp{});
    add("SYN with IPv4 options", Ether{} / Ip4{.options = {148, 4, 0, 0}} / Tcp{});
    add("UDP", Ether{} / Ip4{} / Udp{} / Raw{"data"});
    add("UDP over IPv6", Ether{} / Ip6{} / Udp{} / Raw{"data"});
    add("Magic Packet in Ethernet", Ether{.destination = broadcast_mac, .type = 0x0842} / Raw{magic()});
    add("Magic Packet by unicast", Ether{.type = 0x0842} / Raw{magic()});
    add("Magic Packet in UDP", Ether{} / Ip4{} / Udp{.destination_port = 9} / Raw{magic()});
    add("Magic Packet in broadcast UDP", Ether{.destination = broadcast_mac} /
                                             Ip4{.destination = "255.255.255.255"_ip4} / Udp{.destination_port = 9} /
                                             Raw{magic()});
    add("Magic Packet in IPv6 multicast", Ether{.destination = group_mac(all_nodes())} /
                                              Ip6{.destination = all_nodes()} / Udp{.destination_port = 40000} /
                                              Raw{magic()});
    add("ARP request of the owner", Ether{.destination = broadcast_mac, .source = host_mac} /
                                        Arp{.sender_mac = host_mac, .sender_ip = host_ip4, .target_ip = client_ip4});
    add("DAD of the owner",
        Ether{.destination = group_mac(solicited_node(host_ip6())), .source = host_mac} /
            Ip6{.source = unspecified(), .destination = solicited_node(host_ip6()), .hop_limit = 255} / Ns{});
    add("TCP of the owner", Ether{.destination = gateway_mac, .source = host_mac} /
                                Ip4{.source = host_ip4, .destination = client_ip4} / Tcp{.flags = 0x10});
    add("fragment", Ether{} / Ip4{.fragment = 0x2000} / Udp{} / Raw{"data"});
    add("IPv6 fragment", Ether{} / Ip6{} / Fragment{.offset_flags = 1} / Udp{} / Raw{"data"});
    add("source route", Ether{} / Ip4{.options = {131, 7, 4, 192, 0, 2, 1}} / Icmp4{});
    add("IGMP", Ether{.destination = "01:00:5e:00:00:01"_mac} /
                    Ip4{.destination = "224.0.0.1"_ip4, .protocol = proto_igmp} / Raw{8, 0});
    add("TCP of others",
        Ether{.destination = gateway_mac} / Ip4{.destination = other_ip4} / Tcp{.flags = 0x10} / Raw{64, 1});
    add("LLDP", Ether{.destination = "01:80:c2:00:00:0e"_mac, .type = 0x88cc} / Raw{46, 2});
    return out;
}

/// A frame that starts as one of the corpus: a few bytes changed, cut, repeated or spliced, checksums mostly repaired
/// so that the damage gets past them.
class Mutator {
public:
    explicit Mutator(std::uint32_t seed) : random_(seed), corpus_(corpus()) {}

    Bytes next() {
        auto frame = corpus_[below(corpus_.size())].frame;
        for (auto changes = 1 + below(4); changes-- > 0;)
            change(frame);
        if (frame.size() < 14)
            frame.resize(14);
        frame.resize(std::min<std::size_t>(frame.size(), 1514));
        if (below(4) != 0)
            repair(frame);
        return frame;
    }

private:
    std::size_t below(std::size_t limit) { return random_() % limit; }
    std::uint8_t interesting() {
        static constexpr std::array<std::uint8_t, 28> values = {0,  1,  2,   4,   5,   6,   7,   8,  14, 17,
                                                                20, 43, 44,  51,  58,  59,  60,  64, 68, 0x45,
                                                                69, 96, 127, 128, 131, 135, 136, 255};
        return below(3) == 0 ? static_cast<std::uint8_t>(random_()) : values[below(values.size())];
    }
    void change(Bytes& frame) {
        const auto at = below(frame.size());
        const auto rest = frame.size() - at;
        switch (below(9)) {
        case 0:
            frame[at] ^= static_cast<std::uint8_t>(1U << below(8));
            break;
        case 1:
            frame[at] = interesting();
            break;
        case 2: // headers more often than payload
            frame[std::min(frame.size() - 1, 12 + below(60))] = interesting();
            break;
        case 3:
            frame.resize(frame.size() + below(40), interesting());
            break;
        case 4:
            frame.resize(std::max<std::size_t>(14, at));
            break;
        case 5: { // an 8-byte block twice: headers and options
            const auto length = std::min<std::size_t>(rest, 8 * (1 + below(3)));
            const Bytes block(frame.begin() + static_cast<std::ptrdiff_t>(at),
                              frame.begin() + static_cast<std::ptrdiff_t>(at + length));
            frame.insert(frame.begin() + static_cast<std::ptrdiff_t>(at), block.begin(), block.end());
            break;
        }
        case 6: {
            const auto length = std::min<std::size_t>(rest, 1 + below(8));
            frame.erase(frame.begin() + static_cast<std::ptrdiff_t>(at),
                        frame.begin() + static_cast<std::ptrdiff_t>(at + length));
            break;
        }
        case 7: { // the end of another frame
            const auto& other = corpus_[below(corpus_.size())].frame;
            if (at < other.size()) {
                frame.resize(at);
                frame.insert(frame.end(), other.begin() + static_cast<std::ptrdiff_t>(at), other.end());
            }
            break;
        }
        default: { // a tag more
            const Bytes tag = {0x81, 0x00, static_cast<std::uint8_t>(below(2)), static_cast<std::uint8_t>(random_())};
            if (frame.size() >= 14)
                frame.insert(frame.begin() + 12, tag.begin(), tag.end());
            break;
        }
        }
        if (frame.empty())
            frame.resize(14);
    }
    static void put16(Bytes& frame, std::size_t at, unsigned value) {
        frame[at] = static_cast<std::uint8_t>(value >> 8);
        frame[at + 1] = static_cast<std::uint8_t>(value & 0xff);
    }
    /// Lengths and checksums of what still looks like IP.
    void repair(Bytes& frame) {
        std::size_t l3 = 14;
        auto type = static_cast<unsigned>(frame[12] << 8 | frame[13]);
        while ((type == 0x8100 || type == 0x88a8) && l3 + 4 <= frame.size()) {
            type = static_cast<unsigned>(frame[l3 + 2] << 8 | frame[l3 + 3]);
            l3 += 4;
        }
        const ByteView view = frame;
        if (type == 0x0800 && l3 + 20 <= frame.size()) {
            const std::size_t header = std::max<std::size_t>(5, frame[l3] & 0xfU) * 4;
            if (l3 + header > frame.size())
                return;
            if (below(2) == 0)
                put16(frame, l3 + 2, static_cast<unsigned>(frame.size() - l3));
            put16(frame, l3 + 10, 0);
            put16(frame, l3 + 10, ~ones_sum(view.subspan(l3, header)) & 0xffffU);
            if (frame[l3 + 9] == proto_icmp && l3 + header + 8 <= frame.size()) {
                const std::size_t total = static_cast<std::size_t>(frame[l3 + 2] << 8 | frame[l3 + 3]);
                if (total < header + 8 || l3 + total > frame.size())
                    return;
                put16(frame, l3 + header + 2, 0);
                put16(frame, l3 + header + 2, ~ones_sum(view.subspan(l3 + header, total - header)) & 0xffffU);
            }
        } else if (type == 0x86dd && l3 + 40 <= frame.size()) {
            if (below(2) == 0)
                put16(frame, l3 + 4, static_cast<unsigned>(frame.size() - l3 - 40));
            std::size_t payload = static_cast<std::size_t>(frame[l3 + 4] << 8 | frame[l3 + 5]);
            std::size_t at = l3 + 40;
            const auto end = at + payload;
            if (end > frame.size())
                return;
            auto next = frame[l3 + 6];
            while ((next == ext_hop_by_hop || next == ext_destination || next == ext_routing) && at + 8 <= end) {
                next = frame[at];
                at += 8U * (frame[at + 1] + 1U);
            }
            if (next != proto_icmp6 || at + 8 > end)
                return;
            put16(frame, at + 2, 0);
            put16(frame, at + 2,
                  ~ones_sum(view.subspan(at, end - at),
                            pseudo_sum(view.subspan(l3 + 8, 16), view.subspan(l3 + 24, 16), proto_icmp6, end - at)) &
                      0xffffU);
        }
    }

    std::mt19937 random_;
    std::vector<CorpusFrame> corpus_;
};

} // namespace pz::test
