// SPDX-License-Identifier: Apache-2.0
// LLMNR under virtual time: answers byte for byte, what is discarded, uniqueness verification, conflicts.
#include "proto/llmnr/responder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>

namespace pz::llmnr {
namespace {

using namespace std::chrono_literals;

IpAddress ip(std::string_view text) {
    return IpAddress::parse(text).value();
}

const IpAddress nas4 = ip("192.0.2.81");
const IpAddress nas6 = ip("2001:db8::51");
const IpAddress nas_local = ip("fe80::51");
const IpAddress client4 = ip("192.0.2.12");
const IpAddress client6 = ip("fe80::c");
const IpAddress rival4 = ip("192.0.2.99");
constexpr MacAddress client_mac{{2, 0, 0, 0, 0, 0x0c}};

const Offer nas{.hostnames = {"nas.local"}, .addresses = {nas6, nas4, nas_local}, .verified = true};
const Offer new_nas{.hostnames = {"nas"}, .addresses = {nas6, nas4, nas_local}};

constexpr Instant start{1h};
constexpr std::uint16_t response = 0x8000, c_bit = 0x0400, tc_bit = 0x0200, t_bit = 0x0100;

/// The bytes that hexadecimal text stands for; white space between pairs.
Bytes hex(std::string_view text) {
    Bytes bytes;
    for (std::size_t i = 0; i + 1 < text.size(); ++i) {
        if (text[i] == ' ')
            continue;
        std::uint8_t byte = 0;
        std::from_chars(text.data() + i, text.data() + i + 2, byte, 16);
        bytes.push_back(byte);
        ++i;
    }
    return bytes;
}

dns::Name name_of_label(std::string_view label) {
    return dns::Name().with_label(label).value();
}

class Llmnr : public testing::Test {
protected:
    Received from_client4(ByteView payload) const { return {client_mac, client4, 40000, group4, port, payload}; }
    Received from_client6(ByteView payload) const { return {client_mac, client6, 40000, group6, port, payload}; }
    static Bytes query(const dns::Name& name, std::uint16_t type = dns::type::a, std::uint16_t flags = 0) {
        return dns::serialise({.id = 0x1234, .flags = flags, .questions = {{.name = name, .type = type}}});
    }
    static Bytes query(std::string_view label, std::uint16_t type = dns::type::a, std::uint16_t flags = 0) {
        return query(name_of_label(label), type, flags);
    }
    std::optional<Ignored> ask(ByteView payload) { return responder.receive(from_client4(payload), now); }
    std::optional<Ignored> ask6(ByteView payload) { return responder.receive(from_client6(payload), now); }
    /// The only datagram that is sent now.
    Datagram sent() {
        const Output out = responder.tick(now);
        EXPECT_EQ(out.datagrams.size(), 1U);
        EXPECT_TRUE(out.conflicts.empty());
        return out.datagrams.empty() ? Datagram{} : out.datagrams[0];
    }
    static dns::Message decode(const Datagram& datagram) { return dns::parse(datagram.payload).value(); }
    /// The answer to a query that is answered at once.
    dns::Message answer(ByteView payload) {
        EXPECT_EQ(ask(payload), std::nullopt);
        return decode(sent());
    }
    /// What is sent until then, and when.
    std::vector<std::pair<Duration, Datagram>> run(Duration time) {
        std::vector<std::pair<Duration, Datagram>> all;
        const Instant began = now;
        const Instant end = now + time;
        while (responder.next_deadline() && *responder.next_deadline() <= end) {
            now = std::max(now, *responder.next_deadline());
            Output out = responder.tick(now);
            for (Datagram& datagram : out.datagrams)
                all.emplace_back(now - began, std::move(datagram));
            conflicts.insert(conflicts.end(), out.conflicts.begin(), out.conflicts.end());
        }
        now = end;
        return all;
    }
    void settle(std::uint32_t host, const Offer& offer) {
        responder.add(host, offer, now);
        (void)run(5s);
    }
    /// A rival's response to the verification's query.
    std::optional<Ignored> rival_responds(const Datagram& asked, std::uint16_t flags = 0,
                                          const IpAddress& rival = rival4) {
        dns::Message message = decode(asked);
        message.flags = static_cast<std::uint16_t>(response | flags);
        const Bytes payload = dns::serialise(message);
        return responder.receive({client_mac, rival, port, asked.source, port, payload}, now);
    }

