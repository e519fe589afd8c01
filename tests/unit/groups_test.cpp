// SPDX-License-Identifier: Apache-2.0
// Multicast groups of sleeping hosts under virtual time: take-over, queries of every version, suppression, leaving.
#include "proto/groups/membership.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace pz::groups {
namespace {

using namespace std::chrono_literals;

IpAddress ip(std::string_view text) {
    return IpAddress::parse(text).value();
}

const IpAddress mdns4 = ip("224.0.0.251");
const IpAddress llmnr4 = ip("224.0.0.252");
const IpAddress mdns6 = ip("ff02::fb");
const IpAddress llmnr6 = ip("ff02::1:3");
const IpAddress group4 = ip("239.1.2.3");
const IpAddress group6 = ip("ff05::1234");
const IpAddress solicited = ip("ff02::1:ff00:51");
const IpAddress all_systems = ip("224.0.0.1");
const IpAddress all_nodes = ip("ff02::1");
const IpAddress router4 = ip("192.0.2.1");
const IpAddress router6 = ip("fe80::1");
const IpAddress neighbor4 = ip("192.0.2.99");
const IpAddress neighbor6 = ip("fe80::99");
const Sources nas{ip("192.0.2.81"), ip("fe80::51")};
const Sources desk{ip("192.0.2.82"), ip("fe80::52")};

constexpr Instant start{1h};

Bytes with_checksum(Bytes message, std::uint32_t sum = 0) {
    message[2] = message[3] = 0;
    const auto checksum = checksum_fold(checksum_add(message, sum));
    message[2] = static_cast<std::uint8_t>(checksum >> 8);
    message[3] = static_cast<std::uint8_t>(checksum);
    return message;
}

/// An IGMP message of `size` bytes.
Bytes igmp_message(std::uint8_t type, std::uint8_t code, const IpAddress& group, std::size_t size = 8) {
    Bytes message(size);
    message[0] = type;
    message[1] = code;
    std::ranges::copy(group.octets(), message.begin() + 4);
    return with_checksum(message);
}

/// An MLD message of `size` bytes; its checksum depends on its addresses.
Bytes mld_message(std::uint8_t type, std::uint16_t code, const IpAddress& group, std::size_t size = 24) {
    Bytes message(std::max<std::size_t>(size, 24));
    message[0] = type;
    message[4] = static_cast<std::uint8_t>(code >> 8);
    message[5] = static_cast<std::uint8_t>(code);
    std::ranges::copy(group.bytes, message.begin() + 8);
    message.resize(size);
    return message;
}

std::string describe(const Report& report) {
    std::string text = std::to_string(report.host) + " " + report.source.to_string() + " > " +
                       report.destination.to_string() + " " + std::to_string(report.type());
    if (report.type() == 143) {
        const std::size_t records = static_cast<std::size_t>(report.message[6] << 8 | report.message[7]);
        EXPECT_EQ(report.message.size(), 8 + 20 * records);
        for (std::size_t i = 0; i < records; ++i) {
            const auto record = ByteView(report.message).subspan(8 + 20 * i, 20);
            EXPECT_TRUE(record[1] == 0 && record[2] == 0 && record[3] == 0);
            text += " " + std::to_string(record[0]) + ":" + IpAddress::from_bytes(record.subspan(4))->to_string();
        }
    } else if (report.destination.is_v4()) {
        EXPECT_EQ(report.message.size(), 8U);
        EXPECT_EQ(checksum_fold(checksum_add(report.message)), 0);
        text += " " + IpAddress::from_bytes(ByteView(report.message).subspan(4))->to_string();
    } else {
        EXPECT_EQ(report.message.size(), 24U);
        text += " " + IpAddress::from_bytes(ByteView(report.message).subspan(8))->to_string();
    }
    return text;
}

using Lines = std::vector<std::string>;

/// A segment under virtual time; random delays are `fraction` of the longest.
class Groups : public testing::Test {
protected:
    Lines tick() {
        Lines lines;
        for (const Report& report : membership.tick(now))
            lines.push_back(describe(report));
        return lines;
    }
    /// What is sent until then, each with the time since the call in ms.
    Lines run(Duration time) {
        Lines lines;
        const Instant began = now;
        const Instant end = now + time;
        while (membership.next_deadline() && *membership.next_deadline() <= end) {
            now = std::max(now, *membership.next_deadline());
            const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now - began).count();
            for (const std::string& line : tick())
                lines.push_back(std::to_string(ms) + "ms " + line);
        }
        now = end;
        return lines;
    }
    void add(std::uint32_t host, const Sources& sources, std::vector<IpAddress> groups) {
        membership.add(host, sources, groups, now);
    }
    /// Takes over and lets the reports of the take-over pass.
    void settle(std::uint32_t host, const Sources& sources, std::vector<IpAddress> groups) {
        add(host, sources, std::move(groups));
        (void)run(30s);
    }
    std::optional<Ignored> igmp(Bytes message, const IpAddress& source, const IpAddress& destination) {
        return membership.receive({source, destination, 1, true, message}, now);
    }
    std::optional<Ignored> igmp_query(std::uint8_t code, const IpAddress& group = IpAddress::v4({}),
                                      std::size_t size = 8) {
        return igmp(igmp_message(0x11, code, group, size), router4, group.is_unspecified() ? all_systems : group);
    }
    std::optional<Ignored> mld(Bytes message, const IpAddress& source, const IpAddress& destination,
                               bool router_alert = true, std::uint8_t hop_limit = 1) {
        message = with_checksum(message, pseudo_header_sum(source, destination, 58, message.size()));
        return membership.receive({source, destination, hop_limit, router_alert, message}, now);
    }
    std::optional<Ignored> mld_query(std::uint16_t code, std::size_t size, const IpAddress& group = IpAddress::v6({})) {
        return mld(mld_message(130, code, group, size), router6, group.is_unspecified() ? all_nodes : group);
    }

