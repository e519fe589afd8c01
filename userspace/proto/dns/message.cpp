// SPDX-License-Identifier: Apache-2.0
// DNS messages: ldns reads and writes names with their compression, and the fields around them are plain numbers.
//
// Not ldns_wire2pkt(): it takes OPT and TSIG out of the sections, parses dozens of types that concern nobody here, goes
// on in the middle of data that is longer than its type says, and lets a name end behind its record.
#include "proto/dns/message.h"

#include <fmt/format.h>
#include <ldns/ldns.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <ranges>

namespace pz::dns {
namespace {

constexpr std::uint16_t top_bit = 0x8000;
constexpr std::size_t header_size = 12;

constexpr char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; // RFC 6762 §16: ASCII alone
}

// Lengths of labels are below 64, so that lower() leaves them alone.
bool equal_ignoring_case(std::string_view a, std::string_view b) {
    return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view as_text(ByteView bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void append16(Bytes& out, unsigned value) {
    out.push_back(static_cast<std::uint8_t>(value >> 8));
    out.push_back(static_cast<std::uint8_t>(value));
}

void append(Bytes& out, const Name& name) {
    out.insert(out.end(), name.wire().begin(), name.wire().end());
}

/// Where in the data of this type a name stands; nullopt: there is none, or it is never compressed.
std::optional<std::size_t> name_offset(std::uint16_t type) {
    switch (type) {
    case type::ptr:
    case type::cname:
    case type::nsec:
        return 0;
    case type::srv:
        return 6;
    default:
        return std::nullopt;
    }
}

/// The size of an uncompressed name at the start of `bytes`; 0 if it is none.
std::size_t name_size(ByteView bytes) {
    std::size_t at = 0;
    while (at < bytes.size() && at < max_name && bytes[at] <= max_label) {
        if (bytes[at] == 0)
            return at + 1;
        at += bytes[at] + std::size_t{1};
    }
    return 0;
}

struct FreeRdf {
    void operator()(ldns_rdf* rdf) const { ldns_rdf_deep_free(rdf); }
};
using Rdf = std::unique_ptr<ldns_rdf, FreeRdf>;

/// Reads one field after another; each error says at which byte.
class Reader {
public:
    explicit Reader(ByteView bytes) : bytes_(bytes) {}

    [[nodiscard]] std::size_t position() const { return position_; }

    Result<std::uint16_t> read16(const char* what) {
        const ByteView field = PZ_TRY(read(2, what));
        return ldns_read_uint16(field.data());
    }
    Result<std::uint32_t> read32(const char* what) {
        const ByteView field = PZ_TRY(read(4, what));
        return ldns_read_uint32(field.data());
    }
    Result<ByteView> read(std::size_t size, const char* what) {
        if (size > bytes_.size() - position_)
            return error(fmt::format("the message ends within {}", what));
        position_ += size;
        return bytes_.subspan(position_ - size, size);
    }

    Result<Name> read_name() {
        PZ_TRY(check_name());
        ldns_rdf* read = nullptr;
        const ldns_status status = ldns_wire2dname(&read, bytes_.data(), bytes_.size(), &position_);
        const Rdf name(read);
        if (status != LDNS_STATUS_OK)
            return error(fmt::format("no name: {}", ldns_get_errorstr_by_id(status)));
        return Name::from_wire({ldns_rdf_data(read), ldns_rdf_size(read)});
    }

private:
    [[nodiscard]] std::unexpected<Error> error(const std::string& what) const {
        return fail(Errc::invalid, fmt::format("{} at byte {}", what, position_));
    }

    /// ldns follows up to 65,535 pointers, forward too.  Here each leads to what comes before the labels that it ends
    /// (RFC 1035 §4.1.4: "a prior occurrence"), so that there are no loops, and there are not more than labels fit in.
    [[nodiscard]] Result<> check_name() const {
        constexpr std::size_t max_pointers = max_name / 2;
        std::size_t at = position_;
        std::size_t part = position_;
        std::size_t size = 0;
        for (std::size_t pointers = 0;;) {
            if (at >= bytes_.size())
                return error("the message ends within a name");
            const std::uint8_t length = bytes_[at];
            if (length > max_label) {
                if (length < 0xc0)
                    return error("a label of an unknown kind");
                if (at + 1 >= bytes_.size())
                    return error("the message ends within a compressed name");
                const std::size_t target = static_cast<std::size_t>(length & 0x3f) << 8 | bytes_[at + 1];
                if (target >= part || ++pointers > max_pointers)
                    return error("a compressed name that does not lead to an earlier one");
                if (target < header_size)
                    return error("a compressed name that leads into the header");
                at = part = target;
                continue;
            }
            size += length + std::size_t{1};
            if (size > max_name)
                return error("a name of more than 255 bytes");
            if (length == 0)
                return {};
            at += length + std::size_t{1};
        }
    }

    ByteView bytes_;
    std::size_t position_ = 0;
};

Result<Question> read_question(Reader& reader) {
    Question question;
    question.name = PZ_TRY(reader.read_name());
    question.type = PZ_TRY(reader.read16("a question"));
    const std::uint16_t whole = PZ_TRY(reader.read16("a question"));
    question.klass = whole & static_cast<std::uint16_t>(~top_bit);
    question.top_bit = (whole & top_bit) != 0;
    return question;
}

Result<Record> read_record(Reader& reader) {
    Record record;
    record.name = PZ_TRY(reader.read_name());
    record.type = PZ_TRY(reader.read16("a record"));
    const std::uint16_t whole = PZ_TRY(reader.read16("a record"));
    record.klass = whole & static_cast<std::uint16_t>(~top_bit);
    record.top_bit = (whole & top_bit) != 0;
    record.ttl = PZ_TRY(reader.read32("a record"));
    const std::size_t length = PZ_TRY(reader.read16("a record"));
    const std::size_t start = reader.position();
    const auto wrong = [&] {
        return fail(Errc::invalid,
                    fmt::format("data of {} bytes that is none of type {} at byte {}", length, record.type, start));
    };

    if ((record.type == type::a && length != 4) || (record.type == type::aaaa && length != 16))
        return wrong();
    const auto offset = name_offset(record.type);
    if (!offset) {
        const ByteView data = PZ_TRY(reader.read(length, "a record's data"));
        record.rdata.assign(data.begin(), data.end());
        return record;
    }
    if (length <= *offset)
        return wrong();
    const ByteView before = PZ_TRY(reader.read(*offset, "a record's data"));
    record.rdata.assign(before.begin(), before.end());
    append(record.rdata, PZ_TRY(reader.read_name()));
    const std::size_t used = reader.position() - start;
    if (used > length || (used < length && record.type != type::nsec)) // a list of types follows in NSEC alone
        return wrong();
    const ByteView rest = PZ_TRY(reader.read(length - used, "a record's data"));
    record.rdata.insert(record.rdata.end(), rest.begin(), rest.end());
    return record;
}

/// Writes a message through an ldns buffer, and remembers where names stand.
class Writer {
public:
    explicit Writer(Compression compression)
        : compression_(compression), buffer_(ldns_buffer_new(LDNS_MIN_BUFLEN)),
          names_(ldns_rbtree_create(ldns_dname_compare_v)) {}

    [[nodiscard]] std::size_t size() const { return ldns_buffer_position(buffer_.get()); }

    void write16(std::uint16_t value) {
        if (ldns_buffer_reserve(buffer_.get(), 2))
            ldns_buffer_write_u16(buffer_.get(), value);
    }
    void write16_at(std::size_t position, std::size_t value) {
        ldns_buffer_write_u16_at(buffer_.get(), position, static_cast<std::uint16_t>(value));
    }
    void write(const Question& question) {
        write(question.name);
        write16(question.type);
        write16(static_cast<std::uint16_t>(question.klass | (question.top_bit ? top_bit : 0)));
    }
    void write(const Record& record) {
        write(record.name);
        write16(record.type);
        write16(static_cast<std::uint16_t>(record.klass | (record.top_bit ? top_bit : 0)));
        write16(static_cast<std::uint16_t>(record.ttl >> 16));
        write16(static_cast<std::uint16_t>(record.ttl));
        const std::size_t length_at = size();
        write16(0);
        write_data(record);
        write16_at(length_at, size() - length_at - 2);
    }
    Bytes take_first(std::size_t size) {
        const std::uint8_t* begin = ldns_buffer_begin(buffer_.get());
        return {begin, begin + size};
    }

private:
    void write(const Name& name) {
        const Rdf rdf(ldns_rdf_new_frm_data(LDNS_RDF_TYPE_DNAME, name.wire().size(), name.wire().data()));
        (void)ldns_dname2buffer_wire_compress(buffer_.get(), rdf.get(), names_.get());
    }
    void write(ByteView bytes) {
        if (!bytes.empty() && ldns_buffer_reserve(buffer_.get(), bytes.size()))
            ldns_buffer_write(buffer_.get(), bytes.data(), bytes.size());
    }
    void write_data(const Record& record) {
        const ByteView data(record.rdata);
        const auto offset = name_offset(record.type);
        const bool always = record.type == type::ptr || record.type == type::cname;
        if (!offset || *offset >= data.size()) {
            write(data);
            return;
        }
        const std::size_t name = name_size(data.subspan(*offset));
        if (name == 0 || (!always && compression_ == Compression::conventional)) {
            write(data);
            return;
        }
        write(data.first(*offset));
        if (const auto target = Name::from_wire(data.subspan(*offset, name)); target)
            write(*target);
        write(data.subspan(*offset + name));
    }

    struct FreeBuffer {
        void operator()(ldns_buffer* buffer) const { ldns_buffer_free(buffer); }
    };
    struct FreeNames {
        void operator()(ldns_rbtree_t* names) const {
            const auto free_node = [](ldns_rbnode_t* node, void*) {
                ldns_rdf_deep_free(static_cast<ldns_rdf*>(const_cast<void*>(node->key)));
                LDNS_FREE(node);
            };
            ldns_traverse_postorder(names, free_node, nullptr);
            ldns_rbtree_free(names);
        }
    };

    Compression compression_;
    std::unique_ptr<ldns_buffer, FreeBuffer> buffer_;
    std::unique_ptr<ldns_rbtree_t, FreeNames> names_;
};

/// The answers from `first` on and then the additional records, as many as fit in; `first` becomes the next one.
Bytes serialise_part(const Message& message, std::size_t& first, std::size_t limit, Compression compression) {
    Writer writer(compression);
    writer.write16(message.id);
    writer.write16(message.flags);
    writer.write16(static_cast<std::uint16_t>(message.questions.size()));
    writer.write16(0);
    writer.write16(static_cast<std::uint16_t>(message.authorities.size()));
    writer.write16(0);
    for (const Question& question : message.questions)
        writer.write(question);

    std::size_t answers = 0;
    std::size_t end = writer.size();
    for (; first < message.answers.size(); ++first, ++answers) {
        writer.write(message.answers[first]);
        if (writer.size() > limit && answers > 0)
            break;
        end = writer.size();
    }
    std::size_t additionals = 0;
    if (first == message.answers.size()) { // otherwise the buffer holds half of an answer, and more follow anyway
        for (const Record& record : message.authorities)
            writer.write(record);
        end = writer.size();
        for (const Record& record : message.additionals) {
            writer.write(record);
            if (writer.size() > limit)
                break;
            end = writer.size();
            ++additionals;
        }
    } else {
        writer.write16_at(8, 0);
    }
    writer.write16_at(6, answers);
    writer.write16_at(10, additionals);
    return writer.take_first(end);
}

} // namespace

Result<Name> Name::from_labels(std::span<const std::string> labels) {
    Name name;
    for (const auto& label : std::views::reverse(labels))
        name = PZ_TRY(name.with_label(label));
    return name;
}

Result<Name> Name::parse(std::string_view text) {
    std::vector<std::string> labels;
    std::string_view rest = text.ends_with('.') ? text.substr(0, text.size() - 1) : text;
    while (true) {
        const std::size_t dot = rest.find('.');
        labels.emplace_back(rest.substr(0, dot));
        if (dot == std::string_view::npos)
            return from_labels(labels);
        rest.remove_prefix(dot + 1);
    }
}

Name Name::reverse(const IpAddress& address) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string wire;
    const auto add = [&](std::string_view label) {
        wire += static_cast<char>(label.size());
        wire += label;
    };
    const auto octets = address.octets();
    for (const std::uint8_t octet : std::views::reverse(octets)) {
        if (address.is_v4()) {
            add(std::to_string(octet));
        } else {
            add(digits.substr(octet & 0xfU, 1));
            add(digits.substr(octet >> 4U, 1));
        }
    }
    add(address.is_v4() ? "in-addr" : "ip6");
    add("arpa");
    wire += '\0';
    Name name;
    name.wire_ = std::move(wire);
    return name;
}

Result<Name> Name::from_wire(ByteView wire) {
    if (wire.empty() || name_size(wire) != wire.size() || wire.size() > max_name)
        return fail(Errc::invalid, fmt::format("{} bytes that are no domain name", wire.size()));
    Name name;
    name.wire_ = as_text(wire);
    return name;
}

Result<Name> Name::with_label(std::string_view label) const {
    if (label.empty() || label.size() > max_label)
        return fail(Errc::invalid, fmt::format("a label of {} bytes, it takes 1 to 63", label.size()));
    if (wire_.size() + label.size() + 1 > max_name)
        return fail(Errc::invalid, "a name of more than 255 bytes");
    Name name;
    name.wire_ = static_cast<char>(label.size());
    name.wire_ += label;
    name.wire_ += wire_;
    return name;
}

std::vector<std::string_view> Name::labels() const {
    std::vector<std::string_view> labels;
    std::string_view rest = wire_;
    while (rest.front() != '\0') {
        const std::size_t length = static_cast<unsigned char>(rest.front());
        labels.push_back(rest.substr(1, length));
        rest.remove_prefix(length + 1);
    }
    return labels;
}

std::string Name::to_string() const {
    std::string text;
    for (const std::string_view label : labels()) {
        if (!text.empty())
            text += '.';
        for (const char c : label) {
            const auto byte = static_cast<unsigned char>(c);
            if (c == '.' || c == '\\')
                text += '\\';
            if (byte < 0x20 || byte == 0x7f)
                text += fmt::format("\\{:03}", byte);
            else
                text += c;
        }
    }
    return text.empty() ? "." : text;
}

bool Name::ends_with(const Name& domain) const {
    std::string_view rest = wire_;
    while (rest.size() > domain.wire_.size())
        rest.remove_prefix(static_cast<std::size_t>(rest.front()) + 1);
    return equal_ignoring_case(rest, domain.wire_);
}

bool Name::operator==(const Name& other) const {
    return equal_ignoring_case(wire_, other.wire_);
}

Record Record::address(Name name, std::uint32_t ttl, const IpAddress& address) {
    const auto octets = address.octets();
    return {.name = std::move(name),
            .type = address.is_v4() ? type::a : type::aaaa,
            .ttl = ttl,
            .rdata = {octets.begin(), octets.end()}};
}

Record Record::ptr(Name name, std::uint32_t ttl, const Name& target) {
    Record record{.name = std::move(name), .type = type::ptr, .ttl = ttl};
    append(record.rdata, target);
    return record;
}

Record Record::srv(Name name, std::uint32_t ttl, std::uint16_t port, const Name& target) {
    Record record{.name = std::move(name), .type = type::srv, .ttl = ttl, .rdata = {0, 0, 0, 0}}; // priority, weight
    append16(record.rdata, port);
    append(record.rdata, target);
    return record;
}

Record Record::txt(Name name, std::uint32_t ttl, std::span<const std::string> strings) {
    constexpr std::size_t longest = 255;
    constexpr std::size_t longest_data = 8192; // with its name it fits in a message
    Record record{.name = std::move(name), .type = type::txt, .ttl = ttl};
    for (const std::string& string : strings) {
        if (string.size() > longest || record.rdata.size() + string.size() >= longest_data)
            continue;
        record.rdata.push_back(static_cast<std::uint8_t>(string.size()));
        record.rdata.insert(record.rdata.end(), string.begin(), string.end());
    }
    if (record.rdata.empty())
        record.rdata.push_back(0);
    return record;
}

Record Record::nsec(Name name, std::uint32_t ttl, std::span<const std::uint16_t> types) {
    std::array<std::uint8_t, 32> bitmap{};
    std::size_t used = 0;
    for (const std::uint16_t type : types) {
        if (type >= bitmap.size() * 8)
            continue;
        auto& octet = bitmap[type / 8U];
        octet = static_cast<std::uint8_t>(octet | 0x80U >> type % 8U);
        used = std::max(used, type / std::size_t{8} + 1);
    }
    Record record{.name = std::move(name), .type = type::nsec, .ttl = ttl};
    append(record.rdata, record.name); // RFC 6762 §6.1: the next name is the name itself
    append16(record.rdata, static_cast<unsigned>(used));
    record.rdata.insert(record.rdata.end(), bitmap.begin(), bitmap.begin() + static_cast<std::ptrdiff_t>(used));
    return record;
}

Name Record::target() const {
    const auto offset = name_offset(type);
    if (!offset || *offset >= rdata.size())
        return {};
    const ByteView from = ByteView(rdata).subspan(*offset);
    return Name::from_wire(from.first(name_size(from))).value_or(Name{});
}

Bytes Record::canonical_rdata() const {
    Bytes canonical = rdata;
    const auto offset = name_offset(type);
    if (!offset || *offset >= rdata.size())
        return canonical;
    const std::size_t size = name_size(ByteView(rdata).subspan(*offset));
    for (auto& byte : std::span(canonical).subspan(*offset, size))
        byte = static_cast<std::uint8_t>(lower(static_cast<char>(byte)));
    return canonical;
}

bool Record::same_rdata(const Record& other) const {
    if (rdata.size() != other.rdata.size() || type != other.type)
        return false;
    return rdata == other.rdata || (name_offset(type) && canonical_rdata() == other.canonical_rdata());
}

bool Record::same_as(const Record& other) const {
    return type == other.type && klass == other.klass && name == other.name && same_rdata(other);
}

Result<Message> parse(ByteView bytes) {
    if (bytes.size() > max_message)
        return fail(Errc::invalid,
                    fmt::format("a message of {} bytes, it takes at most {}", bytes.size(), max_message));
    Reader reader(bytes);
    Message message;
    message.id = PZ_TRY(reader.read16("the header"));
    message.flags = PZ_TRY(reader.read16("the header"));
    std::array<std::uint16_t, 4> counts{};
    for (std::uint16_t& count : counts)
        count = PZ_TRY(reader.read16("the header"));
    // Nothing is reserved for what the counts claim.
    for (unsigned i = 0; i < counts[0]; ++i)
        message.questions.push_back(PZ_TRY(read_question(reader)));
    const std::array sections = {&message.answers, &message.authorities, &message.additionals};
    for (std::size_t section = 0; section < sections.size(); ++section)
        for (unsigned i = 0; i < counts[section + 1]; ++i)
            sections[section]->push_back(PZ_TRY(read_record(reader)));
    return message;
}

Bytes serialise(const Message& message, Compression compression) {
    std::size_t first = 0;
    return serialise_part(message, first, SIZE_MAX, compression);
}

std::vector<Bytes> serialise_split(const Message& message, std::size_t limit, Compression compression) {
    std::vector<Bytes> parts;
    std::size_t first = 0;
    do {
        parts.push_back(serialise_part(message, first, limit, compression));
    } while (first < message.answers.size());
    return parts;
}

} // namespace pz::dns

std::size_t std::hash<pz::dns::Name>::operator()(const pz::dns::Name& name) const noexcept {
    std::size_t sum = 14695981039346656037U; // FNV-1a
    for (const char c : name.wire())
        sum = (sum ^ static_cast<unsigned char>(pz::dns::lower(c))) * 1099511628211U;
    return sum;
}
