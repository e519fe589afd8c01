// SPDX-License-Identifier: Apache-2.0
// The mDNS responder under virtual time: what it says, to whom, when, and what it keeps to itself.
#include "proto/mdns/responder.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace pz::mdns {
namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
namespace type = dns::type;

const IpAddress group4 = IpAddress::v4({224, 0, 0, 251});
const IpAddress group6 = IpAddress::parse("ff02::fb").value();
const IpAddress client4 = IpAddress::v4({192, 0, 2, 99});
const IpAddress client6 = IpAddress::parse("fe80::99").value();
const IpAddress desk4 = IpAddress::v4({192, 0, 2, 1});
const IpAddress desk_link_local = IpAddress::v4({169, 254, 7, 8});
const IpAddress desk6 = IpAddress::parse("2001:db8::1").value();
const IpAddress printer4 = IpAddress::v4({192, 0, 2, 2});

constexpr Host desk = 1;
constexpr Host printer = 2;

dns::Name name_of(std::string_view text) {
    return dns::Name::parse(text).value();
}
const dns::Name desk_name = name_of("desk.local");
const dns::Name ipp = name_of("_ipp._tcp.local");
const dns::Name ssh = name_of("_ssh._tcp.local");
const dns::Name directory = name_of("_services._dns-sd._udp.local");
const dns::Name instance = ipp.with_label("My.desk printer").value();

Offer desk_offer() {
    return {.hostnames = {"desk.local"},
            .services = {{.type = "_ipp._tcp",
                          .subtypes = {"_universal"},
                          .port = 631,
                          .instance = "My.desk printer",
                          .txt = {"rp=ipp/print"}}},
            .addresses = {desk4, desk6}};
}
Offer printer_offer() {
    return {.hostnames = {"printer.local"}, .services = {{.type = "_ipp._tcp", .port = 631}}, .addresses = {printer4}};
}

dns::Question ask(const dns::Name& name, std::uint16_t type, bool unicast = false) {
    return {name, type, dns::klass::in, unicast};
}

struct Query {
    std::vector<dns::Question> questions = {};
    std::vector<dns::Record> known = {};
    std::vector<dns::Record> probes = {};
    std::vector<dns::Record> additionals = {};
    bool truncated = false;
    std::uint16_t id = 0;
    IpAddress source = client4;
    std::uint16_t port = mdns::port;
    std::optional<IpAddress> destination = std::nullopt; // the group of the source's family
    bool on_link = true;
};

struct Heard {
    Duration after; // since the last message was sent to the responder
    Reply reply;
    dns::Message message;
};

std::vector<dns::Record> records_of_type(const std::vector<dns::Record>& records, std::uint16_t type) {
    std::vector<dns::Record> found;
    std::ranges::copy_if(records, std::back_inserter(found), [&](const auto& record) { return record.type == type; });
    return found;
}

class Mdns : public testing::Test {
protected:
    /// The host has spoken and been silent for `quiet`.
    void add(Host host, const Offer& offer, Duration quiet = 60s) {
        note(responder.set(host, offer, now));
        advance(quiet);
        heard.clear();
    }
    void send(ByteView bytes, const Query& how = {}) {
        sent = now;
        note(responder.on_message({.source = how.source,
                                   .source_port = how.port,
                                   .destination = how.destination.value_or(how.source.is_v4() ? group4 : group6),
                                   .on_link = how.on_link,
                                   .message = bytes},
                                  now));
    }
    void send(const Query& query) {
        const dns::Message message{.id = query.id,
                                   .flags = query.truncated ? dns::flag::truncated : std::uint16_t{0},
                                   .questions = query.questions,
                                   .answers = query.known,
                                   .authorities = query.probes,
                                   .additionals = query.additionals};
        send(dns::serialise(message), query);
    }
    void respond(std::vector<dns::Record> answers, IpAddress source = client4) {
        send(dns::serialise({.flags = 0x8400, .answers = std::move(answers)}), {.source = source});
    }
    void advance(Duration time) {
        const Instant end = now + time;
        while (const auto next = responder.next_deadline()) {
            if (*next > end)
                break;
            ASSERT_GE(*next, now);
            now = *next;
            note(responder.tick(now));
        }
        now = end;
        note(responder.tick(now));
    }
    std::vector<Heard> take() { return std::exchange(heard, {}); }
    /// All that comes within two seconds of the query.
    std::vector<Heard> answers_to(const Query& query) {
        send(query);
        advance(2s);
        return take();
    }
    /// The one message that comes.
    Heard answer_to(const Query& query) {
        auto all = answers_to(query);
        EXPECT_EQ(all.size(), 1U);
        return all.empty() ? Heard{} : all.front();
    }
    void note(const Outputs& outputs) {
        for (const Output& output : outputs) {
            if (const auto* conflict = std::get_if<Conflict>(&output)) {
                conflicts.push_back(*conflict);
                continue;
            }
            const auto& reply = std::get<Reply>(output);
            heard.push_back({now - sent, reply, dns::parse(reply.message).value()});
        }
    }
    [[nodiscard]] std::uint64_t ignored(Ignored reason) const {
        return responder.counters().ignored[static_cast<std::size_t>(reason)];
    }

    double fraction = 0; // of the random interval
    Responder responder{[this](Duration lowest, Duration highest) {
        return lowest + std::chrono::duration_cast<Duration>((highest - lowest) * fraction);
    }};
    Instant now{1h};
    Instant sent{1h};
    std::vector<Heard> heard;
    std::vector<Conflict> conflicts;
};

// What is read, and what is not

TEST_F(Mdns, R62_AQueryIsAnsweredOnTheGroupThatItCameBy) {
    add(desk, desk_offer());
    const Heard by4 = answer_to({.questions = {ask(desk_name, type::a)}});
    EXPECT_EQ(by4.reply.destination, group4);
    EXPECT_EQ(by4.reply.port, 5353);
    EXPECT_EQ(by4.reply.host, desk);
    const Heard by6 = answer_to({.questions = {ask(desk_name, type::a)}, .source = client6});
    EXPECT_EQ(by6.reply.destination, group6);
    // A host without an address of the family cannot be the source there.
    add(printer, printer_offer());
    EXPECT_TRUE(answers_to({.questions = {ask(name_of("printer.local"), type::a)}, .source = client6}).empty());
}