    double fraction = 0.5;
    Instant now = start;
    Membership membership{
        [this](Duration lo, Duration hi) { return lo + std::chrono::duration_cast<Duration>((hi - lo) * fraction); }};
};

TEST_F(Groups, R39_EachGroupIsReportedOnTakeOverAtOnceAndOnceMore) {
    add(1, nas, {group4, group6, solicited});
    EXPECT_EQ(tick(), (Lines{"1 192.0.2.81 > 239.1.2.3 22 239.1.2.3",
                             "1 fe80::51 > ff02::16 143 4:ff02::1:ff00:51 4:ff05::1234"}));
    EXPECT_EQ(run(1min), (Lines{"500ms 1 fe80::51 > ff02::16 143 4:ff02::1:ff00:51 4:ff05::1234",
                                "5000ms 1 192.0.2.81 > 239.1.2.3 22 239.1.2.3"}));
    EXPECT_FALSE(membership.next_deadline());
}

TEST_F(Groups, R39_TheSecondTakeOverReportsAgain) {
    settle(1, nas, {group4});
    membership.remove(1, false, now);
    EXPECT_TRUE(tick().empty());
    add(1, nas, {group4});
    EXPECT_EQ(tick().size(), 1U);
    add(1, nas, {group4, group6});
    EXPECT_EQ(tick().size(), 2U) << "what is added anew replaces";
}

TEST_F(Groups, R39_TheFirstReportIsNotSuppressedByAnother) {
    add(1, nas, {group4});
    add(2, desk, {group4});
    EXPECT_EQ(igmp(igmp_message(0x16, 0, group4), neighbor4, group4), Ignored::nothing_pending);
    EXPECT_EQ(tick(), (Lines{"1 192.0.2.81 > 239.1.2.3 22 239.1.2.3", "2 192.0.2.82 > 239.1.2.3 22 239.1.2.3"}));
    EXPECT_EQ(run(1min).size(), 1U) << "the repetition is: one host's for both";
}