    double fraction = 0.5;
    Instant now = start;
    std::vector<Conflict> conflicts;
    Responder responder{
        [this](Duration lo, Duration hi) { return lo + std::chrono::duration_cast<Duration>((hi - lo) * fraction); }};
};

TEST_F(Llmnr, R82_R85_R88_AQueryToTheGroupIsAnsweredByUnicastFromTheHost) {
    settle(7, nas);
    EXPECT_EQ(ask(query("nas")), std::nullopt);
    const Datagram datagram = sent();
    EXPECT_EQ(datagram.host, 7U);
    EXPECT_EQ(datagram.destination_mac, client_mac);
    EXPECT_EQ(datagram.source, nas4);
    EXPECT_EQ(datagram.destination, client4);
    EXPECT_EQ(datagram.destination_port, 40000);
    EXPECT_EQ(datagram.hop_limit, 255);
    EXPECT_EQ(datagram.payload, hex("12 34 80 00 00 01 00 01 00 00 00 00"
                                    "03 6e 61 73 00  00 01 00 01"
                                    "c0 0c 00 01 00 01 00 00 00 1e 00 04 c0 00 02 51"));
    EXPECT_FALSE(responder.next_deadline());

    EXPECT_EQ(ask6(query("nas", dns::type::aaaa)), std::nullopt);
    const Datagram datagram6 = sent();
    EXPECT_EQ(datagram6.source, nas_local);
    EXPECT_EQ(datagram6.destination, client6);
    EXPECT_EQ(datagram6.hop_limit, 255);
}

TEST_F(Llmnr, R87_AAndAaaaAndAnyGiveTheAddresses) {
    settle(1, nas);
    const auto addresses = [](const dns::Message& message) {
        std::vector<std::string> texts;
        for (const dns::Record& record : message.answers) {
            EXPECT_EQ(record.ttl, 30U);
            EXPECT_EQ(record.name, name_of_label("nas"));
            texts.push_back(IpAddress::from_bytes(record.rdata)->to_string());
        }
        return texts;
    };
    using Texts = std::vector<std::string>;
    EXPECT_EQ(addresses(answer(query("nas", dns::type::a))), (Texts{"192.0.2.81"}));
    EXPECT_EQ(addresses(answer(query("nas", dns::type::aaaa))), (Texts{"2001:db8::51", "fe80::51"}));
    EXPECT_EQ(addresses(answer(query("nas", dns::type::any))), (Texts{"2001:db8::51", "192.0.2.81", "fe80::51"}));
    EXPECT_EQ(ask6(query("nas", dns::type::any)), std::nullopt);
    EXPECT_EQ(addresses(decode(sent())), (Texts{"fe80::51", "2001:db8::51", "192.0.2.81"}))
        << "link-local first for who asks from there";
}

TEST_F(Llmnr, R87_PtrOfAnAddressGivesTheName) {
    settle(1, {.hostnames = {"nas.local", "store"}, .addresses = {nas4, nas6}, .verified = true});
    for (const IpAddress& address : {nas4, nas6})
        for (const std::uint16_t type : {dns::type::ptr, dns::type::any}) {
            const auto message = answer(query(dns::Name::reverse(address), type));
            ASSERT_EQ(message.answers.size(), 2U);
            EXPECT_EQ(message.answers[0].type, dns::type::ptr);
            EXPECT_EQ(message.answers[0].name, dns::Name::reverse(address));
            EXPECT_EQ(message.answers[0].target(), name_of_label("nas"));
            EXPECT_EQ(message.answers[1].target(), name_of_label("store"));
            EXPECT_EQ(message.answers[0].ttl, 30U);
        }
    EXPECT_TRUE(answer(query(dns::Name::reverse(nas4), dns::type::a)).answers.empty());
    EXPECT_EQ(ask(query(dns::Name::reverse(client4), dns::type::ptr)), Ignored::not_ours);
    settle(2, {.hostnames = {}, .addresses = {rival4}});
    EXPECT_EQ(ask(query(dns::Name::reverse(rival4), dns::type::ptr)), Ignored::not_ours) << "it has no name";
}

TEST_F(Llmnr, ATypeThatTheNameDoesNotHaveIsAnEmptyAnswer) {
    settle(1, {.hostnames = {"nas"}, .addresses = {nas4}, .verified = true});
    for (const std::uint16_t type : {dns::type::aaaa, dns::type::ptr, dns::type::txt, std::uint16_t{15}}) {
        const auto message = answer(query("nas", type));
        EXPECT_EQ(message.flags, response);
        EXPECT_EQ(message.questions.size(), 1U);
        EXPECT_TRUE(message.answers.empty() && message.authorities.empty() && message.additionals.empty());
    }
}

TEST_F(Llmnr, NamesThatAreNotOursAreNotAnswered) {
    settle(1, nas);
    EXPECT_EQ(ask(query("desk")), Ignored::not_ours);
    EXPECT_EQ(ask(query(dns::Name::parse("nas.local").value())), Ignored::not_ours);
    EXPECT_EQ(ask(query(dns::Name())), Ignored::not_ours);
    responder.remove(1, now);
    EXPECT_EQ(ask(query("nas")), Ignored::not_ours);
    EXPECT_EQ(ask(query(dns::Name::reverse(nas4), dns::type::ptr)), Ignored::not_ours);
    EXPECT_TRUE(run(1min).empty());
    EXPECT_EQ(responder.ignored(Ignored::not_ours), 5U);
}

TEST_F(Llmnr, R90_NamesAreUtf8AndAsciiCaseDoesNotCount) {
    settle(1, {.hostnames = {"Bücher-NAS.local"}, .addresses = {nas4}, .verified = true});
    const auto message = answer(query("bücher-nas"));
    EXPECT_EQ(message.answers.size(), 1U);
    EXPECT_EQ(message.questions[0].name.labels()[0], "bücher-nas") << "the question as it was asked";
    EXPECT_EQ(ask(query("BÜCHER-NAS")), Ignored::not_ours) << "Ü and ü are different bytes";
    EXPECT_EQ(ask(query("xn--bcher-nas-q9a")), Ignored::not_ours);
}

TEST_F(Llmnr, R86_QueriesToAUnicastAddressAreIgnored) {
    settle(1, nas);
    const Bytes asked = query("nas");
    for (const IpAddress& destination : {nas4, ip("224.0.0.251"), ip("255.255.255.255")})
        EXPECT_EQ(responder.receive({client_mac, client4, 40000, destination, port, asked}, now),
                  Ignored::unicast_query);
    EXPECT_EQ(responder.receive({client_mac, client6, 40000, nas_local, port, asked}, now), Ignored::unicast_query);
    EXPECT_TRUE(run(1min).empty());
}

TEST_F(Llmnr, EachDiscardedQueryHasAReason) {
    settle(1, nas);
    const Bytes asked = query("nas");
    EXPECT_EQ(responder.receive({client_mac, client4, 40000, group4, 5353, asked}, now), Ignored::bad_port);
    EXPECT_EQ(responder.receive({client_mac, client4, 0, group4, port, asked}, now), Ignored::bad_source);
    EXPECT_EQ(responder.receive({client_mac, ip("0.0.0.0"), 1, group4, port, asked}, now), Ignored::bad_source);
    EXPECT_EQ(responder.receive({client_mac, ip("224.0.0.1"), 1, group4, port, asked}, now), Ignored::bad_source);
    EXPECT_EQ(responder.receive({client_mac, nas4, 40000, group4, port, asked}, now), Ignored::own);
    EXPECT_EQ(ask(ByteView(asked).first(11)), Ignored::malformed);
    EXPECT_EQ(ask(ByteView(asked).first(20)), Ignored::malformed);
    EXPECT_EQ(ask(query("nas", dns::type::a, 0x0800)), Ignored::bad_opcode);
    for (const std::size_t at : {5U, 7U, 9U}) { // counts of questions, answers, authorities
        Bytes wrong = asked;
        wrong[at] = at == 5 ? 2 : 1;
        EXPECT_EQ(ask(wrong), Ignored::bad_counts);
    }
    Bytes none = asked;
    none[5] = 0;
    EXPECT_EQ(ask(none), Ignored::bad_counts);
    Bytes chaos = asked;
    chaos.back() = 3;
    EXPECT_EQ(ask(chaos), Ignored::bad_class);
    EXPECT_TRUE(run(1min).empty());
    EXPECT_EQ(name_of(Ignored::bad_counts), "bad-counts");
}

TEST_F(Llmnr, TcTAndRcodeOfAQueryAndItsAdditionalRecordsDoNotMatter) {
    settle(1, nas);
    Bytes asked = query("nas", dns::type::a, tc_bit | t_bit | 0x00f5);
    asked[11] = 1;
    const Bytes opt = hex("00 00 29 05 c0 00 00 00 00 00 00");
    asked.insert(asked.end(), opt.begin(), opt.end());
    const auto message = answer(asked);
    EXPECT_EQ(message.flags, response);
    EXPECT_EQ(message.id, 0x1234);
}

TEST_F(Llmnr, R83_AQueryOrAResponseMayBeAsLargeAsUdpAllows) {
    settle(1, nas);
    Bytes asked = query("nas");
    asked[11] = 1;
    asked.resize(65507);
    EXPECT_EQ(answer(asked).answers.size(), 1U);
}

TEST_F(Llmnr, R83_AResponseTakesAsManyRecordsAsTheLargestDatagramAndNoTc) {
    Offer many{.hostnames = {"nas"}, .addresses = {nas4}, .verified = true};
    for (unsigned i = 0; i < 3000; ++i)
        many.addresses.push_back(IpAddress::v6({0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                                static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i)}));
    settle(1, many);
    EXPECT_EQ(ask(query("nas", dns::type::aaaa)), std::nullopt);
    const Datagram datagram = sent();
    EXPECT_LE(datagram.payload.size(), 65507U);
    EXPECT_GT(datagram.payload.size(), 65507U - 28);
    EXPECT_EQ(datagram.payload[2], 0x80);
    EXPECT_EQ(datagram.payload[6] << 8 | datagram.payload[7], (65507 - 12 - 9) / 28);
}

TEST_F(Llmnr, R82_NamesAreVerifiedByThreeQueriesOverBothFamilies) {
    fraction = 0.25;
    responder.add(1, new_nas, now);
    const auto all = run(1min);
    ASSERT_EQ(all.size(), 6U);
    const Duration times[] = {25ms, 1050ms, 2075ms}; // jitter, then the time-out and jitter
    for (std::size_t i = 0; i < 6; ++i) {
        const Datagram& datagram = all[i].second;
        EXPECT_EQ(all[i].first, times[i / 2]);
        EXPECT_EQ(datagram.destination, i % 2 == 0 ? group4 : group6);
        EXPECT_EQ(datagram.destination_mac, multicast_mac(datagram.destination));
        EXPECT_EQ(datagram.source, i % 2 == 0 ? nas4 : nas_local);
        EXPECT_EQ(datagram.destination_port, port);
        EXPECT_EQ(datagram.payload, hex("3f ff 00 00 00 01 00 00 00 00 00 00  03 6e 61 73 00  00 ff 00 01"));
    }
    EXPECT_TRUE(conflicts.empty());
}

TEST_F(Llmnr, TheTBitIsSetUntilTheNameIsVerified) {
    responder.add(1, new_nas, now);
    (void)run(3s);
    EXPECT_FALSE(responder.is_verified(1));
    EXPECT_EQ(ask(query("nas")), std::nullopt);
    EXPECT_TRUE(responder.tick(now).datagrams.empty()) << "not alone for sure: after a random delay";
    const auto late = run(50ms);
    ASSERT_EQ(late.size(), 1U);
    EXPECT_EQ(decode(late[0].second).flags, response | t_bit);
    const auto message = answer(query(dns::Name::reverse(nas4), dns::type::ptr));
    EXPECT_EQ(message.flags, response) << "an address is unique by other means";
    (void)run(1s);
    EXPECT_TRUE(responder.is_verified(1));
    EXPECT_EQ(answer(query("nas")).flags, response);
}

TEST_F(Llmnr, ANameThatTheHostHadVerifiedIsAnsweredWithoutTAndVerifiedAgain) {
    responder.add(1, nas, now);
    EXPECT_EQ(answer(query("nas")).flags, response);
    EXPECT_EQ(run(5s).size(), 6U);
}

TEST_F(Llmnr, R89_AnotherNodeWithTheNameIsAConflict) {
    for (const Offer& offer : {nas, new_nas}) {
        conflicts.clear();
        responder.add(1, offer, now);
        const auto asked = run(50ms);
        ASSERT_EQ(asked.size(), 2U);
        EXPECT_EQ(rival_responds(asked[0].second), std::nullopt);
        EXPECT_TRUE(run(1min).empty()) << "no further query";
        ASSERT_EQ(conflicts.size(), 1U);
        EXPECT_EQ(conflicts[0], (Conflict{1, "nas", rival4}));
        EXPECT_FALSE(responder.is_verified(1));
        EXPECT_EQ(ask(query("nas")), Ignored::conflicted);
        EXPECT_EQ(ask6(query("nas")), Ignored::conflicted) << "over neither protocol";
        EXPECT_EQ(ask(query(dns::Name::reverse(nas4), dns::type::ptr)), Ignored::conflicted);
        EXPECT_TRUE(run(1min).empty());
    }
}

TEST_F(Llmnr, R89_OfTwoTentativeNodesTheSmallerAddressKeepsTheName) {
    responder.add(1, new_nas, now);
    const auto asked = run(50ms);
    ASSERT_EQ(asked.size(), 2U);
    EXPECT_EQ(rival_responds(asked[0].second, t_bit, ip("192.0.2.82")), Ignored::yields);
    EXPECT_EQ(responder.tick(now).conflicts.size(), 0U);
    EXPECT_EQ(rival_responds(asked[0].second, t_bit, ip("192.0.2.80")), std::nullopt);
    EXPECT_EQ(responder.tick(now).conflicts.size(), 1U);
}

TEST_F(Llmnr, ResponsesToNoQueryOfOursAreNoConflict) {
    responder.add(1, new_nas, now);
    const auto asked = run(50ms);
    ASSERT_EQ(asked.size(), 2U);
    Datagram other = asked[0].second;
    other.payload[1] ^= 1; // ID
    EXPECT_EQ(rival_responds(other), Ignored::unexpected_response);
    other = asked[0].second;
    other.payload[18] = 1; // type
    EXPECT_EQ(rival_responds(other), Ignored::unexpected_response);
    other = asked[0].second;
    other.source = ip("192.0.2.7");
    EXPECT_EQ(rival_responds(other), Ignored::unexpected_response);
    other = asked[0].second;
    other.payload[15] = 'x';
    EXPECT_EQ(rival_responds(other), Ignored::not_ours);
    EXPECT_EQ(rival_responds(asked[0].second, 3), Ignored::bad_opcode) << "with an error";
    EXPECT_EQ(rival_responds(asked[0].second, 0, nas_local), Ignored::own);
    (void)run(10s);
    EXPECT_TRUE(conflicts.empty());
    EXPECT_EQ(rival_responds(asked[0].second), Ignored::unexpected_response) << "too late";
    EXPECT_TRUE(responder.is_verified(1));
}

TEST_F(Llmnr, R89_AQueryWithTheCBitIsNotAnsweredButLookedInto) {
    settle(1, nas);
    EXPECT_EQ(ask(query("nas", dns::type::a, c_bit)), Ignored::too_soon) << "just verified";
    (void)run(10s);
    EXPECT_EQ(ask(query("nas", dns::type::a, c_bit)), std::nullopt);
    const auto sent_now = run(50ms);
    ASSERT_EQ(sent_now.size(), 2U);
    const auto message = decode(sent_now[0].second);
    EXPECT_EQ(message.flags, 0);
    EXPECT_EQ(message.questions[0].type, dns::type::a) << "the same name, type and class";
    EXPECT_EQ(answer(query("nas")).flags, response) << "still ours";
    EXPECT_EQ(ask(query("nas", dns::type::a, c_bit)), Ignored::too_soon);
    EXPECT_EQ(rival_responds(sent_now[0].second), std::nullopt);
    (void)run(1s);
    EXPECT_EQ(conflicts.size(), 1U);
    EXPECT_EQ(ask(query("nas", dns::type::a, c_bit)), Ignored::conflicted);
    EXPECT_EQ(ask(query(dns::Name::reverse(nas4), dns::type::ptr, c_bit)), Ignored::not_ours);
}

TEST_F(Llmnr, TwoSleepingHostsWithOneNameAnswerBothWithTheCBit) {
    settle(1, nas);
    const Offer second{.hostnames = {"NAS"}, .addresses = {rival4}};
    settle(2, second);
    EXPECT_EQ(ask(query("nas")), std::nullopt);
    const auto both = run(100ms);
    ASSERT_EQ(both.size(), 2U);
    EXPECT_EQ(decode(both[0].second).flags, response | c_bit);
    EXPECT_EQ(both[0].second.source, nas4);
    EXPECT_EQ(both[1].second.source, rival4);
    responder.remove(1, now);
    EXPECT_EQ(run(10s).size(), 3U) << "the name is unique now and verified";
    EXPECT_EQ(answer(query("nas")).flags, response);
}

TEST_F(Llmnr, AHostWithoutAnAddressOfTheQuerysFamilyCannotAnswer) {
    settle(1, {.hostnames = {"nas"}, .addresses = {nas6}, .verified = true});
    EXPECT_EQ(ask(query("nas")), Ignored::no_address);
    EXPECT_EQ(ask6(query("nas")), std::nullopt);
    EXPECT_EQ(sent().source, nas6);
}

TEST_F(Llmnr, ASourceThatAsksTooOftenIsNotAnswered) {
    settle(1, nas);
    for (int i = 0; i < 40; ++i)
        EXPECT_EQ(ask(query("nas")), std::nullopt);
    EXPECT_EQ(ask(query("nas")), Ignored::rate_limited);
    EXPECT_EQ(ask(query("desk")), Ignored::not_ours) << "what does not concern us costs nothing";
    EXPECT_EQ(ask6(query("nas")), std::nullopt) << "another source";
    (void)run(50ms);
    EXPECT_EQ(ask(query("nas")), std::nullopt);
    EXPECT_EQ(ask(query("nas")), Ignored::rate_limited);
}

TEST_F(Llmnr, WaitingResponsesAreBounded) {
    settle(1, nas);
    std::optional<Ignored> last;
    std::size_t taken = 0;
    for (unsigned i = 0; i < 3000; ++i) {
        Received received = from_client4({});
        const Bytes asked = query("nas");
        received.payload = asked;
        received.source = IpAddress::v4({10, 0, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i)});
        last = responder.receive(received, now);
        taken += last ? 0 : 1;
    }
    EXPECT_EQ(last, Ignored::queue_full);
    EXPECT_EQ(taken, 1024U);
    EXPECT_EQ(responder.tick(now).datagrams.size(), 1024U);
}

TEST_F(Llmnr, WhatWasDueForAHostThatIsRemovedIsNotSent) {
    responder.add(1, new_nas, now);
    const auto asked = run(50ms);
    EXPECT_EQ(ask(query("nas")), std::nullopt);
    EXPECT_EQ(rival_responds(asked[0].second), std::nullopt);
    responder.remove(1, now);
    EXPECT_TRUE(run(1min).empty());
    EXPECT_TRUE(conflicts.empty());
    responder.remove(1, now);
}

TEST_F(Llmnr, NamesThatAreNoLabelAndRepeatedOnesAreLeftOut) {
    settle(1, {.hostnames = {"nas.local", "NAS", "", std::string(64, 'x'), ".local"}, .addresses = {nas4, nas4}});
    const auto message = answer(query(dns::Name::reverse(nas4), dns::type::ptr));
    ASSERT_EQ(message.answers.size(), 1U);
    EXPECT_EQ(message.answers[0].target(), name_of_label("nas"));
    EXPECT_EQ(answer(query("nas")).answers.size(), 1U);
}

} // namespace
} // namespace pz::llmnr