TEST_F(Mdns, R62_TheBytesOfAnAnswer) {
    add(desk, {.hostnames = {"desk.local"}, .addresses = {desk4}});
    const Heard answer = answer_to({.questions = {ask(name_of("DESK.LOCAL"), type::a)}, .id = 77});
    const auto expected = "\0\0\x84\0\0\0\0\1\0\0\0\1"
                          "\4desk\5local\0\0\1\x80\1\0\0\0\x78\0\4\xc0\0\2\1"
                          "\xc0\x0c\0\x2f\x80\1\0\0\0\x78\0\5\xc0\x0c\0\1\x40"sv;
    EXPECT_EQ(answer.reply.message, Bytes(expected.begin(), expected.end()));
}

TEST_F(Mdns, R63_AQueryToAHostsAddressIsAnsweredByThatHostToTheAsker) {
    add(desk, desk_offer());
    add(printer, printer_offer());
    const Heard answer = answer_to({.questions = {ask(ipp, type::ptr)}, .destination = desk4});
    EXPECT_EQ(answer.reply.host, desk);
    EXPECT_EQ(answer.reply.destination, client4);
    EXPECT_EQ(answer.reply.port, 5353);
    EXPECT_EQ(answer.message.answers, std::vector{dns::Record::ptr(ipp, 4500, instance)});
    EXPECT_TRUE(answers_to({.questions = {ask(name_of("printer.local"), type::a)}, .destination = desk4}).empty());
}

TEST_F(Mdns, R64_ASourceThatIsNotOnTheLinkIsIgnored) {
    add(desk, desk_offer());
    EXPECT_TRUE(answers_to({.questions = {ask(desk_name, type::a)}, .on_link = false}).empty());
    EXPECT_EQ(ignored(Ignored::not_on_link), 1U);

    const Network prefixes[] = {Network::parse("192.0.2.0/24").value(), Network::parse("2001:db8::/64").value()};
    EXPECT_TRUE(is_on_link(client4, prefixes));
    EXPECT_TRUE(is_on_link(desk6, prefixes));
    EXPECT_TRUE(is_on_link(desk_link_local, prefixes));
    EXPECT_TRUE(is_on_link(client6, prefixes));
    EXPECT_FALSE(is_on_link(IpAddress::v4({198, 51, 100, 1}), prefixes));
    EXPECT_FALSE(is_on_link(IpAddress::parse("2001:db8:1::1").value(), prefixes));
    EXPECT_FALSE(is_on_link(IpAddress::v4({0, 0, 0, 0}), prefixes));
    EXPECT_FALSE(is_on_link(IpAddress::v4({127, 0, 0, 1}), prefixes));
    EXPECT_FALSE(is_on_link(group4, prefixes));
}

TEST_F(Mdns, OtherOpcodesAndResponseCodesAreIgnored) {
    add(desk, desk_offer());
    for (const std::uint16_t flags : std::initializer_list<std::uint16_t>{0x2800, 0x0003, 0x1000}) {
        send(dns::serialise({.flags = flags, .questions = {ask(desk_name, type::a)}}));
        advance(2s);
    }
    EXPECT_TRUE(take().empty());
    EXPECT_EQ(ignored(Ignored::bad_opcode), 2U);
    EXPECT_EQ(ignored(Ignored::bad_rcode), 1U);
}

TEST_F(Mdns, MalformedMessagesAreIgnoredAndCounted) {
    add(desk, desk_offer());
    const Bytes whole = dns::serialise({.questions = {ask(desk_name, type::a)}});
    for (std::size_t size = 0; size < whole.size(); ++size)
        send(ByteView(whole).first(size));
    EXPECT_TRUE(take().empty());
    EXPECT_EQ(ignored(Ignored::malformed), whole.size());
    EXPECT_STREQ(to_string(Ignored::rate_limited), "rate-limited");
}

TEST_F(Mdns, AResponseFromAnotherPortOrToOneHostIsIgnored) {
    add(desk, desk_offer());
    const Bytes rival = dns::serialise({.flags = 0x8400, .answers = {dns::Record::address(desk_name, 120, client4)}});
    send(rival, {.port = 5354});
    send(rival, {.destination = desk4});
    EXPECT_TRUE(conflicts.empty());
    EXPECT_EQ(ignored(Ignored::wrong_port), 1U);
    EXPECT_EQ(ignored(Ignored::unsolicited), 1U);
}

TEST_F(Mdns, OneSourceIsLimitedAndOthersAreNot) {
    add(desk, desk_offer());
    for (int i = 0; i < 1000; ++i)
        send({.questions = {ask(desk_name, type::a)}, .port = 4000});
    EXPECT_EQ(take().size(), 200U);
    EXPECT_EQ(ignored(Ignored::rate_limited), 800U);
    send({.questions = {ask(desk_name, type::a)}, .source = printer4, .port = 4000});
    EXPECT_EQ(take().size(), 1U);
    advance(1s);
    for (int i = 0; i < 1000; ++i)
        send({.questions = {ask(desk_name, type::a)}, .port = 4000});
    EXPECT_EQ(take().size(), 100U);
}

TEST_F(Mdns, TheSourceLimitForgetsWhoWasSilentLongest) {
    SourceLimit limit(1, 1, 2);
    EXPECT_TRUE(limit.take(client4, now));
    EXPECT_TRUE(limit.take(desk4, now));
    EXPECT_FALSE(limit.take(client4, now));
    EXPECT_TRUE(limit.take(printer4, now)); // in the place of desk4
    EXPECT_FALSE(limit.take(client4, now));
    EXPECT_TRUE(limit.take(desk4, now));
}