TEST_F(Groups, R60_R84_GroupsOfMdnsAndLlmnrAreReported) {
    add(1, nas, {mdns4, mdns6, llmnr4, llmnr6});
    EXPECT_EQ(tick(), (Lines{"1 192.0.2.81 > 224.0.0.251 22 224.0.0.251", "1 192.0.2.81 > 224.0.0.252 22 224.0.0.252",
                             "1 fe80::51 > ff02::16 143 4:ff02::fb 4:ff02::1:3"}));
    (void)run(30s);
    EXPECT_EQ(igmp_query(100), std::nullopt);
    EXPECT_EQ(mld_query(1000, 28), std::nullopt);
    EXPECT_EQ(run(10s).size(), 3U);
}

TEST_F(Groups, GroupsThatAreNeverReportedAreSkipped) {
    add(1, nas, {all_systems, all_nodes, ip("ff01::fb"), ip("ff00::1"), ip("192.0.2.7"), ip("2001:db8::7")});
    EXPECT_TRUE(run(1min).empty());
    EXPECT_EQ(igmp_query(100), Ignored::no_member);
    EXPECT_EQ(mld_query(1000, 28), Ignored::no_member);
    EXPECT_EQ(igmp_query(100, all_systems), Ignored::no_member);
}

TEST_F(Groups, R40_GeneralQueryIsAnsweredByVersion2AfterARandomPartOfTheMaximum) {
    settle(1, nas, {group4, mdns4});
    EXPECT_EQ(igmp_query(100), std::nullopt);
    EXPECT_EQ(run(10s), (Lines{"5000ms 1 192.0.2.81 > 224.0.0.251 22 224.0.0.251",
                               "5000ms 1 192.0.2.81 > 239.1.2.3 22 239.1.2.3"}));
    fraction = 1;
    EXPECT_EQ(igmp_query(10), std::nullopt);
    EXPECT_EQ(run(999ms).size(), 0U);
    EXPECT_EQ(run(1ms).size(), 2U);
}

TEST_F(Groups, R40_GroupSpecificQueryIsAnsweredForThatGroup) {
    settle(1, nas, {group4, mdns4});
    EXPECT_EQ(igmp_query(10, group4), std::nullopt);
    EXPECT_EQ(run(10s), (Lines{"500ms 1 192.0.2.81 > 239.1.2.3 22 239.1.2.3"}));
    EXPECT_EQ(igmp_query(10, ip("239.9.9.9")), Ignored::no_member);
    EXPECT_TRUE(run(10s).empty());
}

TEST_F(Groups, R40_ARunningTimerIsOnlyShortened) {
    settle(1, nas, {group4});
    EXPECT_EQ(igmp_query(20), std::nullopt); // 1 s
    now += 100ms;
    EXPECT_EQ(igmp_query(100), std::nullopt); // 5 s
    EXPECT_EQ(run(10s), (Lines{"900ms 1 192.0.2.81 > 239.1.2.3 22 239.1.2.3"}));
    EXPECT_EQ(igmp_query(100), std::nullopt);
    now += 100ms;
    EXPECT_EQ(igmp_query(20), std::nullopt);
    EXPECT_EQ(run(10s).size(), 1U);
}

TEST_F(Groups, R40_AnotherNodesReportSuppressesTheAnswer) {
    settle(1, nas, {group4, mdns4});
    for (const auto type : {std::uint8_t{0x12}, std::uint8_t{0x16}}) {
        EXPECT_EQ(igmp_query(100), std::nullopt);
        EXPECT_EQ(igmp(igmp_message(type, 0, group4), neighbor4, group4), std::nullopt);
        EXPECT_EQ(run(10s), (Lines{"5000ms 1 192.0.2.81 > 224.0.0.251 22 224.0.0.251"}));
    }
    EXPECT_EQ(igmp(igmp_message(0x16, 0, group4), neighbor4, group4), Ignored::nothing_pending);
    EXPECT_EQ(membership.ignored(Ignored::nothing_pending), 1U);
}

