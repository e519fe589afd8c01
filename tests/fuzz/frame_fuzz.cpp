// SPDX-License-Identifier: Apache-2.0
// Fuzz target: what the parser says of any bytes lies within them, and complete_checksum() writes the checksum alone.
#include <netinet/in.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "net/frame.h"
#include "net/router_advertisement.h"

namespace {

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                               \
            std::abort();                                                                                              \
        }                                                                                                              \
    } while (false)

void check_offsets(pz::ByteView frame, const pz::ParsedFrame& parsed) {
    using pz::L3;
    using pz::ParseStatus;
    const bool ip = parsed.l3 == L3::ipv4 || parsed.l3 == L3::ipv6;
    REQUIRE(parsed.l3_offset <= frame.size());
    REQUIRE(parsed.outer_vid <= 0xfff && parsed.inner_vid <= 0xfff);
    REQUIRE(parsed.outer_vid != 0 || parsed.inner_vid == 0);
    if (parsed.status == ParseStatus::ok) {
        REQUIRE(parsed.l3 != L3::other);
        REQUIRE(parsed.l3_offset >= 14);
        if (parsed.l3 == L3::arp)
            REQUIRE(frame.size() - parsed.l3_offset >= 28);
        if (ip) {
            REQUIRE(parsed.l4_offset >= parsed.l3_offset + (parsed.l3 == L3::ipv4 ? 20 : 40));
            REQUIRE(parsed.l4_offset <= frame.size());
            REQUIRE(parsed.l4_length <= frame.size() - parsed.l4_offset);
            REQUIRE(parsed.ip_source.is_v4() == (parsed.l3 == L3::ipv4));
            REQUIRE(parsed.ip_destination.is_v4() == (parsed.l3 == L3::ipv4));
        }
    }
    // The other outcomes belong to one layer each.
    if (parsed.status == ParseStatus::malformed || parsed.status == ParseStatus::fragment ||
        parsed.status == ParseStatus::source_route)
        REQUIRE(ip);
    if (parsed.status == ParseStatus::bad_checksum)
        REQUIRE(parsed.l3 == L3::ipv4);
    if (parsed.status == ParseStatus::too_many_ext)
        REQUIRE(parsed.l3 == L3::ipv6);
    if (parsed.status == ParseStatus::unknown_l2)
        REQUIRE(parsed.l3 == L3::other);
}

/// The checksum as its receiver computes it: the ones' complement sum of 16-bit words is all ones.
bool receiver_accepts(pz::ByteView segment, const pz::ParsedFrame& parsed) {
    unsigned long sum = 0;
    if (parsed.protocol != IPPROTO_ICMP) {
        for (const auto& address : {parsed.ip_source, parsed.ip_destination})
            for (std::size_t i = 0; i < address.octets().size(); ++i)
                sum += static_cast<unsigned long>(address.octets()[i]) << (i % 2 == 0 ? 8 : 0);
        sum += segment.size() + parsed.protocol;
    }
    for (std::size_t i = 0; i < segment.size(); ++i)
        sum += static_cast<unsigned long>(segment[i]) << (i % 2 == 0 ? 8 : 0);
    return sum != 0 && sum % 0xffff == 0;
}

std::size_t checksum_field(std::uint8_t protocol) {
    return protocol == IPPROTO_TCP ? 16 : protocol == IPPROTO_UDP ? 6 : 2;
}

void check_completion(pz::ByteView frame, const pz::ParsedFrame& parsed) {
    // Between guards, for builds without a sanitizer.
    constexpr std::size_t guard = 64;
    constexpr std::uint8_t guard_byte = 0xa5;
    pz::Bytes buffer(guard + frame.size() + guard, guard_byte);
    const auto completed = std::span(buffer).subspan(guard, frame.size());
    std::ranges::copy(frame, completed.begin());
    const bool done = pz::complete_checksum(completed);
    REQUIRE(std::ranges::all_of(std::span(buffer).first(guard), [](auto byte) { return byte == guard_byte; }));
    REQUIRE(std::ranges::all_of(std::span(buffer).last(guard), [](auto byte) { return byte == guard_byte; }));
    if (!done) {
        REQUIRE(std::ranges::equal(completed, frame));
        return;
    }

    REQUIRE(parsed.status == pz::ParseStatus::ok);
    auto segment = completed.subspan(parsed.l4_offset, parsed.l4_length);
    if (parsed.protocol == IPPROTO_UDP) {
        REQUIRE((segment[6] | segment[7]) != 0);
        segment = segment.first(static_cast<std::size_t>(segment[4] << 8 | segment[5]));
    }
    REQUIRE(receiver_accepts(segment, parsed));
    const auto field = parsed.l4_offset + checksum_field(parsed.protocol);
    for (std::size_t i = 0; i < frame.size(); ++i)
        REQUIRE(completed[i] == frame[i] || i == field || i == field + 1);

    pz::Bytes again(completed.begin(), completed.end());
    REQUIRE(pz::complete_checksum(again) && std::ranges::equal(again, completed));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const pz::ByteView frame(data, size);
    const auto parsed = pz::parse_frame(frame);
    check_offsets(frame, parsed);
    check_completion(frame, parsed);
    for (const auto& [prefix, valid] : pz::advertised_prefixes(frame))
        REQUIRE(parsed.l3 == pz::L3::ipv6 && prefix.is_v6() && !prefix.is_link_local());

    // A mutated IPv4 header nearly always fails its checksum: set it right, so that what lies behind is reached too.
    if (parsed.status == pz::ParseStatus::bad_checksum) {
        pz::Bytes mended(data, data + size);
        const auto header = std::span(mended).subspan(parsed.l3_offset, (mended[parsed.l3_offset] & 0xfU) * 4);
        header[10] = header[11] = 0;
        const auto checksum = pz::checksum_fold(pz::checksum_add(header));
        header[10] = static_cast<std::uint8_t>(checksum >> 8);
        header[11] = static_cast<std::uint8_t>(checksum & 0xff);
        const auto mended_parsed = pz::parse_frame(mended);
        REQUIRE(mended_parsed.status != pz::ParseStatus::bad_checksum);
        check_offsets(mended, mended_parsed);
        check_completion(mended, mended_parsed);
    }
    return 0;
}
