// SPDX-License-Identifier: Apache-2.0
#include "control/codec.h"

#include <netlink/attr.h>
#include <netlink/msg.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>
#include <vector>

#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

namespace pz::control {

namespace {

static_assert(static_cast<int>(EchoMode::answer) == PZ_CONTROL_ECHO_ANSWER &&
              static_cast<int>(EchoMode::ignore) == PZ_CONTROL_ECHO_IGNORE &&
              static_cast<int>(EchoMode::wake) == PZ_CONTROL_ECHO_WAKE);
static_assert(static_cast<int>(FrameVerdict::pass) == PZ_CONTROL_VERDICT_PASS &&
              static_cast<int>(FrameVerdict::drop) == PZ_CONTROL_VERDICT_DROP &&
              static_cast<int>(FrameVerdict::answer) == PZ_CONTROL_VERDICT_ANSWER);
static_assert(static_cast<int>(Identity::host) == PZ_CONTROL_IDENTITY_HOST &&
              static_cast<int>(Identity::proxy) == PZ_CONTROL_IDENTITY_PROXY);
static_assert(static_cast<int>(HostState::awake) == PZ_CONTROL_STATE_AWAKE &&
              static_cast<int>(HostState::arming) == PZ_CONTROL_STATE_ARMING &&
              static_cast<int>(HostState::asleep) == PZ_CONTROL_STATE_ASLEEP &&
              static_cast<int>(HostState::waking) == PZ_CONTROL_STATE_WAKING &&
              static_cast<int>(HostState::unreachable) == PZ_CONTROL_STATE_UNREACHABLE);

/// An error text repeats what the peer sent, so it needs a bound of its own.
constexpr std::size_t max_text = 1000;

template <class T>
constexpr bool is_optional = false;
template <class T>
constexpr bool is_optional<std::optional<T>> = true;

template <class T>
constexpr bool is_binary = false;
template <std::size_t N>
constexpr bool is_binary<std::array<std::uint8_t, N>> = true;

// ---- encoding: true as long as the message has room ----

template <HasSchema T>
bool put_fields(nl_msg* message, const T& body);

template <class T>
bool put(nl_msg* message, int type, const T& value) {
    if constexpr (HasSchema<T>) {
        nlattr* nest = nla_nest_start(message, type);
        return nest != nullptr && put_fields(message, value) && nla_nest_end_keep_empty(message, nest) == 0;
    } else if constexpr (is_optional<T>) {
        return !value || put(message, type, *value);
    } else if constexpr (std::is_enum_v<T> || std::is_same_v<T, bool>) {
        return nla_put_u8(message, type, static_cast<std::uint8_t>(value)) == 0;
    } else if constexpr (std::is_integral_v<T>) {
        return nla_put(message, type, sizeof value, &value) == 0;
    } else if constexpr (std::is_same_v<T, std::chrono::seconds>) {
        const auto seconds = std::clamp<std::int64_t>(value.count(), 0, std::numeric_limits<std::uint32_t>::max());
        return put(message, type, static_cast<std::uint32_t>(seconds));
    } else if constexpr (std::is_same_v<T, std::string>) {
        return value.size() < PZ_CONTROL_MAX_MESSAGE &&
               nla_put(message, type, static_cast<int>(value.size() + 1), value.c_str()) == 0;
    } else if constexpr (std::is_same_v<T, MacAddress>) {
        return put(message, type, value.bytes);
    } else if constexpr (std::is_same_v<T, Frame>) {
        return value.bytes.size() < PZ_CONTROL_MAX_MESSAGE &&
               nla_put(message, type, static_cast<int>(value.bytes.size()), value.bytes.data()) == 0;
    } else if constexpr (std::is_same_v<T, IpAddress>) {
        return nla_put(message, type, static_cast<int>(value.octets().size()), value.octets().data()) == 0;
    } else {
        static_assert(is_binary<T>);
        return nla_put(message, type, static_cast<int>(value.size()), value.data()) == 0;
    }
}

/// One of a list of strings, or its bytes.
template <class T>
bool put_element(nl_msg* message, int type, Presence presence, const T& value) {
    if constexpr (std::is_same_v<T, std::string>)
        if (presence == Presence::repeated_bytes)
            return value.size() < PZ_CONTROL_MAX_MESSAGE &&
                   nla_put(message, type, static_cast<int>(value.size()), value.data()) == 0;
    return put(message, type, value);
}

template <HasSchema T>
bool put_fields(nl_msg* message, const T& body) {
    bool fits = true;
    for_each_field<T>([&](const auto& field, unsigned) {
        const auto& value = std::invoke(field.member, body);
        if constexpr (is_vector<std::remove_cvref_t<decltype(value)>>) {
            for (const auto& element : value)
                fits = fits && put_element(message, field.type, field.presence, element);
        } else {
            static const T defaults{};
            if (field.presence == Presence::required || !(value == std::invoke(field.member, defaults)))
                fits = fits && put(message, field.type, value);
        }
    });
    return fits;
}

Message allocate(std::size_t size) {
    nl_msg* message = nlmsg_alloc_size(size);
    if (message == nullptr)
        throw std::bad_alloc();
    return Message(message);
}

// ---- decoding ----

struct Attribute {
    std::uint16_t type = 0;
    bool nested = false;
    std::uint32_t offset = 0; // of its header
    std::span<const std::uint8_t> payload;
};

std::unexpected<Refusal> refuse_at(std::uint32_t offset, std::string message, std::string field = {}) {
    return refuse({Errc::invalid, std::move(message), std::move(field)}, offset);
}

/// Takes the first attribute off `rest`, which is at `offset` and not empty.
Decoded<Attribute> next_attribute(std::span<const std::uint8_t>& rest, std::uint32_t& offset) {
    nlattr header;
    if (rest.size() < sizeof header)
        return refuse_at(offset, fmt::format("{} bytes are left over, an attribute has at least 4", rest.size()));
    std::memcpy(&header, rest.data(), sizeof header);
    Attribute attribute;
    attribute.type = static_cast<std::uint16_t>(header.nla_type & ~(NLA_F_NESTED | NLA_F_NET_BYTEORDER));
    attribute.nested = (header.nla_type & NLA_F_NESTED) != 0;
    attribute.offset = offset;
    if (header.nla_type & NLA_F_NET_BYTEORDER)
        return refuse_at(offset, fmt::format("attribute {}: NLA_F_NET_BYTEORDER is not served, integers are "
                                             "little-endian",
                                             attribute.type));
    if (header.nla_len < sizeof header)
        return refuse_at(
            offset, fmt::format("attribute {}: its length is {}, must be at least 4", attribute.type, header.nla_len));
    if (header.nla_len > rest.size())
        return refuse_at(offset, fmt::format("attribute {}: its length is {}, but only {} bytes are left",
                                             attribute.type, header.nla_len, rest.size()));
    const std::size_t padded = NLA_ALIGN(std::size_t{header.nla_len});
    if (padded > rest.size())
        return refuse_at(offset,
                         fmt::format("attribute {}: its padding to a multiple of 4 bytes is missing", attribute.type));
    const auto padding = rest.subspan(header.nla_len, padded - header.nla_len);
    if (std::ranges::any_of(padding, [](std::uint8_t byte) { return byte != 0; }))
        return refuse_at(offset, fmt::format("attribute {}: its padding must be zero", attribute.type));
    attribute.payload = rest.first(header.nla_len).subspan(sizeof header);
    rest = rest.subspan(padded);
    offset += static_cast<std::uint32_t>(padded);
    return attribute;
}

/// How many attributes of a type there are, as far as they can be read.
std::size_t count(std::span<const std::uint8_t> attributes, std::uint16_t type) {
    std::size_t found = 0;
    std::uint32_t offset = 0;
    while (!attributes.empty()) {
        const auto attribute = next_attribute(attributes, offset);
        if (!attribute)
            break;
        found += attribute->type == type ? 1U : 0U;
    }
    return found;
}

template <HasSchema T>
Decoded<> get_fields(std::span<const std::uint8_t> rest, std::uint32_t offset, Unknown unknown, T& body, Seen& seen);
template <HasSchema T>
Decoded<> check_complete(Seen seen, std::optional<std::uint32_t> nest);

Decoded<> expect_length(const Attribute& attribute, const char* name, std::size_t length) {
    if (attribute.payload.size() != length)
        return refuse_at(attribute.offset,
                         fmt::format("{}: has {} bytes, must have {}", name, attribute.payload.size(), length), name);
    return {};
}

Decoded<> expect_plain(const Attribute& attribute, const char* name) {
    if (attribute.nested)
        return refuse_at(attribute.offset, fmt::format("{}: is a plain value, NLA_F_NESTED must not be set", name),
                         name);
    return {};
}

template <class T>
Decoded<> get(const Attribute& attribute, const char* name, Unknown unknown, T& value) {
    if constexpr (is_optional<T>) {
        return get(attribute, name, unknown, value.emplace());
    } else if constexpr (HasSchema<T>) {
        if (!attribute.nested)
            return refuse_at(attribute.offset, fmt::format("{}: holds attributes, must have NLA_F_NESTED", name), name);
        const std::uint32_t inside = attribute.offset + static_cast<std::uint32_t>(sizeof(nlattr));
        Seen seen = 0;
        auto result = get_fields(attribute.payload, inside, unknown, value, seen);
        if (result)
            result = check_complete<T>(seen, attribute.offset);
        if (!result) {
            result.error().error.message = fmt::format("{}: {}", name, result.error().error.message);
            result.error().error.field = name;
        }
        return result;
    } else {
        PZ_TRY(expect_plain(attribute, name));
        if constexpr (std::is_enum_v<T> || std::is_same_v<T, bool>) {
            std::uint8_t raw = 0;
            PZ_TRY(get(attribute, name, unknown, raw));
            if constexpr (std::is_enum_v<T>) {
                if (raw >= enum_names<T>.size()) {
                    std::string names;
                    for (std::size_t i = 0; i < enum_names<T>.size(); ++i)
                        names += fmt::format("{}{} ({})", i == 0 ? "" : ", ", i, enum_names<T>[i]);
                    return refuse_at(attribute.offset, fmt::format("{}: is {}, must be one of {}", name, raw, names),
                                     name);
                }
            } else if (raw > 1) {
                return refuse_at(attribute.offset, fmt::format("{}: is {}, must be 0 or 1", name, raw), name);
            }
            value = static_cast<T>(raw);
        } else if constexpr (std::is_integral_v<T>) {
            PZ_TRY(expect_length(attribute, name, sizeof value));
            std::memcpy(&value, attribute.payload.data(), sizeof value);
        } else if constexpr (std::is_same_v<T, std::chrono::seconds>) {
            std::uint32_t seconds = 0;
            PZ_TRY(get(attribute, name, unknown, seconds));
            value = std::chrono::seconds(seconds);
        } else if constexpr (std::is_same_v<T, std::string>) {
            const auto end = std::ranges::find(attribute.payload, 0);
            if (end == attribute.payload.end() || end + 1 != attribute.payload.end())
                return refuse_at(attribute.offset, fmt::format("{}: must be text with one NUL, at its end", name),
                                 name);
            value.assign(attribute.payload.begin(), end);
        } else if constexpr (std::is_same_v<T, MacAddress>) {
            return get(attribute, name, unknown, value.bytes);
        } else if constexpr (std::is_same_v<T, Frame>) {
            value.bytes.assign(attribute.payload.begin(), attribute.payload.end());
        } else if constexpr (std::is_same_v<T, IpAddress>) {
            const auto address = IpAddress::from_bytes(attribute.payload);
            if (!address)
                return refuse_at(
                    attribute.offset,
                    fmt::format("{}: has {} bytes, must have 4 (IPv4) or 16 (IPv6)", name, attribute.payload.size()),
                    name);
            value = *address;
        } else {
            static_assert(is_binary<T>);
            PZ_TRY(expect_length(attribute, name, value.size()));
            std::ranges::copy(attribute.payload, value.begin());
        }
        return {};
    }
}

/// One of a list of strings, or its bytes.
template <class T>
Decoded<> get_element(const Attribute& attribute, const char* name, Presence presence, Unknown unknown, T& value) {
    if constexpr (std::is_same_v<T, std::string>)
        if (presence == Presence::repeated_bytes) {
            PZ_TRY(expect_plain(attribute, name));
            value.assign(attribute.payload.begin(), attribute.payload.end());
            return {};
        }
    return get(attribute, name, unknown, value);
}

template <HasSchema T>
Decoded<> get_fields(std::span<const std::uint8_t> rest, std::uint32_t offset, Unknown unknown, T& body, Seen& seen) {
    while (!rest.empty()) {
        const auto from_here = rest;
        const Attribute attribute = PZ_TRY(next_attribute(rest, offset));
        bool known = false;
        Decoded<> result;
        for_each_field<T>([&](const auto& field, unsigned position) {
            if (field.type != attribute.type)
                return;
            known = true;
            auto& value = std::invoke(field.member, body);
            const Seen bit = Seen{1} << position;
            constexpr bool is_list = is_vector<std::remove_cvref_t<decltype(value)>>;
            if (!is_list && (seen & bit) != 0) {
                result = refuse_at(attribute.offset, fmt::format("{}: is there twice, may be there once", field.name),
                                   field.name);
                return;
            }
            seen |= bit;
            if constexpr (is_list) {
                if (value.empty())
                    value.reserve(count(from_here, attribute.type));
                result = get_element(attribute, field.name, field.presence, unknown, value.emplace_back());
            } else {
                result = get(attribute, field.name, unknown, value);
            }
        });
        if (!known && unknown == Unknown::refuse)
            return refuse_at(attribute.offset, fmt::format("attribute {}: is unknown here", attribute.type));
        if (!result)
            return result;
    }
    return {};
}

template <HasSchema T>
Decoded<> check_complete(Seen seen, std::optional<std::uint32_t> nest) {
    Decoded<> result;
    for_each_field<T>([&](const auto& field, unsigned position) {
        if (!result || field.presence != Presence::required || (seen & (Seen{1} << position)) != 0)
            return;
        Refusal refusal{{Errc::invalid, fmt::format("{}: is missing", field.name), field.name}};
        refusal.missing_type = field.type;
        refusal.missing_nest = nest;
        result = std::unexpected(std::move(refusal));
    });
    return result;
}

/// The nlmsghdr of a packet that holds exactly one message.
Decoded<> open_header(std::span<const std::uint8_t> packet, nlmsghdr& header) {
    if (!packet.empty())
        std::memcpy(&header, packet.data(), std::min(packet.size(), sizeof header));
    if (packet.size() < sizeof header)
        return refuse({Errc::invalid,
                       fmt::format("nlmsghdr: the packet has {} bytes, must have at least 16", packet.size()),
                       {}});
    if (header.nlmsg_len != packet.size())
        return refuse({Errc::invalid,
                       fmt::format("nlmsg_len: is {}, but the packet has {} bytes; must be one whole "
                                   "message",
                                   header.nlmsg_len, packet.size()),
                       {}});
    return {};
}

Decoded<Received> open_family_header(std::span<const std::uint8_t> packet, const nlmsghdr& header) {
    constexpr std::uint32_t start = sizeof(nlmsghdr) + sizeof(pz_control_header);
    pz_control_header family;
    if (packet.size() < start)
        return refuse(
            {Errc::invalid,
             fmt::format("pz_control_header: the message has {} bytes, must have at least {}", packet.size(), start),
             {}});
    std::memcpy(&family, packet.data() + sizeof(nlmsghdr), sizeof family);
    if (family.version != PZ_CONTROL_VERSION)
        return refuse({Errc::unsupported, fmt::format("version: is {}, must be {}", family.version, PZ_CONTROL_VERSION),
                       "version"});
    if (family.reserved[0] != 0 || family.reserved[1] != 0 || family.reserved[2] != 0)
        return refuse({Errc::invalid,
                       fmt::format("reserved: is {} {} {}, must be zero", family.reserved[0], family.reserved[1],
                                   family.reserved[2]),
                       "reserved"});
    return Received{header, {}, packet.subspan(start), start};
}

} // namespace

std::unexpected<Refusal> refuse(Error error, std::optional<std::uint32_t> offset) {
    return std::unexpected(Refusal{std::move(error), offset});
}

std::span<const std::uint8_t> Message::bytes() const {
    const nlmsghdr* header = nlmsg_hdr(message_.get());
    return {reinterpret_cast<const std::uint8_t*>(header), header->nlmsg_len};
}

void Message::Free::operator()(nl_msg* message) const {
    nlmsg_free(message);
}

template <HasSchema T>
Result<Message> encode(const Header& header, const T& body) {
    constexpr std::size_t mostly_enough = 2048; // to set a whole message to zero takes longer than to fill it
    for (const std::size_t size : {mostly_enough, std::size_t{PZ_CONTROL_MAX_MESSAGE}}) {
        Message message = allocate(size);
        nlmsghdr* put = nlmsg_put(message.get(), header.port, header.sequence, header.type, sizeof(pz_control_header),
                                  header.flags);
        const pz_control_header family{PZ_CONTROL_VERSION, {}};
        std::memcpy(nlmsg_data(put), &family, sizeof family);
        if (put_fields(message.get(), body))
            return message;
    }
    return fail(Errc::limit, fmt::format("the message would be longer than {} bytes", PZ_CONTROL_MAX_MESSAGE),
                "nlmsg_len");
}

Message encode_acknowledgement(const nlmsghdr& request, int error, Acknowledgement acknowledgement) {
    if (acknowledgement.message.size() > max_text)
        acknowledgement.message.resize(max_text);
    Message message = allocate(2 * max_text);
    nlmsghdr* put = nlmsg_put(message.get(), request.nlmsg_pid, request.nlmsg_seq, NLMSG_ERROR, sizeof(nlmsgerr),
                              NLM_F_CAPPED | NLM_F_ACK_TLVS);
    const nlmsgerr payload{-error, request};
    std::memcpy(nlmsg_data(put), &payload, sizeof payload);
    put_fields(message.get(), acknowledgement); // 2 * max_text always has room
    return message;
}

Bytes with_header(const Header& header, ByteView attributes) {
    constexpr std::size_t start = sizeof(nlmsghdr) + sizeof(pz_control_header);
    const nlmsghdr message{static_cast<std::uint32_t>(start + attributes.size()), header.type, header.flags,
                           header.sequence, header.port};
    const pz_control_header family{PZ_CONTROL_VERSION, {}};
    Bytes bytes(start + attributes.size());
    std::memcpy(bytes.data(), &message, sizeof message);
    std::memcpy(bytes.data() + sizeof message, &family, sizeof family);
    std::ranges::copy(attributes, bytes.begin() + start);
    return bytes;
}

Message readdress(std::span<const std::uint8_t> message, const Header& header) {
    Message copy = allocate(message.size());
    nlmsghdr* put = nlmsg_hdr(copy.get());
    std::ranges::copy(message, reinterpret_cast<std::uint8_t*>(put));
    put->nlmsg_type = header.type;
    put->nlmsg_flags = header.flags;
    put->nlmsg_seq = header.sequence;
    put->nlmsg_pid = header.port;
    return copy;
}

Message encode_done(const nlmsghdr& request) {
    const int error = 0;
    Message message = allocate(64);
    nlmsghdr* put =
        nlmsg_put(message.get(), request.nlmsg_pid, request.nlmsg_seq, NLMSG_DONE, sizeof error, NLM_F_MULTI);
    std::memcpy(nlmsg_data(put), &error, sizeof error);
    return message;
}

Decoded<Received> open_request(std::span<const std::uint8_t> packet, nlmsghdr& header) {
    PZ_TRY(open_header(packet, header));
    if (header.nlmsg_type < NLMSG_MIN_TYPE)
        return refuse(
            {Errc::unsupported,
             fmt::format("nlmsg_type: {} is not a request, the first one is {}", header.nlmsg_type, NLMSG_MIN_TYPE),
             {}});
    return open_family_header(packet, header);
}

Decoded<Received> open_answer(std::span<const std::uint8_t> packet) {
    nlmsghdr header{};
    PZ_TRY(open_header(packet, header));
    if (header.nlmsg_type != NLMSG_ERROR && header.nlmsg_type != NLMSG_DONE)
        return open_family_header(packet, header);
    Received received{header, {}, {}, 0};
    const std::size_t fixed = header.nlmsg_type == NLMSG_ERROR ? sizeof(nlmsgerr) : sizeof(int);
    if (packet.size() < sizeof header + fixed)
        return refuse({Errc::invalid, "the answer is too short", {}});
    std::memcpy(&received.error, packet.data() + sizeof header, fixed);
    received.offset = static_cast<std::uint32_t>(sizeof header + fixed);
    received.attributes = packet.subspan(received.offset);
    return received;
}

template <HasSchema T>
Decoded<T> decode(const Received& message, Unknown unknown) {
    T body{};
    Seen seen = 0;
    PZ_TRY(get_fields(message.attributes, message.offset, unknown, body, seen));
    PZ_TRY(check_complete<T>(seen, std::nullopt));
    return body;
}

Decoded<> decode_part(const Received& message, HostConfig& config, Seen& seen) {
    return get_fields(message.attributes, message.offset, Unknown::refuse, config, seen);
}

std::vector<ByteView> payloads(const Received& message) {
    std::vector<ByteView> all;
    auto rest = message.attributes;
    std::uint32_t offset = message.offset;
    while (!rest.empty()) {
        const auto attribute = next_attribute(rest, offset);
        if (!attribute)
            break;
        all.push_back(attribute->payload);
    }
    return all;
}

template <HasSchema T>
std::optional<std::uint32_t> find_attribute(const Received& message, std::string_view name) {
    std::optional<std::uint32_t> found;
    auto rest = message.attributes;
    std::uint32_t offset = message.offset;
    while (!rest.empty()) {
        const auto attribute = next_attribute(rest, offset);
        if (!attribute)
            return std::nullopt;
        bool matches = false;
        for_each_field<T>([&, type = attribute->type](const auto& field, unsigned) {
            matches |= field.type == type && field.name == name;
        });
        if (matches && found)
            return std::nullopt;
        if (matches)
            found = attribute->offset;
    }
    return found;
}

int to_errno(Errc code) {
    switch (code) {
    case Errc::invalid:
        return EINVAL;
    case Errc::exists:
        return EEXIST;
    case Errc::not_found:
        return ENOENT;
    case Errc::busy:
        return EBUSY;
    case Errc::limit:
        return ENOSPC;
    case Errc::permission:
        return EPERM;
    case Errc::unsupported:
        return EOPNOTSUPP;
    case Errc::system:
        break;
    }
    return EIO;
}

Errc from_errno(int error) {
    for (const Errc code :
         {Errc::invalid, Errc::exists, Errc::not_found, Errc::busy, Errc::limit, Errc::permission, Errc::unsupported})
        if (to_errno(code) == error)
            return code;
    return Errc::system;
}

template Result<Message> encode(const Header&, const Nothing&);
template Result<Message> encode(const Header&, const HostName&);
template Result<Message> encode(const Header&, const HostConfig&);
template Result<Message> encode(const Header&, const HostList&);
template Result<Message> encode(const Header&, const HostStatus&);
template Result<Message> encode(const Header&, const Capabilities&);
template Result<Message> encode(const Header&, const DaemonStatus&);
template Result<Message> encode(const Header&, const Counter&);
template Result<Message> encode(const Header&, const EventsWanted&);
template Result<Message> encode(const Header&, const Event&);
template Result<Message> encode(const Header&, const Wake&);
template Result<Message> encode(const Header&, const ExplainRequest&);
template Result<Message> encode(const Header&, const Explanation&);
template Decoded<Nothing> decode(const Received&, Unknown);
template Decoded<HostName> decode(const Received&, Unknown);
template Decoded<HostConfig> decode(const Received&, Unknown);
template Decoded<HostList> decode(const Received&, Unknown);
template Decoded<HostStatus> decode(const Received&, Unknown);
template Decoded<Capabilities> decode(const Received&, Unknown);
template Decoded<DaemonStatus> decode(const Received&, Unknown);
template Decoded<Counter> decode(const Received&, Unknown);
template Decoded<EventsWanted> decode(const Received&, Unknown);
template Decoded<Event> decode(const Received&, Unknown);
template Decoded<Wake> decode(const Received&, Unknown);
template Decoded<ExplainRequest> decode(const Received&, Unknown);
template Decoded<Explanation> decode(const Received&, Unknown);
template Decoded<Acknowledgement> decode(const Received&, Unknown);
template std::optional<std::uint32_t> find_attribute<HostConfig>(const Received&, std::string_view);
template std::optional<std::uint32_t> find_attribute<ExplainRequest>(const Received&, std::string_view);

} // namespace pz::control