TEST_F(Groups, R40_OurOwnReportsThatComeBackSuppressNothing) {
    settle(1, nas, {group4});
    settle(2, desk, {mdns4});
    EXPECT_EQ(igmp_query(100, group4), std::nullopt);
    EXPECT_EQ(igmp(igmp_message(0x16, 0, group4), nas.v4, group4), Ignored::own);
    EXPECT_EQ(igmp(igmp_message(0x16, 0, group4), desk.v4, group4), Ignored::own);
    EXPECT_EQ(run(10s).size(), 1U);
    membership.remove(2, false, now);
    EXPECT_EQ(igmp_query(100, group4), std::nullopt);
    EXPECT_EQ(igmp(igmp_message(0x16, 0, group4), desk.v4, group4), std::nullopt) << "an awake host's is another's";
    EXPECT_TRUE(run(10s).empty());
}

TEST_F(Groups, R40_OneOfSeveralHostsAnswersForAGroup) {
    settle(1, nas, {group4});
    settle(2, desk, {group4, mdns4});
    EXPECT_EQ(igmp_query(100), std::nullopt);
    EXPECT_EQ(run(10s), (Lines{"5000ms 1 192.0.2.81 > 239.1.2.3 22 239.1.2.3",
                               "5000ms 2 192.0.2.82 > 224.0.0.251 22 224.0.0.251"}));
    EXPECT_EQ(igmp_query(100, group4), std::nullopt);
    membership.remove(1, false, now);
    EXPECT_EQ(run(10s), (Lines{"5000ms 2 192.0.2.82 > 239.1.2.3 22 239.1.2.3"})) << "another stands in";
}

TEST_F(Groups, R40_AQuerierOfVersion1IsAnsweredInVersion1For400Seconds) {
    settle(1, nas, {group4});
    EXPECT_EQ(igmp_query(0), std::nullopt);
    EXPECT_EQ(membership.igmp_version(now), 1U);
    EXPECT_EQ(run(10s), (Lines{"5000ms 1 192.0.2.81 > 239.1.2.3 18 239.1.2.3"})) << "10 s at most";
    (void)run(389s);
    EXPECT_EQ(igmp_query(10), std::nullopt);
    EXPECT_EQ(run(500ms), (Lines{"500ms 1 192.0.2.81 > 239.1.2.3 18 239.1.2.3"}));
    (void)run(1s);
    EXPECT_EQ(membership.igmp_version(now), 2U);
    EXPECT_EQ(igmp_query(10), std::nullopt);
    EXPECT_EQ(run(1s), (Lines{"500ms 1 192.0.2.81 > 239.1.2.3 22 239.1.2.3"}));
}

TEST_F(Groups, R40_AQuerierOfVersion3IsAnsweredInVersion2) {
    settle(1, nas, {group4});
    EXPECT_EQ(igmp_query(100, IpAddress::v4({}), 12), std::nullopt);
    EXPECT_EQ(run(10s), (Lines{"5000ms 1 192.0.2.81 > 239.1.2.3 22 239.1.2.3"}));
    fraction = 1;
    EXPECT_EQ(igmp_query(0x8a, group4, 16), std::nullopt); // with a source; (0x10 | 10) << 3 tenths of a second
    EXPECT_EQ(run(1min), (Lines{"20800ms 1 192.0.2.81 > 239.1.2.3 22 239.1.2.3"}));
    EXPECT_EQ(igmp_query(0xff, group4, 12), std::nullopt);
    EXPECT_EQ(run(1h), (Lines{"3174400ms 1 192.0.2.81 > 239.1.2.3 22 239.1.2.3"}));
    EXPECT_EQ(igmp_query(0, group4, 12), std::nullopt);
    EXPECT_EQ(tick().size(), 1U) << "0 in version 3 is at once";
}

