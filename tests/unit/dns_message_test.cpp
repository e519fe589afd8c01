// SPDX-License-Identifier: Apache-2.0
// The DNS codec: bytes as they stand on the wire, names of any bytes, and what it refuses.
#include "proto/dns/message.h"

#include <gtest/gtest.h>

#include <unordered_set>

namespace pz::dns {
namespace {

Name name_of(std::string_view text) {
    return Name::parse(text).value();
}

Bytes bytes_of(std::string_view text) {
    return {text.begin(), text.end()};
}

/// A header with these counts, then `rest`.
Bytes message_of(std::initializer_list<std::uint8_t> counts, std::string_view rest) {
    Bytes bytes = {0x12, 0x34, 0x84, 0x00};
    for (const std::uint8_t count : counts) {
        bytes.push_back(0);
        bytes.push_back(count);
    }
    bytes.insert(bytes.end(), rest.begin(), rest.end());
    return bytes;
}

using namespace std::string_view_literals;

TEST(DnsName, TextAndWire) {
    EXPECT_EQ(name_of("desk.local").wire(), "\4desk\5local\0"sv);
    EXPECT_EQ(name_of("desk.local.").wire(), "\4desk\5local\0"sv);
    EXPECT_EQ(name_of("desk.local").to_string(), "desk.local");
    EXPECT_EQ(Name().to_string(), ".");
    EXPECT_FALSE(Name::parse(""));
    EXPECT_FALSE(Name::parse("desk..local"));
    EXPECT_FALSE(Name::parse(std::string(64, 'a') + ".local"));
    EXPECT_TRUE(Name::parse(std::string(63, 'a') + ".local"));
}

TEST(DnsName, ALabelIsBytes) {
    const std::vector<std::string> labels = {"My.desk \\ printer", "B\xc3\xbcro", "local"};
    const Name name = Name::from_labels(labels).value();
    EXPECT_EQ(name.wire(), "\x11My.desk \\ printer\5B\xc3\xbcro\5local\0"sv);
    EXPECT_EQ(name.to_string(), "My\\.desk \\\\ printer.B\xc3\xbcro.local");
    const auto back = name.labels();
    EXPECT_TRUE(std::equal(back.begin(), back.end(), labels.begin(), labels.end()));
    EXPECT_NE(name_of("My.desk.local"), name_of("desk.local").with_label("my").value().with_label("x").value());
    EXPECT_NE(name_of("a.b.local"), name_of("local").with_label("a.b").value());
}

TEST(DnsName, CaseIsKeptAndDoesNotCount) {
    EXPECT_EQ(name_of("DESK.Local"), name_of("desk.lOCAL"));
    EXPECT_EQ(name_of("DESK.Local").to_string(), "DESK.Local");
    EXPECT_EQ(std::hash<Name>()(name_of("DESK.Local")), std::hash<Name>()(name_of("desk.lOCAL")));
    // RFC 6762 §16: letters outside of ASCII are what they are.
    EXPECT_NE(name_of("B\xc3\x9c.local"), name_of("b\xc3\xbc.local"));
    EXPECT_NE(name_of("desk@.local"), name_of("desk`.local"));
    std::unordered_set<Name> set = {name_of("a.local")};
    EXPECT_TRUE(set.contains(name_of("A.LOCAL")));
}

TEST(DnsName, IsAtMost255Bytes) {
    Name name;
    for (int i = 0; i < 3; ++i)
        name = name.with_label(std::string(63, 'x')).value();
    EXPECT_FALSE(name.with_label(std::string(62, 'y')));
    name = name.with_label(std::string(61, 'y')).value();
    EXPECT_EQ(name.wire().size(), 255U);
    EXPECT_TRUE(Name::from_wire(bytes_of(name.wire())));
    EXPECT_FALSE(Name::from_wire({}));
    EXPECT_FALSE(Name::from_wire(bytes_of("\4desk"sv)));
    EXPECT_FALSE(Name::from_wire(bytes_of("\4desk\0x"sv)));
}

TEST(DnsName, ReverseNames) {
    EXPECT_EQ(Name::reverse(IpAddress::v4({169, 254, 1, 200})).to_string(), "200.1.254.169.in-addr.arpa");
    EXPECT_EQ(Name::reverse(IpAddress::parse("2001:db8::ab").value()).to_string(),
              "b.a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
}

TEST(DnsName, EndsWithADomainByWholeLabels) {
    EXPECT_TRUE(name_of("desk.local").ends_with(name_of("LOCAL")));
    EXPECT_TRUE(name_of("local").ends_with(name_of("local")));
    EXPECT_FALSE(name_of("desk.thelocal").ends_with(name_of("local")));
    EXPECT_FALSE(name_of("local").ends_with(name_of("desk.local")));
}

TEST(DnsMessage, ReadsAQuestion) {
    const Message message = parse(message_of({1, 0, 0, 0}, "\4desk\5local\0\0\x1c\x80\1"sv)).value();
    EXPECT_EQ(message.id, 0x1234);
    EXPECT_EQ(message.flags, 0x8400);
    ASSERT_EQ(message.questions.size(), 1U);
    EXPECT_EQ(message.questions[0], (Question{name_of("desk.local"), type::aaaa, klass::in, true}));
}

TEST(DnsMessage, ReadsCompressedNamesInData) {
    // A PTR at 12 whose target ends in its own name, an SRV whose target is a pointer, an NSEC, a CNAME.
    const Message message =
        parse(message_of({0, 2, 1, 1}, "\4_ipp\4_tcp\5local\0\0\x0c\0\1\0\0\0\x78\0\7\4desk\xc0\x0c"
                                       "\xc0\x27\0\x21\x80\1\0\0\0\x78\0\x0d\0\1\0\2\2\x77\4Desk\xc0\x16"
                                       "\xc0\x40\0\x2f\x80\1\0\0\0\x78\0\6\xc0\x40\0\2\1\2"
                                       "\xc0\x40\0\5\0\1\0\0\0\x78\0\2\xc0\x0c"sv))
            .value();
    ASSERT_EQ(message.answers.size(), 2U);
    EXPECT_EQ(message.answers[0], Record::ptr(name_of("_ipp._tcp.local"), 120, name_of("desk._ipp._tcp.local")));
    const Record& srv = message.answers[1];
    EXPECT_EQ(srv.name, name_of("desk._ipp._tcp.local"));
    EXPECT_TRUE(srv.top_bit);
    EXPECT_EQ(srv.rdata, bytes_of("\0\1\0\2\2\x77\4Desk\5local\0"sv));
    EXPECT_EQ(srv.target(), name_of("desk.local"));
    ASSERT_EQ(message.authorities.size(), 1U);
    EXPECT_EQ(message.authorities[0].rdata, bytes_of("\4Desk\5local\0\0\2\1\2"sv));
    ASSERT_EQ(message.additionals.size(), 1U);
    EXPECT_EQ(message.additionals[0].target(), name_of("_ipp._tcp.local"));
}

TEST(DnsMessage, KeepsTheDataOfOtherTypesAsItIs) {
    const Message message = parse(message_of({0, 0, 0, 2}, "\0\0\x29\x05\xa0\0\0\x11\x94\0\4\0\4\0\0"
                                                           "\1x\0\x12\x34\0\1\0\0\0\0\0\2\xc0\xff"sv))
                                .value();
    ASSERT_EQ(message.additionals.size(), 2U);
    EXPECT_EQ(message.additionals[0].type, type::opt);
    EXPECT_EQ(message.additionals[0].klass, 1440);
    EXPECT_EQ(message.additionals[1].rdata, bytes_of("\xc0\xff"sv));
}

struct Refused {
    const char* name;
    Bytes bytes;
    const char* error;
};
void PrintTo(const Refused& refused, std::ostream* out) {
    *out << refused.name;
}
class DnsRefuses : public testing::TestWithParam<Refused> {};

TEST_P(DnsRefuses, BySayingWhy) {
    const auto parsed = parse(GetParam().bytes);
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().code, Errc::invalid);
    EXPECT_NE(parsed.error().message.find(GetParam().error), std::string::npos) << parsed.error().message;
}

const Refused refused[] = {
    {"Nothing", {}, "ends within the header"},
    {"HalfAHeader", {0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}, "ends within the header"},
    {"NoQuestion", message_of({1, 0, 0, 0}, ""), "ends within a name"},
    {"HalfAName", message_of({1, 0, 0, 0}, "\4des"sv), "ends within a name"},
    {"NameWithoutEnd", message_of({1, 0, 0, 0}, "\4desk"sv), "ends within a name"},
    {"HalfAQuestion", message_of({1, 0, 0, 0}, "\4desk\0\0\1\0"sv), "ends within a question"},
    {"FewerQuestionsThanClaimed", message_of({2, 0, 0, 0}, "\4desk\0\0\1\0\1"sv), "ends within a name"},
    {"HalfAPointer", message_of({1, 0, 0, 0}, "\4desk\xc0"sv), "ends within a compressed name"},
    {"PointerToItself", message_of({1, 0, 0, 0}, "\xc0\x0c\0\1\0\1"sv), "does not lead to an earlier one"},
    {"LoopThroughALabel", message_of({1, 0, 0, 0}, "\4desk\xc0\x0c\0\1\0\1"sv), "does not lead to an earlier one"},
    {"TwoPointersInALoop", message_of({2, 0, 0, 0}, "\1a\xc0\x12\0\1\xc0\x0c\0\1\0\1"sv),
     "does not lead to an earlier"},
    {"PointerForward", message_of({1, 0, 0, 0}, "\xc0\x12\0\1\0\1\4desk\0"sv), "does not lead to an earlier one"},
    {"PointerBehindTheEnd", message_of({1, 0, 0, 0}, "\xff\xff\0\1\0\1"sv), "does not lead to an earlier one"},
    {"PointerIntoTheHeader", message_of({1, 0, 0, 0}, "\xc0\x05\0\1\0\1"sv), "leads into the header"},
    {"ExtendedLabel", message_of({1, 0, 0, 0}, "\x41x\0\0\1\0\1"sv), "a label of an unknown kind"},
    {"HalfARecord", message_of({0, 1, 0, 0}, "\4desk\0\0\1\0\1\0\0\0"sv), "ends within a record"},
    {"LessDataThanClaimed", message_of({0, 1, 0, 0}, "\4desk\0\0\x10\0\1\0\0\0\0\0\4abc"sv),
     "ends within a record's data"},
    {"ShortA", message_of({0, 1, 0, 0}, "\4desk\0\0\1\0\1\0\0\0\0\0\3abc"sv), "none of type 1 "},
    {"LongA", message_of({0, 1, 0, 0}, "\4desk\0\0\1\0\1\0\0\0\0\0\5abcde"sv), "none of type 1 "},
    {"ShortAaaa", message_of({0, 1, 0, 0}, "\4desk\0\0\x1c\0\1\0\0\0\0\0\4abcd"sv), "none of type 28"},
    {"EmptyPtr", message_of({0, 1, 0, 0}, "\4desk\0\0\x0c\0\1\0\0\0\0\0\0\0"sv), "none of type 12"},
    {"PtrLongerThanItsName", message_of({0, 1, 0, 0}, "\4desk\0\0\x0c\0\1\0\0\0\0\0\3\xc0\x0cx"sv), "none of type 12"},
    {"PtrWhoseNameEndsBehindIt", message_of({0, 1, 0, 0}, "\4desk\0\0\x0c\0\1\0\0\0\0\0\2\4desk\0"sv),
     "none of type 12"},
    {"SrvWithoutTarget", message_of({0, 1, 0, 0}, "\4desk\0\0\x21\0\1\0\0\0\0\0\6\0\0\0\0\0\1"sv), "none of type 33"},
    {"MoreThan9000Bytes", Bytes(9001, 0), "9001 bytes"},
};
INSTANTIATE_TEST_SUITE_P(Dns, DnsRefuses, testing::ValuesIn(refused),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(DnsMessage, RefusesANameThatPointersMakeLongerThan255Bytes) {
    std::string rest;
    std::size_t previous = 0;
    for (int i = 0; i < 5; ++i) { // each a label of 63 bytes in front of the one before
        const std::size_t at = 12 + rest.size();
        rest += '\x3f' + std::string(63, 'x');
        rest += previous == 0 ? std::string(1, '\0')
                              : std::string{static_cast<char>(0xc0 | previous >> 8), static_cast<char>(previous)};
        rest += "\0\1\0\1"sv;
        previous = at;
    }
    EXPECT_TRUE(parse(message_of({3, 0, 0, 0}, rest)));
    const auto parsed = parse(message_of({5, 0, 0, 0}, rest));
    ASSERT_FALSE(parsed);
    EXPECT_NE(parsed.error().message.find("more than 255 bytes"), std::string::npos) << parsed.error().message;
}

TEST(DnsMessage, PointersToPointersAreBounded) {
    // Each question is a pointer to the one before: an n-th of them would follow n pointers.
    std::string rest("\1x\0\0\1\0\1"sv);
    std::size_t previous = 12;
    for (int i = 0; i < 200; ++i) {
        const std::size_t at = 12 + rest.size();
        rest += {static_cast<char>(0xc0 | previous >> 8), static_cast<char>(previous), 0, 1, 0, 1};
        previous = at;
    }
    EXPECT_TRUE(parse(message_of({100, 0, 0, 0}, rest)));
    EXPECT_FALSE(parse(message_of({200, 0, 0, 0}, rest)));
}

TEST(DnsMessage, WritesWithCompression) {
    const Name service = name_of("_ipp._tcp.local");
    const Name instance = name_of("Desk._ipp._tcp.local");
    Message message{.id = 7, .flags = 0x8400};
    message.questions = {{service, type::ptr, klass::in, true}};
    message.answers = {Record::ptr(service, 4500, instance)};
    message.additionals = {Record::srv(instance, 120, 631, name_of("desk.local")),
                           Record::address(name_of("DESK.local"), 120, IpAddress::v4({192, 0, 2, 1}))};
    message.additionals[1].top_bit = true;
    const auto head = "\0\7\x84\0\0\1\0\1\0\0\0\2"
                      "\4_ipp\4_tcp\5local\0\0\x0c\x80\1"
                      "\xc0\x0c\0\x0c\0\1\0\0\x11\x94\0\7\4Desk\xc0\x0c"
                      "\xc0\x2d\0\x21\0\1\0\0\0\x78"sv;
    EXPECT_EQ(serialise(message),
              bytes_of(std::string(head) + std::string("\0\x12\0\0\0\0\2\x77\4desk\5local\0"
                                                       "\4DESK\xc0\x16\0\1\x80\1\0\0\0\x78\0\4\xc0\0\2\1"sv)));
    EXPECT_EQ(serialise(message, Compression::multicast),
              bytes_of(std::string(head) + std::string("\0\x0d\0\0\0\0\2\x77\4desk\xc0\x16"
                                                       "\xc0\x46\0\1\x80\1\0\0\0\x78\0\4\xc0\0\2\1"sv)));
    EXPECT_EQ(parse(serialise(message)).value(), message);
    EXPECT_EQ(parse(serialise(message, Compression::multicast)).value(), message);
}

TEST(DnsMessage, NsecListsTypesAndNothingBehindThem) {
    const std::uint16_t both[] = {type::a, type::aaaa};
    EXPECT_EQ(Record::nsec(name_of("desk.local"), 120, both).rdata, bytes_of("\4desk\5local\0\0\4\x40\0\0\x08"sv));
    const std::uint16_t ptr[] = {type::ptr};
    EXPECT_EQ(Record::nsec(name_of("x"), 120, ptr).rdata, bytes_of("\1x\0\0\2\0\x08"sv));
    Message message{.answers = {Record::nsec(name_of("desk.local"), 120, both)}};
    EXPECT_EQ(serialise(message, Compression::multicast),
              bytes_of("\0\0\0\0\0\0\0\1\0\0\0\0\4desk\5local\0\0\x2f\0\1\0\0\0\x78\0\x08\xc0\x0c\0\4\x40\0\0\x08"sv));
}

TEST(DnsMessage, TxtData) {
    const std::vector<std::string> strings = {"a=1", "flag", std::string(256, 'x')};
    EXPECT_EQ(Record::txt(name_of("x"), 1, strings).rdata, bytes_of("\3a=1\4flag"sv));
    EXPECT_EQ(Record::txt(name_of("x"), 1, {}).rdata, bytes_of("\0"sv));
}

TEST(DnsMessage, RecordsThatSayTheSame) {
    const Record record = Record::ptr(name_of("_ipp._tcp.local"), 4500, name_of("Desk._ipp._tcp.local"));
    Record other = Record::ptr(name_of("_IPP._tcp.local"), 10, name_of("desk._ipp._TCP.local"));
    other.top_bit = true;
    EXPECT_TRUE(record.same_as(other));
    EXPECT_EQ(record.canonical_rdata(), other.canonical_rdata());
    EXPECT_FALSE(record.same_as(Record::ptr(record.name, 4500, name_of("Disk._ipp._tcp.local"))));
    EXPECT_FALSE(record.same_as(Record::ptr(name_of("_ssh._tcp.local"), 4500, record.target())));
    // Text is what it is.
    const std::string lower[] = {"a=x"};
    const std::string upper[] = {"A=x"};
    EXPECT_FALSE(Record::txt(record.name, 1, lower).same_as(Record::txt(record.name, 1, upper)));
    EXPECT_FALSE(Record::srv(record.name, 1, 80, record.name).same_as(Record::srv(record.name, 1, 81, record.name)));
}

TEST(DnsMessage, IsSplitBetweenAnswers) {
    Message message{.flags = 0x8400};
    for (int i = 0; i < 100; ++i)
        message.answers.push_back(
            Record::ptr(name_of("_ipp._tcp.local"), 4500, name_of("printer" + std::to_string(i) + "._ipp._tcp.local")));
    for (int i = 0; i < 100; ++i)
        message.additionals.push_back(Record::address(name_of("h" + std::to_string(i) + ".local"), 120, {}));
    const auto parts = serialise_split(message, 500);
    std::vector<Record> answers;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        EXPECT_LE(parts[i].size(), 500U);
        const Message part = parse(parts[i]).value();
        EXPECT_FALSE(part.answers.empty());
        answers.insert(answers.end(), part.answers.begin(), part.answers.end());
        EXPECT_TRUE(i + 1 == parts.size() || part.additionals.empty());
    }
    EXPECT_EQ(answers, message.answers);
    EXPECT_GT(parts.size(), 3U);
    EXPECT_LE(parts.size(), 8U);
    EXPECT_EQ(serialise_split(message, SIZE_MAX), std::vector<Bytes>{serialise(message)});
}

TEST(DnsMessage, AnAnswerThatIsTooLargeGoesAlone) {
    const std::vector<std::string> strings(10, std::string(200, 'x'));
    const Message message{.answers = {Record::txt(name_of("a"), 1, {}), Record::txt(name_of("b"), 1, strings),
                                      Record::txt(name_of("c"), 1, {})}};
    const auto parts = serialise_split(message, 1440);
    ASSERT_EQ(parts.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i)
        EXPECT_EQ(parse(parts[i]).value().answers, std::vector{message.answers[i]});
}

} // namespace
} // namespace pz::dns