TEST_F(Mdns, AQueryThatManyAnswerCountsForMore) {
    SourceLimit limit(1, 2, 2);
    EXPECT_TRUE(limit.take(client4, now));
    limit.charge(client4, 1.5);
    EXPECT_FALSE(limit.take(client4, now + 1s));
    EXPECT_TRUE(limit.take(client4, now + 2s));
    limit.charge(client4, 1e9); // but not for ever
    EXPECT_TRUE(limit.take(client4, now + 5s));
}

// To whom, and what is left out

TEST_F(Mdns, R66_AUnicastResponseForWhatWasMulticastRecently) {
    add(desk, desk_offer(), 20s); // announced 19 s ago, less than a quarter of 120 s
    const Heard unicast = answer_to({.questions = {ask(desk_name, type::a, true)}});
    EXPECT_EQ(unicast.reply.destination, client4);
    EXPECT_EQ(unicast.reply.port, 5353);
    EXPECT_EQ(unicast.message.id, 0);
    EXPECT_TRUE(unicast.message.questions.empty());
    EXPECT_EQ(unicast.after, 0s);
    EXPECT_TRUE(unicast.message.answers.at(0).top_bit);
    advance(10s);
    EXPECT_EQ(answer_to({.questions = {ask(desk_name, type::a, true)}}).reply.destination, group4);
    EXPECT_EQ(answer_to({.questions = {ask(desk_name, type::a, true)}}).reply.destination, client4);
}

TEST_F(Mdns, R67_KnownAnswersAreSuppressed) {
    add(desk, desk_offer());
    const auto known = [&](std::uint32_t ttl) {
        return Query{.questions = {ask(ipp, type::ptr)}, .known = {dns::Record::ptr(ipp, ttl, instance)}};
    };
    EXPECT_TRUE(answers_to(known(4500)).empty());
    EXPECT_TRUE(answers_to(known(2250)).empty());
    EXPECT_EQ(answers_to(known(2249)).size(), 1U);
    // Other data are another answer.
    EXPECT_EQ(answers_to({.questions = {ask(ipp, type::ptr)},
                          .known = {dns::Record::ptr(ipp, 4500, ipp.with_label("other").value())}})
                  .size(),
              1U);
}

TEST_F(Mdns, R67_TheRestOfASetIsStillSent) {
    add(desk, {.hostnames = {"desk.local"}, .addresses = {desk4, desk_link_local}});
    const Heard answer =
        answer_to({.questions = {ask(desk_name, type::a)}, .known = {dns::Record::address(desk_name, 120, desk4)}});
    ASSERT_EQ(answer.message.answers.size(), 1U);
    EXPECT_TRUE(answer.message.answers[0].same_as(dns::Record::address(desk_name, 120, desk_link_local)));
    // The cache-flush bit is set, so that the known one has to go along or it would be flushed (§10.2).
    EXPECT_EQ(records_of_type(answer.message.additionals, type::a).size(), 1U);
}

TEST_F(Mdns, R68_ATruncatedQueryWaitsForTheKnownAnswersThatFollow) {
    add(desk, desk_offer());
    add(printer, printer_offer());
    fraction = 0.5;
    const Query first = {.questions = {ask(ipp, type::ptr)}, .truncated = true};
    const Query rest = {.known = {dns::Record::ptr(ipp, 4500, instance)}};

    auto heard_all = answers_to(first);
    ASSERT_EQ(heard_all.size(), 2U);
    for (const Heard& answer : heard_all)
        EXPECT_EQ(answer.after, 450ms);

    send(first);
    advance(100ms);
    send(rest);
    EXPECT_TRUE(take().empty());
    advance(2s);
    heard_all = take();
    ASSERT_EQ(heard_all.size(), 1U);
    EXPECT_EQ(heard_all[0].reply.host, printer);

    // What another source knows does not count.
    send(first);
    Query other = rest;
    other.source = desk_link_local;
    send(other);
    advance(2s);
    EXPECT_EQ(take().size(), 2U);
}

TEST_F(Mdns, R68_EachTruncatedMessageProlongsTheWaitButNotForever) {
    add(desk, desk_offer());
    fraction = 1;
    const Query first = {.questions = {ask(ipp, type::ptr)}, .truncated = true};
    send(first);
    const Instant start = now;
    advance(400ms);
    send({.known = {dns::Record::ptr(ipp, 4500, name_of("x._ipp._tcp.local"))}, .truncated = true});
    advance(450ms);
    EXPECT_TRUE(take().empty());
    advance(50ms);
    EXPECT_EQ(take().size(), 1U);
    EXPECT_EQ(now - start, 900ms);

    advance(2s);
    for (int i = 0; i < 10; ++i) {
        send(first);
        advance(400ms);
    }
    EXPECT_FALSE(take().empty());
}

TEST_F(Mdns, R68_AnotherQueryOfThatSourceDoesNotWait) {
    add(desk, desk_offer());
    send({.questions = {ask(ipp, type::ptr)}, .truncated = true});
    send({.questions = {ask(desk_name, type::a)}});
    EXPECT_EQ(take().size(), 1U);
    advance(2s);
    EXPECT_EQ(take().size(), 1U);
}

TEST_F(Mdns, R68_WaitsAreBounded) {
    Responder small([](Duration lowest, Duration) { return lowest; }, {.waits = 2, .waiting_items = 3});
    small.set(desk, desk_offer(), now);
    const auto send_to_small = [&](std::uint8_t from, const dns::Message& message) {
        return small.on_message({.source = IpAddress::v4({192, 0, 2, from}),
                                 .destination = group4,
                                 .on_link = true,
                                 .message = dns::serialise(message)},
                                now);
    };
    const dns::Message query{.flags = dns::flag::truncated, .questions = {ask(ipp, type::ptr)}};
    for (std::uint8_t i = 100; i < 104; ++i)
        send_to_small(i, query);
    EXPECT_EQ(small.counters().dropped, 2U);
    dns::Message known{.flags = dns::flag::truncated};
    for (int i = 0; i < 50; ++i)
        known.answers.push_back(dns::Record::ptr(ipp, 4500, ipp.with_label(std::to_string(i)).value()));
    send_to_small(100, known);
    now += 3s;
    small.tick(now);
    EXPECT_FALSE(small.next_deadline());
    // All room is free again.
    send_to_small(110, query);
    send_to_small(111, query);
    EXPECT_EQ(small.counters().dropped, 2U);
}