TEST_F(Groups, EachIgnoredIgmpMessageHasAReason) {
    settle(1, nas, {group4});
    const Bytes query = igmp_message(0x11, 10, group4);
    const auto receive = [&](const Bytes& message, std::uint8_t ttl = 1) {
        return membership.receive({router4, group4, ttl, true, message}, now);
    };
    EXPECT_EQ(receive(Bytes(query.begin(), query.end() - 1)), Ignored::too_short);
    EXPECT_EQ(receive({}), Ignored::too_short);
    Bytes wrong = query;
    wrong[2] ^= 1;
    EXPECT_EQ(receive(wrong), Ignored::bad_checksum);
    for (const std::size_t size : {9U, 10U, 11U})
        EXPECT_EQ(receive(igmp_message(0x11, 10, group4, size)), Ignored::bad_length);
    EXPECT_EQ(receive(igmp_message(0x11, 10, ip("192.0.2.5"))), Ignored::bad_group);
    EXPECT_EQ(receive(igmp_message(0x16, 10, ip("192.0.2.5"))), Ignored::bad_group);
    EXPECT_EQ(receive(query, 2), Ignored::hop_limit);
    EXPECT_EQ(receive(igmp_message(0x17, 0, group4)), Ignored::unread_type);
    EXPECT_EQ(receive(igmp_message(0x22, 0, group4)), Ignored::unread_type);
    EXPECT_EQ(receive(igmp_message(0x11, 10, IpAddress::v4({}))), Ignored::bad_destination) << "not to 224.0.0.1";
    EXPECT_EQ(igmp(igmp_message(0x16, 10, group4), neighbor4, mdns4), Ignored::bad_destination);
    EXPECT_TRUE(run(1min).empty());
    EXPECT_EQ(membership.ignored(Ignored::bad_length), 3U);
    EXPECT_EQ(membership.ignored(Ignored::own), 0U);
    EXPECT_EQ(name_of(Ignored::no_router_alert), "no-router-alert");
}

TEST_F(Groups, R40_QueriesWithoutRouterAlertAndFromNoAddressAreAnswered) {
    settle(1, nas, {group4});
    const Bytes query = igmp_message(0x11, 10, group4);
    EXPECT_EQ(membership.receive({ip("0.0.0.0"), group4, 1, false, query}, now), std::nullopt);
    EXPECT_EQ(run(1s).size(), 1U);
}

TEST_F(Groups, AFloodOfGeneralQueriesIsAnsweredAtABoundedRate) {
    settle(1, nas, {group4});
    EXPECT_EQ(igmp_query(1), std::nullopt);
    EXPECT_EQ(igmp_query(1), Ignored::too_soon);
    now += 50ms;
    EXPECT_EQ(igmp_query(1), std::nullopt);
}

TEST_F(Groups, MldVersion2AnswersAGeneralQueryForAllGroupsInOneReport) {
    settle(1, nas, {mdns6, solicited, group4});
    settle(2, desk, {mdns6});
    EXPECT_EQ(mld_query(10000, 28), std::nullopt);
    EXPECT_EQ(run(10s), (Lines{"5000ms 1 fe80::51 > ff02::16 143 2:ff02::fb 2:ff02::1:ff00:51",
                               "5000ms 2 fe80::52 > ff02::16 143 2:ff02::fb"}))
        << "nobody is suppressed";
}

