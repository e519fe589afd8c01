// SPDX-License-Identifier: Apache-2.0
// DNS messages (RFC 1035 §4) as values, for the protocols that share the format: mDNS and LLMNR.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/address.h"
#include "net/frame.h"

namespace pz::dns {

/// The types that have a meaning here; any other number may stand in a record too.
namespace type {
inline constexpr std::uint16_t a = 1, cname = 5, ptr = 12, txt = 16, aaaa = 28, srv = 33, opt = 41, nsec = 47,
                               any = 255;
}
namespace klass {
inline constexpr std::uint16_t in = 1, any = 255;
}
/// Bits of Message::flags (RFC 1035 §4.1.1).
namespace flag {
inline constexpr std::uint16_t response = 0x8000, opcode = 0x7800, authoritative = 0x0400, truncated = 0x0200,
                               rcode = 0x000f;
}

inline constexpr std::size_t max_name = 255;     // RFC 1035 §2.3.4
inline constexpr std::size_t max_label = 63;     // RFC 1035 §2.3.4
inline constexpr std::size_t max_message = 9000; // RFC 6762 §17

/// A domain name.  Labels are bytes (UTF-8; a dot in one is an ordinary character), their case is kept, and it does not
/// count in comparisons if it is that of ASCII (RFC 6762 §16).
class Name {
public:
    /// The root.
    Name() : wire_(1, '\0') {}
    static Result<Name> from_labels(std::span<const std::string> labels);
    /// "desk.local" or "desk.local.": every dot separates, nothing is escaped.
    static Result<Name> parse(std::string_view text);
    /// 1.2.0.192.in-addr.arpa, or the 32 nibbles under ip6.arpa (RFC 1035 §3.5, RFC 3596 §2.5).
    static Name reverse(const IpAddress& address);
    /// `wire` is one name without compression, and nothing else.
    static Result<Name> from_wire(ByteView wire);

    /// This name with a label in front of it.
    [[nodiscard]] Result<Name> with_label(std::string_view label) const;
    /// Without compression, the root's zero at the end.
    [[nodiscard]] std::string_view wire() const { return wire_; }
    [[nodiscard]] std::vector<std::string_view> labels() const;
    /// "desk.local" for people; dots and backslashes in labels and what is not printed are escaped (RFC 1035 §5.1).
    [[nodiscard]] std::string to_string() const;
    [[nodiscard]] bool ends_with(const Name& domain) const;
    bool operator==(const Name& other) const;

private:
    std::string wire_;
};

struct Question {
    Name name;
    std::uint16_t type = type::a;
    std::uint16_t klass = klass::in; // without its top bit
    bool top_bit = false; // mDNS: a unicast response is welcome (RFC 6762 §5.4)
    bool operator==(const Question&) const = default;
};

struct Record {
    Name name;
    std::uint16_t type = type::a;
    std::uint16_t klass = klass::in; // without its top bit
    bool top_bit = false; // mDNS: cache flush (RFC 6762 §10.2)
    std::uint32_t ttl = 0;
    Bytes rdata = {}; // the names in PTR, CNAME, SRV and NSEC are without compression

    static Record address(Name name, std::uint32_t ttl, const IpAddress& address);
    static Record ptr(Name name, std::uint32_t ttl, const Name& target);
    static Record srv(Name name, std::uint32_t ttl, std::uint16_t port, const Name& target);
    /// Strings of more than 255 bytes are left out; without any there is one empty string (RFC 6763 §6.1).
    static Record txt(Name name, std::uint32_t ttl, std::span<const std::string> strings);
    /// `name` has these types and no others, all of them below 256 (RFC 6762 §6.1).
    static Record nsec(Name name, std::uint32_t ttl, std::span<const std::uint16_t> types);

    /// The name in the data of a PTR, CNAME, SRV or NSEC; the root for other types.
    [[nodiscard]] Name target() const;
    /// The data with names in lower case: equal for records that say the same.
    [[nodiscard]] Bytes canonical_rdata() const;
    /// Name, type, class and data; neither TTL nor the top bit.
    [[nodiscard]] bool same_as(const Record& other) const;
    [[nodiscard]] bool same_rdata(const Record& other) const;
    bool operator==(const Record&) const = default;
};

struct Message {
    std::uint16_t id = 0;
    std::uint16_t flags = 0;
    std::vector<Question> questions = {};
    std::vector<Record> answers = {};
    std::vector<Record> authorities = {};
    std::vector<Record> additionals = {};

    [[nodiscard]] bool is_response() const { return (flags & flag::response) != 0; }
    [[nodiscard]] unsigned opcode() const { return (flags & flag::opcode) >> 11; }
    [[nodiscard]] unsigned rcode() const { return flags & flag::rcode; }
    bool operator==(const Message&) const = default;
};

/// Time and memory are bounded by the size of `bytes`, which is at most max_message.  What follows the last record is
/// not looked at.
Result<Message> parse(ByteView bytes);

/// Which names within data are compressed, besides those of PTR and CNAME.
enum class Compression {
    conventional, // none (RFC 3597 §4, RFC 2782, RFC 4034 §4.1.1)
    multicast, // SRV and NSEC too (RFC 6762 §18.14)
};

Bytes serialise(const Message& message, Compression compression = Compression::conventional);
/// As many messages of at most `limit` bytes as the answers need, each with the questions; an answer that is larger
/// goes alone.  Authorities are in the last one, and additional records as far as there is room for them.
std::vector<Bytes> serialise_split(const Message& message, std::size_t limit,
                                   Compression compression = Compression::conventional);

} // namespace pz::dns

/// Equal for names that differ in ASCII case alone.
template <>
struct std::hash<pz::dns::Name> {
    std::size_t operator()(const pz::dns::Name& name) const noexcept;
};