TEST_F(Mdns, R69_ANameWithoutTheTypeIsSaidToHaveNone) {
    add(printer, printer_offer());
    const dns::Name name = name_of("printer.local");
    const Heard answer = answer_to({.questions = {ask(name, type::aaaa)}});
    EXPECT_EQ(answer.after, 0s);
    const std::uint16_t types[] = {type::a};
    dns::Record nsec = dns::Record::nsec(name, 120, types);
    nsec.top_bit = true;
    EXPECT_EQ(answer.message.answers, std::vector{nsec});
    // So is the name of an instance.
    const dns::Name service = name_of("printer._ipp._tcp.local");
    const Heard none = answer_to({.questions = {ask(service, type::a)}});
    const std::uint16_t both[] = {type::txt, type::srv};
    ASSERT_EQ(none.message.answers.size(), 1U);
    EXPECT_TRUE(none.message.answers[0].same_as(dns::Record::nsec(service, 120, both)));
    // A name that others may have too is not the host's to deny.
    EXPECT_TRUE(answers_to({.questions = {ask(ipp, type::a)}}).empty());
}

TEST_F(Mdns, R69_AnyTypeAndAnyClass) {
    add(desk, desk_offer());
    const Heard answer = answer_to({.questions = {{desk_name, type::any, dns::klass::any, false}}});
    ASSERT_EQ(answer.message.answers.size(), 2U);
    EXPECT_EQ(answer.message.answers[0].type, type::a);
    EXPECT_EQ(answer.message.answers[1].type, type::aaaa);
    EXPECT_TRUE(answers_to({.questions = {{desk_name, type::a, 3, false}}}).empty());
}

TEST_F(Mdns, R70_AddressesAtOnce) {
    fraction = 1;
    add(desk, desk_offer());
    for (const std::uint16_t type : {type::a, type::aaaa}) {
        send({.questions = {ask(desk_name, type)}});
        const auto now_heard = take();
        ASSERT_EQ(now_heard.size(), 1U);
        EXPECT_EQ(now_heard[0].message.answers.at(0).type, type);
        EXPECT_TRUE(now_heard[0].message.answers[0].top_bit);
        EXPECT_EQ(now_heard[0].message.answers[0].ttl, 120U);
        advance(10s);
    }
    // Both in one query, as many resolvers ask: nobody else can answer either.
    send({.questions = {ask(desk_name, type::a), ask(desk_name, type::aaaa)}});
    ASSERT_EQ(heard.size(), 1U);
    EXPECT_EQ(take()[0].message.answers.size(), 2U);
}

TEST_F(Mdns, R70_EveryHostname) {
    add(desk, {.hostnames = {"desk.local", "Desk2.LOCAL", "desk", "desk.example.org"}, .addresses = {desk4}});
    EXPECT_EQ(answers_to({.questions = {ask(name_of("desk2.local"), type::a)}}).size(), 1U);
    EXPECT_TRUE(answers_to({.questions = {ask(name_of("desk"), type::a)}}).empty());
    EXPECT_TRUE(answers_to({.questions = {ask(name_of("desk.example.org"), type::a)}}).empty());
}

TEST_F(Mdns, R71_ReverseNamesAtOnce) {
    fraction = 1;
    add(desk, {.hostnames = {"desk.local"}, .addresses = {desk_link_local, desk4, desk6}});
    for (const IpAddress& address : {desk_link_local, desk4, desk6}) {
        send({.questions = {ask(dns::Name::reverse(address), type::ptr)}});
        const auto now_heard = take();
        ASSERT_EQ(now_heard.size(), 1U) << address.to_string();
        dns::Record expected = dns::Record::ptr(dns::Name::reverse(address), 120, desk_name);
        expected.top_bit = true;
        EXPECT_EQ(now_heard[0].message.answers, std::vector{expected});
        advance(10s);
    }
    EXPECT_TRUE(answers_to({.questions = {ask(dns::Name::reverse(printer4), type::ptr)}}).empty());
}

TEST_F(Mdns, R72_TheOtherAddressesGoAlong) {
    add(desk, {.hostnames = {"desk.local"}, .addresses = {desk4, desk_link_local, desk6}});
    const Heard by_a = answer_to({.questions = {ask(desk_name, type::a)}});
    EXPECT_EQ(by_a.message.answers.size(), 2U);
    ASSERT_EQ(by_a.message.additionals.size(), 1U);
    EXPECT_TRUE(by_a.message.additionals[0].same_as(dns::Record::address(desk_name, 120, desk6)));
    advance(10s);
    const Heard by_aaaa = answer_to({.questions = {ask(desk_name, type::aaaa)}});
    EXPECT_EQ(by_aaaa.message.answers.size(), 1U);
    EXPECT_EQ(records_of_type(by_aaaa.message.additionals, type::a).size(), 2U);
}

TEST_F(Mdns, R73_NothingIsSentWithoutAnAnswer) {
    add(desk, desk_offer());
    EXPECT_TRUE(answers_to({.questions = {ask(name_of("other.local"), type::a)}}).empty());
    EXPECT_TRUE(answers_to({.questions = {ask(name_of("other.local"), type::a)}, .port = 4000}).empty());
    EXPECT_TRUE(answers_to({}).empty());
    EXPECT_TRUE(
        answers_to({.questions = {ask(desk_name, type::a)}, .known = {dns::Record::address(desk_name, 120, desk4)}})
            .empty());
    EXPECT_EQ(responder.counters().queries, 4U);
    EXPECT_FALSE(responder.next_deadline());
}

// When