TEST_F(Groups, MldReportsTakeAsFewMessagesAsFit) {
    std::vector<IpAddress> many;
    for (std::uint8_t i = 1; i <= 200; ++i)
        many.push_back(IpAddress::v6({0xff, 0x05, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, i}));
    add(1, nas, many);
    const auto reports = membership.tick(now);
    ASSERT_EQ(reports.size(), 3U);
    EXPECT_EQ(reports[0].message.size(), 8 + 72 * 20U);
    EXPECT_EQ(reports[2].message.size(), 8 + 56 * 20U);
    const Bytes frame = frame_of(reports[0], MacAddress{{2, 0, 0, 0, 0, 1}}, {});
    EXPECT_LE(frame.size(), 1514U);
    const auto back = received(frame);
    ASSERT_TRUE(back);
    EXPECT_EQ(back->source, nas.v6);
    EXPECT_EQ(back->hop_limit, 1);
    EXPECT_TRUE(back->router_alert);
    EXPECT_EQ(mld::parse(back->message, back->source, back->destination).error(), Ignored::unread_type)
        << "the checksum is right";
}

TEST_F(Groups, MldGroupSpecificQueryIsAnsweredForThatGroupUnlessAGeneralAnswerComesSooner) {
    settle(1, nas, {mdns6, group6});
    EXPECT_EQ(mld_query(1000, 28, group6), std::nullopt);
    EXPECT_EQ(run(10s), (Lines{"500ms 1 fe80::51 > ff02::16 143 2:ff05::1234"}));
    EXPECT_EQ(mld_query(1000, 28), std::nullopt);
    EXPECT_EQ(mld_query(2000, 28, group6), std::nullopt);
    EXPECT_EQ(run(10s), (Lines{"500ms 1 fe80::51 > ff02::16 143 2:ff02::fb 2:ff05::1234"}));
    EXPECT_EQ(mld_query(2000, 28, group6), std::nullopt);
    EXPECT_EQ(mld_query(1000, 28), std::nullopt) << "the other way round";
    EXPECT_EQ(run(10s), (Lines{"500ms 1 fe80::51 > ff02::16 143 2:ff02::fb 2:ff05::1234"}));
    EXPECT_EQ(mld_query(2000, 28), std::nullopt);
    EXPECT_EQ(mld_query(1000, 44, group6), std::nullopt) << "with a source";
    EXPECT_EQ(run(10s), (Lines{"500ms 1 fe80::51 > ff02::16 143 2:ff05::1234",
                               "1000ms 1 fe80::51 > ff02::16 143 2:ff02::fb 2:ff05::1234"}));
}

TEST_F(Groups, MldMaximumResponseCodeMayBeFloatingPoint) {
    settle(1, nas, {mdns6});
    fraction = 1;
    EXPECT_EQ(mld_query(0x8001, 28), std::nullopt); // (0x1000 | 1) << 3 ms
    EXPECT_EQ(run(1min), (Lines{"32776ms 1 fe80::51 > ff02::16 143 2:ff02::fb"}));
    EXPECT_EQ(mld_query(0x7fff, 28), std::nullopt);
    EXPECT_EQ(run(1min), (Lines{"32767ms 1 fe80::51 > ff02::16 143 2:ff02::fb"}));
}

TEST_F(Groups, AQuerierOfMldVersion1IsAnsweredInVersion1UntilItIsGone) {
    settle(1, nas, {mdns6, group6});
    settle(2, desk, {mdns6});
    EXPECT_EQ(mld_query(10000, 24), std::nullopt);
    EXPECT_EQ(membership.mld_version(now), 1U);
    EXPECT_EQ(run(10s),
              (Lines{"5000ms 1 fe80::51 > ff02::fb 131 ff02::fb", "5000ms 1 fe80::51 > ff05::1234 131 ff05::1234"}))
        << "one of the two hosts speaks for ff02::fb";
    EXPECT_EQ(mld_query(10000, 28), std::nullopt);
    EXPECT_EQ(mld(mld_message(131, 0, mdns6), neighbor6, mdns6), std::nullopt);
    EXPECT_EQ(mld(mld_message(131, 0, group6), nas.v6, group6), Ignored::own);
    EXPECT_EQ(run(10s), (Lines{"5000ms 1 fe80::51 > ff05::1234 131 ff05::1234"}));
    (void)run(239s); // 2 × 125 s + 10 s after the query of version 1
    EXPECT_EQ(membership.mld_version(now), 1U);
    (void)run(1s);
    EXPECT_EQ(membership.mld_version(now), 2U);
    EXPECT_EQ(mld_query(1000, 28), std::nullopt);
    EXPECT_EQ(mld(mld_message(131, 0, mdns6), neighbor6, mdns6), Ignored::nothing_pending) << "version 2 hears none";
    EXPECT_EQ(run(10s).size(), 2U);
}