TEST_F(Mdns, R74_ServicesAfterARandomDelay) {
    add(desk, desk_offer());
    for (const auto& [part, delay] : {std::pair{0.0, 20ms}, {0.5, 70ms}, {1.0, 120ms}}) {
        fraction = part;
        for (const dns::Name& name : {ipp, name_of("_universal._sub._ipp._tcp.local"), directory}) {
            const Heard answer = answer_to({.questions = {ask(name, type::ptr)}});
            EXPECT_EQ(answer.after, delay);
            ASSERT_EQ(answer.message.answers.size(), 1U);
            EXPECT_EQ(answer.message.answers[0], dns::Record::ptr(name, 4500, name == directory ? ipp : instance));
        }
        // To one asker too.
        EXPECT_EQ(answer_to({.questions = {ask(ipp, type::ptr)}, .port = 4000}).after, delay);
        EXPECT_EQ(answer_to({.questions = {ask(ipp, type::ptr)}, .destination = desk4}).after, delay);
    }
}

TEST_F(Mdns, R74_WithWhatTheAskerNeedsNext) {
    add(desk, desk_offer());
    const Heard answer = answer_to({.questions = {ask(ipp, type::ptr)}});
    dns::Record srv = dns::Record::srv(instance, 120, 631, desk_name);
    const std::string strings[] = {"rp=ipp/print"};
    dns::Record txt = dns::Record::txt(instance, 4500, strings);
    dns::Record a = dns::Record::address(desk_name, 120, desk4);
    dns::Record aaaa = dns::Record::address(desk_name, 120, desk6);
    srv.top_bit = txt.top_bit = a.top_bit = aaaa.top_bit = true;
    EXPECT_EQ(answer.message.additionals, (std::vector{srv, txt, a, aaaa}));
    EXPECT_FALSE(answer.message.answers.at(0).top_bit);
}

TEST_F(Mdns, R75_ServiceDataAtOnce) {
    fraction = 1;
    add(desk, desk_offer());
    for (const std::uint16_t type : {type::srv, type::txt}) {
        send({.questions = {ask(instance, type)}});
        const auto now_heard = take();
        ASSERT_EQ(now_heard.size(), 1U);
        EXPECT_EQ(now_heard[0].message.answers.at(0).type, type);
        EXPECT_EQ(now_heard[0].message.answers[0].ttl, type == type::srv ? 120U : 4500U);
        EXPECT_TRUE(now_heard[0].message.answers[0].top_bit);
        advance(10s);
    }
}

TEST_F(Mdns, R76_SharedServiceDataAfterARandomDelay) {
    fraction = 0.5;
    Offer first = desk_offer();
    Offer second = printer_offer();
    second.services = first.services;
    add(desk, first);
    add(printer, second);
    for (const std::uint16_t type : {type::srv, type::txt}) {
        const auto both = answers_to({.questions = {ask(instance, type)}});
        ASSERT_FALSE(both.empty());
        for (const Heard& answer : both) {
            EXPECT_EQ(answer.after, 70ms);
            EXPECT_FALSE(answer.message.answers.at(0).top_bit);
        }
        EXPECT_EQ(both.size(), type == type::srv ? 2U : 1U); // the text is the same
    }
    // What only one of them has is denied by none.
    EXPECT_TRUE(answers_to({.questions = {ask(instance, type::a)}}).empty());
    responder.remove(printer, false);
    send({.questions = {ask(instance, type::srv)}});
    EXPECT_EQ(take().size(), 1U);
}

TEST_F(Mdns, R77_EveryQuestionIsAnswered) {
    fraction = 0.5;
    add(desk, desk_offer());
    const Heard answer = answer_to({.questions = {ask(name_of("other.local"), type::a), ask(desk_name, type::a),
                                                  ask(ipp, type::ptr), ask(instance, type::txt)}});
    // §6.3: others may answer some of them, so that all wait.
    EXPECT_EQ(answer.after, 70ms);
    std::vector<std::uint16_t> types;
    for (const dns::Record& record : answer.message.answers)
        types.push_back(record.type);
    EXPECT_EQ(types, (std::vector{type::a, type::ptr, type::txt}));
}

TEST_F(Mdns, R77_ButNotMoreThanAHundred) {
    Offer offer = desk_offer();
    for (int i = 0; i < 150; ++i)
        offer.hostnames.push_back("d" + std::to_string(i) + ".local");
    add(desk, offer);
    Query query;
    for (int i = 0; i < 300; ++i) // each twice, which counts once
        query.questions.push_back(ask(name_of("d" + std::to_string(i / 2) + ".local"), type::aaaa));
    std::size_t answers = 0;
    for (const Heard& answer : answers_to(query))
        answers += answer.message.answers.size();
    EXPECT_EQ(answers, 100U);
    EXPECT_EQ(responder.counters().dropped, 1U);
}

TEST_F(Mdns, OfTwoServicesByOneNameTheFirstCounts) {
    Offer offer = printer_offer();
    offer.services.push_back({.type = "_ipp._tcp", .port = 9});
    add(printer, offer);
    EXPECT_EQ(answer_to({.questions = {ask(name_of("printer._ipp._tcp.local"), type::srv)}}).message.answers.size(),
              1U);
}

TEST_F(Mdns, R78_AnswersToSeveralQueriesGoTogether) {
    add(desk, desk_offer());
    fraction = 1;
    send({.questions = {ask(ipp, type::ptr)}});
    advance(50ms);
    fraction = 0.9;
    send({.questions = {ask(directory, type::ptr)}, .source = printer4});
    advance(5s);
    const auto together = take();
    ASSERT_EQ(together.size(), 1U);
    EXPECT_EQ(together[0].message.answers.size(), 2U);
    EXPECT_EQ(together[0].after, 70ms);
}

TEST_F(Mdns, R78_SeveralHostsAreNotMixed) {
    add(desk, desk_offer());
    add(printer, printer_offer());
    const auto both = answers_to({.questions = {ask(ipp, type::ptr)}});
    ASSERT_EQ(both.size(), 2U);
    EXPECT_NE(both[0].reply.host, both[1].reply.host);
    for (const Heard& answer : both)
        EXPECT_EQ(answer.message.answers.size(), 1U);
}

TEST_F(Mdns, R79_ALegacyQueryGetsAConventionalResponse) {
    add(desk, desk_offer());
    for (const bool unicast_bit : {false, true}) {
        const Heard answer =
            answer_to({.questions = {ask(desk_name, type::a, unicast_bit)}, .id = 0xbeef, .port = 40000});
        EXPECT_EQ(answer.reply.destination, client4);
        EXPECT_EQ(answer.reply.port, 40000);
        EXPECT_EQ(answer.after, 0s);
        EXPECT_EQ(answer.message.id, 0xbeef);
        EXPECT_EQ(answer.message.flags, 0x8400);
        EXPECT_EQ(answer.message.questions, std::vector{ask(desk_name, type::a, unicast_bit)});
        ASSERT_EQ(answer.message.answers.size(), 1U);
        EXPECT_EQ(answer.message.answers[0], dns::Record::address(desk_name, 10, desk4));
        ASSERT_EQ(answer.message.additionals.size(), 1U);
        EXPECT_EQ(answer.message.additionals[0], dns::Record::address(desk_name, 10, desk6));
    }
    // It does not count as multicast.
    send({.questions = {ask(desk_name, type::a)}});
    EXPECT_EQ(take().size(), 1U);
}

TEST_F(Mdns, R79_ALegacyResponseIsOneMessageOfTheSizeThatTheAskerTakes) {
    Offer offer = desk_offer();
    offer.services.clear();
    for (int i = 0; i < 60; ++i)
        offer.services.push_back({.type = "_ipp._tcp", .port = 631, .instance = "printer number " + std::to_string(i)});
    add(desk, offer);
    const Query query = {.questions = {ask(ipp, type::ptr)}, .port = 40000};
    const Heard small = answer_to(query);
    EXPECT_LE(small.reply.message.size(), 512U);
    Query with_opt = query;
    with_opt.additionals = {{.name = {}, .type = type::opt, .klass = 1232}};
    const Heard large = answer_to(with_opt);
    EXPECT_LE(large.reply.message.size(), 1232U);
    EXPECT_GT(large.message.answers.size(), small.message.answers.size());
}

// Conflicts, and the end

TEST_F(Mdns, R80_OtherDataForANameOfTheHostAreAConflict) {
    add(desk, desk_offer());
    respond({dns::Record::address(name_of("Desk.local"), 120, client4)});
    EXPECT_EQ(conflicts, (std::vector{Conflict{desk, desk_name}}));
    // Told once, and again after a while.
    respond({dns::Record::address(desk_name, 120, client4)});
    EXPECT_EQ(conflicts.size(), 1U);
    advance(10s);
    respond({dns::Record::srv(instance, 120, 9, name_of("thief.local"))});
    ASSERT_EQ(conflicts.size(), 2U);
    EXPECT_EQ(conflicts[1], (Conflict{desk, instance}));
    note(responder.set(desk, desk_offer(), now));
    respond({dns::Record::address(desk_name, 120, client4)});
    EXPECT_EQ(conflicts.size(), 3U);
    EXPECT_EQ(responder.counters().conflicts, 3U);
}

TEST_F(Mdns, R80_WhatIsNoConflict) {
    add(desk, desk_offer());
    add(printer, printer_offer());
    respond({dns::Record::address(desk_name, 120, desk4)});                              // the same data
    respond({dns::Record::srv(instance, 120, 631, name_of("DESK.local"))});              // case
    respond({dns::Record::address(desk_name, 0, client4)});                              // a goodbye
    respond({dns::Record::ptr(ipp, 4500, ipp.with_label("other").value())});             // a shared name
    respond({dns::Record::address(name_of("other.local"), 120, desk4)});                 // not our name
    respond({dns::Record{.name = desk_name, .type = type::txt, .ttl = 1, .rdata = {0}}}); // a type that we do not have
    respond({dns::Record{.name = desk_name, .klass = 3, .ttl = 1, .rdata = {1, 2, 3, 4}}});
    EXPECT_TRUE(conflicts.empty());
    EXPECT_EQ(responder.counters().responses, 7U);
}

TEST_F(Mdns, R80_HostsOfOurOwnByOneNameAreNoConflict) {
    Offer second = printer_offer();
    second.hostnames = {"desk.local"};
    add(desk, desk_offer());
    note(responder.set(printer, second, now));
    const auto own = take();
    ASSERT_FALSE(own.empty());
    for (const Heard& announcement : own)
        send(announcement.reply.message);
    EXPECT_TRUE(conflicts.empty());
}

TEST_F(Mdns, R81_AGoodbyeTakesAllBackInBothFamilies) {
    add(desk, desk_offer());
    note(responder.remove(desk, true));
    const auto last = take();
    ASSERT_EQ(last.size(), 2U);
    EXPECT_EQ(last[0].reply.destination, group4);
    EXPECT_EQ(last[1].reply.destination, group6);
    for (const Heard& goodbye : last) {
        std::multiset<std::uint16_t> types;
        for (const dns::Record& record : goodbye.message.answers) {
            EXPECT_EQ(record.ttl, 0U);
            types.insert(record.type);
            // Other hosts may have services of the type.
            EXPECT_NE(record.name, directory);
        }
        // Two reverse names, the service and its subtype.
        EXPECT_EQ(types, (std::multiset{type::a, type::ptr, type::ptr, type::ptr, type::ptr, type::txt, type::aaaa,
                                        type::srv}));
    }
    EXPECT_TRUE(answers_to({.questions = {ask(desk_name, type::a)}}).empty());
}

TEST_F(Mdns, RemovalDropsAllThatIsPending) {
    note(responder.set(desk, desk_offer(), now));
    take();
    send({.questions = {ask(ipp, type::ptr)}});
    send({.questions = {ask(ipp, type::ptr)}, .port = 4000});
    send({.questions = {ask(ipp, type::ptr)}, .truncated = true});
    EXPECT_TRUE(responder.remove(desk, false).empty());
    advance(10s);
    EXPECT_TRUE(take().empty());
    EXPECT_EQ(responder.hosts(), 0U);
    EXPECT_FALSE(responder.next_deadline());
    EXPECT_TRUE(responder.remove(desk, true).empty());
}

// Announcements and the pace of multicasts