TEST_F(Groups, AChangeOfTheMldVersionCancelsWhatIsPending) {
    settle(1, nas, {mdns6, group6});
    EXPECT_EQ(mld_query(10000, 28), std::nullopt);
    EXPECT_EQ(mld_query(1000, 24, group6), std::nullopt);
    EXPECT_EQ(run(20s), (Lines{"500ms 1 fe80::51 > ff05::1234 131 ff05::1234"}));
    (void)run(231s);
    EXPECT_EQ(mld_query(60000, 24 + 4), std::nullopt);
    EXPECT_TRUE(run(1min).empty()) << "the mode ends before the answer in version 1 is due";
}

TEST_F(Groups, TheOlderQuerierIsRememberedByTheNewerOnesInterval) {
    settle(1, nas, {mdns6});
    Bytes query = mld_message(130, 1000, IpAddress::v6({}), 28);
    query[24] = 3;
    query[25] = 20;
    EXPECT_EQ(mld(query, router6, all_nodes), std::nullopt);
    EXPECT_EQ(mld_query(1000, 24, mdns6), std::nullopt);
    (void)run(60900ms); // 3 × 20 s + 1 s
    EXPECT_EQ(membership.mld_version(now), 1U);
    (void)run(100ms);
    EXPECT_EQ(membership.mld_version(now), 2U);
}

TEST_F(Groups, EachIgnoredMldMessageHasAReason) {
    settle(1, nas, {group6});
    const Bytes query = mld_message(130, 1000, group6, 28);
    EXPECT_EQ(mld(query, router6, group6, true, 2), Ignored::hop_limit);
    EXPECT_EQ(mld(query, router6, group6, false), Ignored::no_router_alert);
    EXPECT_EQ(mld(query, ip("2001:db8::1"), group6), Ignored::bad_source);
    EXPECT_EQ(mld(query, ip("::"), group6), Ignored::bad_source);
    EXPECT_EQ(membership.receive({router6, group6, 1, true, query}, now), Ignored::bad_checksum);
    EXPECT_EQ(mld(mld_message(130, 1000, group6, 23), router6, group6), Ignored::too_short);
    for (const std::size_t size : {25U, 26U, 27U})
        EXPECT_EQ(mld(mld_message(130, 1000, group6, size), router6, group6), Ignored::bad_length);
    EXPECT_EQ(mld(mld_message(130, 1000, router6, 28), router6, all_nodes), Ignored::bad_group);
    EXPECT_EQ(mld(mld_message(132, 0, group6), neighbor6, ip("ff02::2")), Ignored::unread_type);
    EXPECT_EQ(mld(mld_message(131, 0, group6), neighbor6, mdns6), Ignored::bad_destination);
    EXPECT_EQ(mld_query(1000, 28, mdns6), Ignored::no_member);
    EXPECT_TRUE(run(1min).empty());
}

TEST_F(Groups, AHostThatWakesLeavesNothing) {
    settle(1, nas, {group4, group6});
    EXPECT_EQ(igmp_query(100), std::nullopt);
    EXPECT_EQ(mld_query(1000, 28), std::nullopt);
    membership.remove(1, false, now);
    EXPECT_TRUE(run(1min).empty());
    membership.remove(1, true, now); // unknown by now
    EXPECT_TRUE(run(1min).empty());
}