TEST_F(Mdns, ItAnnouncesTwiceAndDoesNotProbe) {
    note(responder.set(desk, desk_offer(), now));
    const auto first = take();
    ASSERT_EQ(first.size(), 2U);
    EXPECT_EQ(first[0].reply.destination, group4);
    EXPECT_EQ(first[1].reply.destination, group6);
    for (const Heard& announcement : first) {
        EXPECT_EQ(announcement.message.flags, 0x8400);
        EXPECT_TRUE(announcement.message.authorities.empty());
        EXPECT_EQ(announcement.message.answers.size(), 9U);
        for (const dns::Record& record : announcement.message.answers) {
            const bool shared = record.name == directory || record.name.labels().front() == "_ipp" ||
                                record.name.labels().front() == "_universal";
            EXPECT_EQ(record.top_bit, !shared);
            EXPECT_NE(record.type, type::nsec);
        }
    }
    sent = now;
    advance(999ms);
    EXPECT_TRUE(take().empty());
    advance(1ms);
    EXPECT_EQ(take().size(), 2U);
    advance(1h);
    EXPECT_TRUE(take().empty());
}

TEST_F(Mdns, AnEchoOfItsAnnouncementDoesNotStopTheNextOne) {
    note(responder.set(desk, desk_offer(), now));
    now += 5ms;
    for (const Heard& announcement : take())
        send(announcement.reply.message, {.source = announcement.reply.destination.is_v4() ? desk4 : desk6});
    EXPECT_TRUE(conflicts.empty());
    advance(2s);
    const auto second = take();
    ASSERT_EQ(second.size(), 2U);
    EXPECT_EQ(second[0].message.answers.size(), 9U);
}

TEST_F(Mdns, ChangedAddressesAreAnnouncedAndTheOldOnesTakenBack) {
    add(desk, desk_offer());
    EXPECT_TRUE(responder.set(desk, desk_offer(), now).empty()); // nothing changed
    Offer moved = desk_offer();
    moved.addresses = {desk_link_local, desk6};
    note(responder.set(desk, moved, now));
    const auto news = take();
    ASSERT_EQ(news.size(), 4U);
    dns::Record gone = dns::Record::address(desk_name, 0, desk4);
    EXPECT_EQ(news[0].message.answers.at(0), gone);
    EXPECT_EQ(news[0].message.answers.size(), 2U); // and its reverse name
    EXPECT_EQ(news[2].message.answers.size(), 9U);
    advance(5s);
    EXPECT_EQ(take().size(), 2U);
    const Heard answer = answer_to({.questions = {ask(desk_name, type::a)}});
    ASSERT_EQ(answer.message.answers.size(), 1U);
    EXPECT_TRUE(answer.message.answers[0].same_as(dns::Record::address(desk_name, 120, desk_link_local)));
    EXPECT_TRUE(answers_to({.questions = {ask(dns::Name::reverse(desk4), type::ptr)}}).empty());
    // Without an address there is nothing to say.
    moved.addresses.clear();
    note(responder.set(desk, moved, now));
    EXPECT_EQ(responder.hosts(), 0U);
}

TEST_F(Mdns, AChangeAfterHalfASecondIsAnnouncedAloneAtFirst) {
    add(desk, desk_offer(), 500ms);
    Offer more = desk_offer();
    more.addresses.push_back(desk_link_local);
    note(responder.set(desk, more, now));
    auto news = take();
    ASSERT_EQ(news.size(), 2U);
    EXPECT_EQ(news[0].message.answers.size(), 2U); // the address and its reverse name
    advance(1s);
    news = take();
    ASSERT_EQ(news.size(), 2U);
    EXPECT_EQ(news[0].message.answers.size(), 11U);
}

TEST_F(Mdns, ARecordIsNotMulticastTwiceWithinASecond) {
    add(desk, desk_offer());
    send({.questions = {ask(desk_name, type::a)}});
    EXPECT_EQ(take().size(), 1U);
    advance(300ms);
    send({.questions = {ask(desk_name, type::a)}, .source = printer4});
    send({.questions = {ask(desk_name, type::a)}, .source = printer4});
    EXPECT_TRUE(take().empty());
    // The other group has not heard it.
    send({.questions = {ask(desk_name, type::a)}, .source = client6});
    EXPECT_EQ(take().size(), 1U);
    advance(5s);
    const auto later = take();
    ASSERT_EQ(later.size(), 1U);
    EXPECT_EQ(later[0].after, 700ms);
}

TEST_F(Mdns, AdditionalRecordsKeepThePaceToo) {
    add(desk, desk_offer());
    send({.questions = {ask(desk_name, type::a)}});
    ASSERT_EQ(take().size(), 1U);
    const Heard answer = answer_to({.questions = {ask(instance, type::srv)}});
    EXPECT_TRUE(answer.message.additionals.empty());
}

TEST_F(Mdns, AProbeForItsNameIsAnsweredAtOnce) {
    fraction = 1;
    add(desk, desk_offer());
    const Query probe = {.questions = {ask(name_of("DESK.local"), type::any), ask(name_of("x.local"), type::any)},
                         .probes = {dns::Record::address(name_of("DESK.local"), 120, client4)}};
    send(probe);
    ASSERT_EQ(heard.size(), 1U);
    EXPECT_EQ(take()[0].message.answers.size(), 2U);
    // §6: again after 250 ms, not only after a second.
    advance(100ms);
    send(probe);
    EXPECT_TRUE(take().empty());
    advance(2s);
    const auto again = take();
    ASSERT_EQ(again.size(), 1U);
    EXPECT_EQ(again[0].after, 150ms);
    EXPECT_TRUE(conflicts.empty());
    // Even if it is truncated.
    Query truncated = probe;
    truncated.truncated = true;
    send(truncated);
    EXPECT_EQ(take().size(), 1U);
}

TEST_F(Mdns, AProbeWithTheHostsOwnDataIsAnOrdinaryQuestion) {
    fraction = 1;
    add(desk, desk_offer());
    send({.questions = {ask(desk_name, type::any), ask(name_of("x.local"), type::any)},
          .probes = {dns::Record::address(desk_name, 120, desk4)}});
    EXPECT_TRUE(take().empty());
    advance(120ms);
    EXPECT_EQ(take().size(), 1U);
}

TEST_F(Mdns, R66_AProbeThatAsksForAUnicastResponseGetsOne) {
    add(desk, desk_offer(), 60s);
    const Query probe = {.questions = {ask(desk_name, type::any, true)},
                         .probes = {dns::Record::address(desk_name, 120, client4)}};
    send(probe);
    auto both = take();
    ASSERT_EQ(both.size(), 2U); // and one for all caches, since that was long ago
    EXPECT_NE(both[0].reply.destination.is_multicast(), both[1].reply.destination.is_multicast());
    advance(2s);
    send(probe);
    both = take();
    ASSERT_EQ(both.size(), 1U);
    EXPECT_EQ(both[0].reply.destination, client4);
}

TEST_F(Mdns, WhatAnotherSaidIsNotRepeated) {
    add(desk, desk_offer());
    send({.questions = {ask(ipp, type::ptr)}});
    respond({dns::Record::ptr(ipp, 4500, instance)}, printer4); // another gateway was faster
    advance(5s);
    EXPECT_TRUE(take().empty());
    // It counts as sent.
    respond({dns::Record::address(desk_name, 120, desk4)}, printer4);
    send({.questions = {ask(desk_name, type::a)}});
    EXPECT_TRUE(take().empty());
    advance(1s);
    EXPECT_EQ(take().size(), 1U);
    // With a lower TTL it is.
    send({.questions = {ask(ipp, type::ptr)}});
    respond({dns::Record::ptr(ipp, 4499, instance)}, printer4);
    advance(5s);
    EXPECT_EQ(take().size(), 1U);
    // Nor after a truncated query (R68).
    send({.questions = {ask(ipp, type::ptr)}, .truncated = true});
    respond({dns::Record::ptr(ipp, 4500, instance)}, printer4);
    advance(5s);
    EXPECT_TRUE(take().empty());
}

TEST_F(Mdns, ARecordThatOthersLetExpireIsRescued) {
    add(desk, desk_offer());
    respond({dns::Record::ptr(ipp, 0, instance)}, printer4);
    advance(5s);
    const auto rescue = take();
    ASSERT_EQ(rescue.size(), 1U);
    EXPECT_EQ(rescue[0].message.answers.at(0), dns::Record::ptr(ipp, 4500, instance));
    respond({dns::Record::ptr(ipp, 2250, instance)}, printer4);
    advance(5s);
    EXPECT_TRUE(take().empty());
}

// Many

TEST_F(Mdns, ATypeThatManyOfferIsNamedOnce) {
    add(desk, desk_offer());
    Offer offer = printer_offer();
    offer.services.push_back({.type = "_ssh._tcp", .port = 22});
    add(printer, offer);
    std::vector<dns::Name> types;
    for (const Heard& answer : answers_to({.questions = {ask(directory, type::ptr)}}))
        for (const dns::Record& record : answer.message.answers)
            types.push_back(record.target());
    EXPECT_EQ(types, (std::vector{ipp, ssh}));
}

TEST_F(Mdns, LongResponsesAreSplit) {
    Offer offer = desk_offer();
    for (int i = 0; i < 100; ++i)
        offer.services.push_back({.type = "_http._tcp",
                                  .port = 80,
                                  .instance = "number " + std::to_string(i),
                                  .txt = {std::string(200, 'x')}});
    offer.services.push_back({.type = "_large._tcp", .port = 80, .txt = std::vector(10, std::string(250, 'y'))});
    note(responder.set(desk, offer, now));
    std::size_t records = 0;
    std::size_t large = 0;
    for (const Heard& announcement : take()) {
        if (announcement.reply.destination != group4)
            continue;
        records += announcement.message.answers.size();
        if (announcement.reply.message.size() > 1440) {
            ++large;
            EXPECT_EQ(announcement.message.answers.size(), 1U);
        }
    }
    EXPECT_EQ(records, 9U + 100 * 3 + 1 + 3 + 1); // each service, and the two types in the directory
    EXPECT_EQ(large, 1U);
}

TEST_F(Mdns, AHostsNameIsThatOfItsServices) {
    add(printer, printer_offer());
    const Heard answer = answer_to({.questions = {ask(ipp, type::ptr)}});
    EXPECT_EQ(answer.message.answers.at(0).target(), name_of("printer._ipp._tcp.local"));
    const auto text = records_of_type(answer.message.additionals, type::txt);
    ASSERT_EQ(text.size(), 1U);
    EXPECT_EQ(text[0].rdata, Bytes{0});
}

TEST_F(Mdns, ThousandsOfHosts) {
    constexpr Host hosts = 3000;
    for (Host host = 1; host <= hosts; ++host) {
        const auto low = static_cast<std::uint8_t>(host);
        const auto high = static_cast<std::uint8_t>(host >> 8);
        responder.set(host,
                      {.hostnames = {"h" + std::to_string(host) + ".local"},
                       .services = {{.type = "_ssh._tcp", .port = 22}},
                       .addresses = {IpAddress::v4({10, 0, high, low})}},
                      now);
    }
    advance(60s);
    heard.clear();
    EXPECT_EQ(answers_to({.questions = {ask(directory, type::ptr)}}).size(), 1U);
    // Each query for a service of all of them is as much as seven.
    std::size_t answered = 0;
    for (int i = 0; i < 40; ++i) {
        send({.questions = {ask(ssh, type::ptr)}});
        answered += ignored(Ignored::rate_limited) == 0 ? 1 : 0;
    }
    EXPECT_EQ(answered, 29U);
    advance(60s);
    heard.clear();
    EXPECT_EQ(answers_to({.questions = {ask(ssh, type::ptr)}}).size(), hosts);
    EXPECT_EQ(answer_to({.questions = {ask(name_of("h2999.local"), type::a)}}).reply.host, 2999U);
    for (Host host = 1; host <= hosts; ++host)
        responder.remove(host, false);
    EXPECT_TRUE(answers_to({.questions = {ask(ssh, type::ptr)}}).empty());
    EXPECT_FALSE(responder.next_deadline());
}

} // namespace
} // namespace pz::mdns