TEST_F(Groups, AHostThatGoesForGoodLeavesWhatNobodyElseIsIn) {
    settle(1, nas, {group4, mdns4, group6, mdns6});
    settle(2, desk, {mdns4, mdns6});
    membership.remove(1, true, now);
    EXPECT_EQ(run(1min),
              (Lines{"0ms 1 192.0.2.81 > 224.0.0.2 23 239.1.2.3", "0ms 1 fe80::51 > ff02::16 143 3:ff05::1234",
                     "500ms 1 fe80::51 > ff02::16 143 3:ff05::1234"}));
    membership.remove(2, true, now);
    EXPECT_EQ(tick().size(), 2U);
    add(1, nas, {mdns6});
    EXPECT_EQ(tick(), (Lines{"1 fe80::51 > ff02::16 143 4:ff02::fb"}));
    EXPECT_EQ(run(1min), (Lines{"500ms 1 fe80::51 > ff02::16 143 4:ff02::fb"})) << "joined again: not left once more";
}

TEST_F(Groups, LeavingAnOlderQuerierIsADoneAndInIgmpVersion1Nothing) {
    settle(1, nas, {group4, group6});
    EXPECT_EQ(igmp_query(0), std::nullopt);
    EXPECT_EQ(mld_query(1000, 24), std::nullopt);
    (void)run(30s);
    membership.remove(1, true, now);
    EXPECT_EQ(run(1min), (Lines{"0ms 1 fe80::51 > ff02::2 132 ff05::1234"}));
}

TEST_F(Groups, AHostWithoutAnAddressOfAFamilyReportsFromNone) {
    add(1, {}, {group4, group6});
    EXPECT_EQ(tick(), (Lines{"1 0.0.0.0 > 239.1.2.3 22 239.1.2.3", "1 :: > ff02::16 143 4:ff05::1234"}));
}

TEST_F(Groups, R40_TheFrameOfAReportIsThatOfRfc2236) {
    add(1, nas, {group4});
    const auto reports = membership.tick(now);
    ASSERT_EQ(reports.size(), 1U);
    const Bytes frame = frame_of(reports[0], MacAddress{{2, 0, 0, 0, 0, 0x51}}, {});
    const Bytes expected{0x01, 0x00, 0x5e, 0x01, 0x02, 0x03, 2, 0,    0,    0,    0,    0x51, 0x08, 0x00, 0x46,
                         0xc0, 0x00, 0x20, 0,    0,    0x40, 0, 0x01, 0x02, 0x30, 0xc2, 192,  0,    2,    81,
                         239,  1,    2,    3,    0x94, 4,    0, 0,    0x16, 0x00, 0xf8, 0xfa, 239,  1,    2,
                         3,    0,    0,    0,    0,    0,    0, 0,    0,    0,    0,    0,    0,    0,    0};
    EXPECT_EQ(frame, expected);
    const auto back = received(frame);
    ASSERT_TRUE(back);
    EXPECT_EQ(membership.receive(*back, now), Ignored::own);
}

TEST(ReceivedFrame, IsIgmpOrMldAndNothingElse) {
    const MacAddress mac{{2, 0, 0, 0, 0, 1}};
    EXPECT_FALSE(received(build_udp({mac, mac, nas.v4, desk.v4}, 1, 2, {})));
    EXPECT_FALSE(received(build_neighbor_solicitation(mac, nas.v6, desk.v6, {})));
    EXPECT_FALSE(received(build_echo_request({mac, mac, nas.v6, desk.v6}, 1, 2, {})));
    EXPECT_FALSE(received(build_arp_announcement(mac, nas.v4, {})));
    EXPECT_FALSE(received({}));
    EXPECT_TRUE(received(build_mld_report(mac, nas.v6, std::array{mdns6}, {.outer = 5})));
}

} // namespace
} // namespace pz::groups
