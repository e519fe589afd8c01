// SPDX-License-Identifier: Apache-2.0
// From a frame to what leaves for it: the envelope that the options' messages travel in.
#include "daemon/discovery.h"

#include <netinet/in.h>

#include <algorithm>

#include <gtest/gtest.h>

#include <proxzzy/abi/maps.h>

namespace pz {
namespace {

using namespace std::chrono_literals;

constexpr SegmentId lan = 1;
constexpr MacAddress gateway_mac{{0x02, 0, 0, 0, 0, 0x01}};
constexpr MacAddress desk_mac{{0x02, 0, 0, 0, 0, 0x50}};
constexpr MacAddress client_mac{{0x02, 0, 0, 0, 0, 0x0c}};
const IpAddress desk_ip = *IpAddress::parse("192.0.2.80");
const IpAddress desk_ll = *IpAddress::parse("fe80::50");
const IpAddress client_ip = *IpAddress::parse("192.0.2.12");
const IpAddress client_ll = *IpAddress::parse("fe80::c");

struct Sent {
    HostId host = 0;
    Bytes frame;
    ParsedFrame parsed;
    std::string what;
};

class DaemonDiscovery : public ::testing::Test {
protected:
    HostConfig config(std::string name = "desk") {
        HostConfig config;
        config.name = name;
        config.macs = {desk_mac};
        config.addresses = {{.ip = desk_ip}, {.ip = desk_ll}};
        config.offers.hostnames = {name + ".local"};
        config.offers.services = {{.type = "_ipp._tcp", .port = 631, .instance = "Desk"}};
        return config;
    }
    /// It sleeps, and what it says at the beginning is over.
    void begin(const HostConfig& config) {
        id_ = table_.set(config, lan, true, now_).value();
        groups_ = discovery_.speak(host(), now_);
        settle();
        sent_.clear();
    }
    void settle() {
        for (int i = 0; i < 100; i++) {
            now_ += 100ms;
            discovery_.tick(now_);
        }
    }
    const Host& host() { return *table_.get(id_); }
    Bytes query(const dns::Name& name, std::uint16_t type) const {
        dns::Message message;
        message.id = 7;
        message.questions.push_back({.name = name, .type = type, .klass = dns::klass::in, .top_bit = false});
        return dns::serialise(message);
    }
    Bytes datagram(const IpAddress& from, const IpAddress& to, std::uint16_t from_port, std::uint16_t to_port,
                   const Bytes& payload, TagStack tags = {}) const {
        return build_udp({.source_mac = client_mac,
                          .destination_mac = to.is_multicast() ? multicast_mac(to) : desk_mac,
                          .source = from,
                          .destination = to},
                         from_port, to_port, payload, {}, tags)
            .at(0);
    }
    Bytes mdns_query() const {
        return datagram(client_ip, mdns::group(IpAddress::Family::v4), mdns::port, mdns::port,
                        query(*dns::Name::parse("desk.local"), dns::type::a));
    }
    std::vector<Sent> of(std::string_view what) const {
        std::vector<Sent> found;
        std::ranges::copy_if(sent_, std::back_inserter(found), [&](const Sent& sent) { return sent.what == what; });
        return found;
    }

    PresenceTable table_{TableOptions{}};
    HostId id_ = 0;
    Instant now_{std::chrono::hours(1)};
    std::vector<IpAddress> groups_;
    Surroundings around_{.mac = gateway_mac,
                         .link_local = IpAddress::parse("fe80::1").value(),
                         .prefixes = {*Network::parse("192.0.2.0/24")},
                         .tags = {}};
    bool has_link_ = true;
    std::vector<Sent> sent_;
    std::vector<std::string> conflicts_;
    std::map<IpAddress, std::uint8_t> listens_;
    Discovery discovery_{Discovery::Hooks{
        .look = [this](SegmentId) { return has_link_ ? std::optional(around_) : std::nullopt; },
        .send =
            [this](SegmentId, HostId host, ByteView frame, std::string_view what) {
                sent_.push_back({host, Bytes(frame.begin(), frame.end()), parse_frame(frame), std::string(what)});
            },
        .conflict = [this](HostId, std::string_view option, const std::string&) { conflicts_.emplace_back(option); },
        .listen =
            [this](SegmentId, const IpAddress& group, std::uint8_t options) {
                if (options == 0)
                    listens_.erase(group);
                else
                    listens_[group] = options;
            }}};
};

TEST_F(DaemonDiscovery, R65_AnswersOfMdnsHaveTheHostsAddressTheGatewaysMacAndTheLargestTtl) {
    begin(config());
    discovery_.receive(lan, mdns_query(), now_);
    const auto answers = of("mDNS");
    ASSERT_EQ(answers.size(), 1U);
    const auto& parsed = answers[0].parsed;
    EXPECT_EQ(parsed.status, ParseStatus::ok);
    EXPECT_EQ(parsed.hop_limit, 255);
    EXPECT_EQ(parsed.ip_source, desk_ip);
    EXPECT_EQ(parsed.ip_destination, mdns::group(IpAddress::Family::v4));
    EXPECT_EQ(parsed.source, gateway_mac) << "it may come back, and is no sign of the host's life";
    EXPECT_EQ(parsed.destination, multicast_mac(mdns::group(IpAddress::Family::v4)));
    EXPECT_EQ(parsed.protocol, IPPROTO_UDP);
}

TEST_F(DaemonDiscovery, Ipv6IsAnsweredFromTheLinkLocalAddress) {
    begin(config());
    discovery_.receive(lan,
                       datagram(client_ll, mdns::group(IpAddress::Family::v6), mdns::port, mdns::port,
                                query(*dns::Name::parse("desk.local"), dns::type::aaaa)),
                       now_);
    const auto answers = of("mDNS");
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_EQ(answers[0].parsed.ip_source, desk_ll);
    EXPECT_EQ(answers[0].parsed.hop_limit, 255);
}

TEST_F(DaemonDiscovery, R88_AnswersOfLlmnrHaveTheLargestTtlAndGoToWhoAsked) {
    begin(config());
    discovery_.receive(
        lan, datagram(client_ip, llmnr::group4, 40000, llmnr::port, query(*dns::Name::parse("desk"), dns::type::a)),
        now_);
    settle();
    const auto answers = of("LLMNR");
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_EQ(answers[0].parsed.hop_limit, 255);
    EXPECT_EQ(answers[0].parsed.ip_source, desk_ip);
    EXPECT_EQ(answers[0].parsed.ip_destination, client_ip);
    EXPECT_EQ(answers[0].parsed.destination, client_mac);
}

TEST_F(DaemonDiscovery, R23_FramesHaveTheConfiguredPriorityAndElseNone) {
    for (const std::uint16_t vid : std::initializer_list<std::uint16_t>{0, 20})
        for (const std::uint8_t priority : std::initializer_list<std::uint8_t>{0, 5}) {
            around_.tags = {.outer = vid};
            auto wanted = config();
            wanted.offers.priority = priority;
            begin(wanted);
            discovery_.receive(lan, mdns_query(), now_);
            discovery_.silence(id_, true, now_); // goodbyes too
            const auto frames = of("mDNS");
            ASSERT_GE(frames.size(), 2U);
            for (const auto& sent : frames) {
                const bool is_tagged = sent.frame[12] == 0x81 && sent.frame[13] == 0;
                EXPECT_EQ(is_tagged, vid != 0 || priority != 0);
                if (is_tagged) {
                    EXPECT_EQ(sent.frame[14] << 8 | sent.frame[15], priority << 13 | vid);
                }
                EXPECT_EQ(sent.parsed.outer_vid, vid);
                EXPECT_EQ(sent.frame[sent.parsed.l3_offset + 1], 0) << "nothing is asked of routers";
            }
        }
}

TEST_F(DaemonDiscovery, R63_AQuestionToTheHostsAddressIsAnsweredInItsOwnFrame) {
    begin(config());
    auto frame =
        datagram(client_ip, desk_ip, mdns::port, mdns::port, query(*dns::Name::parse("desk.local"), dns::type::a));
    const auto length = frame.size();
    frame.resize(2048);
    const auto answered = discovery_.answer(lan, frame, length, now_);
    ASSERT_TRUE(answered);
    EXPECT_TRUE(sent_.empty());
    frame.resize(*answered);
    const auto parsed = parse_frame(frame);
    EXPECT_EQ(parsed.status, ParseStatus::ok);
    EXPECT_EQ(parsed.source, desk_mac) << "the switch goes on to know where it is";
    EXPECT_EQ(parsed.destination, client_mac);
    EXPECT_EQ(parsed.ip_source, desk_ip);
    EXPECT_EQ(parsed.ip_destination, client_ip);
    EXPECT_EQ(parsed.hop_limit, 255);
    auto completed = frame;
    ASSERT_TRUE(complete_checksum(completed));
    EXPECT_EQ(completed, frame) << "the checksum is right";
}

TEST_F(DaemonDiscovery, AnAnswerThatHasNoRoomLeavesByItself) {
    begin(config());
    auto frame =
        datagram(client_ip, desk_ip, mdns::port, mdns::port, query(*dns::Name::parse("desk.local"), dns::type::a));
    EXPECT_FALSE(discovery_.answer(lan, frame, frame.size(), now_)) << "no byte more than the question has";
    const auto answers = of("mDNS");
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_EQ(answers[0].parsed.ip_destination, client_ip);
    EXPECT_EQ(answers[0].parsed.destination, client_mac);
}

TEST_F(DaemonDiscovery, HalfDoneAndAbsentChecksumsAreTakenAndWrongOnesAreNot) {
    begin(config());
    const auto frame = mdns_query();
    const auto parsed = parse_frame(frame);
    const auto at = parsed.l4_offset + 6;
    const auto with = [&](std::uint16_t checksum) {
        auto changed = frame;
        changed[at] = static_cast<std::uint8_t>(checksum >> 8);
        changed[at + 1] = static_cast<std::uint8_t>(checksum);
        sent_.clear();
        discovery_.receive(lan, changed, now_);
        settle();
        return !of("mDNS").empty();
    };
    const auto right = static_cast<std::uint16_t>(frame[at] << 8 | frame[at + 1]);
    const std::uint16_t half_done = static_cast<std::uint16_t>(
        ~checksum_fold(pseudo_header_sum(parsed.ip_source, parsed.ip_destination, IPPROTO_UDP, parsed.l4_length)));
    EXPECT_TRUE(with(right));
    EXPECT_TRUE(with(half_done));
    EXPECT_TRUE(with(0)) << "RFC 768";
    EXPECT_FALSE(with(static_cast<std::uint16_t>(right + 1)));
}

TEST_F(DaemonDiscovery, R60_R84_GroupsAreListenedToAsLongAsAHostIsInThem) {
    auto wanted = config();
    wanted.offers.groups = {*IpAddress::parse("239.1.2.3")};
    begin(wanted);
    const auto mdns4 = mdns::group(IpAddress::Family::v4), mdns6 = mdns::group(IpAddress::Family::v6);
    EXPECT_EQ(listens_[mdns4], PZ_LISTEN_MDNS | PZ_LISTEN_GROUPS);
    EXPECT_EQ(listens_[mdns6], PZ_LISTEN_MDNS | PZ_LISTEN_GROUPS);
    EXPECT_EQ(listens_[llmnr::group4], PZ_LISTEN_LLMNR | PZ_LISTEN_GROUPS);
    EXPECT_EQ(listens_[llmnr::group6], PZ_LISTEN_LLMNR | PZ_LISTEN_GROUPS);
    EXPECT_EQ(listens_[*IpAddress::parse("239.1.2.3")], PZ_LISTEN_GROUPS);
    EXPECT_EQ(listens_[*IpAddress::parse("224.0.0.1")], PZ_LISTEN_GROUPS) << "where queries go";
    EXPECT_EQ(listens_[*IpAddress::parse("ff02::1")], PZ_LISTEN_GROUPS);
    for (const auto& group : {mdns4, mdns6, llmnr::group4, llmnr::group6, *IpAddress::parse("239.1.2.3")})
        EXPECT_NE(std::ranges::find(groups_, group), groups_.end()) << group.to_string();

    auto other = config("other");
    other.macs = {{{0x02, 0, 0, 0, 0, 0x51}}};
    other.addresses = {{.ip = *IpAddress::parse("192.0.2.81")}};
    other.offers.services[0].instance = "Other";
    const HostId other_id = table_.set(other, lan, true, now_).value();
    (void)discovery_.speak(*table_.get(other_id), now_);
    discovery_.silence(id_, false, now_);
    EXPECT_EQ(listens_[mdns4], PZ_LISTEN_MDNS | PZ_LISTEN_GROUPS) << "the other one is in it too";
    EXPECT_FALSE(listens_.contains(mdns6));
    discovery_.silence(other_id, false, now_);
    EXPECT_TRUE(listens_.empty());
}

TEST_F(DaemonDiscovery, R61_GroupsOfWiderScopeAreKeptIfTheyAreConfigured) {
    auto wanted = config();
    wanted.offers.groups = {*IpAddress::parse("ff05::fb")};
    id_ = table_.set(wanted, lan, true, now_).value();
    (void)discovery_.speak(host(), now_);
    const auto wider = wanted.offers.groups.front().octets();
    const auto reports = of("group report");
    EXPECT_TRUE(std::ranges::any_of(reports, [&](const Sent& sent) {
        return sent.parsed.ip_source == desk_ll && !std::ranges::search(sent.frame, wider).empty();
    }));
}

TEST_F(DaemonDiscovery, R39_GroupsAreReportedOnTakeOverFromTheHostsAddress) {
    auto wanted = config();
    wanted.offers.groups = {*IpAddress::parse("239.1.2.3")};
    id_ = table_.set(wanted, lan, true, now_).value();
    (void)discovery_.speak(host(), now_);
    const auto reports = of("group report");
    const auto found = std::ranges::find_if(
        reports, [](const Sent& sent) { return sent.parsed.ip_destination == *IpAddress::parse("239.1.2.3"); });
    ASSERT_NE(found, reports.end());
    EXPECT_EQ(found->parsed.ip_source, desk_ip);
    EXPECT_EQ(found->parsed.source, gateway_mac);
    EXPECT_EQ(found->parsed.hop_limit, 1);
    const auto mld = std::ranges::find_if(reports, [](const Sent& sent) { return sent.parsed.ip_source == desk_ll; });
    EXPECT_NE(mld, reports.end());
}

TEST_F(DaemonDiscovery, WhoSpeaksTheSameAgainSaysNothingNew) {
    begin(config());
    (void)discovery_.speak(host(), now_);
    settle();
    EXPECT_TRUE(sent_.empty());
}

TEST_F(DaemonDiscovery, R81_OnlyWhoLeavesForGoodSaysGoodbye) {
    begin(config());
    discovery_.silence(id_, false, now_);
    EXPECT_TRUE(of("mDNS").empty());
    begin(config());
    discovery_.silence(id_, true, now_);
    const auto goodbyes = of("mDNS");
    ASSERT_FALSE(goodbyes.empty());
    const auto& frame = goodbyes[0].frame;
    const auto message = dns::parse(ByteView(frame).subspan(goodbyes[0].parsed.l4_offset + 8));
    ASSERT_TRUE(message) << message.error().message;
    ASSERT_FALSE(message->answers.empty());
    EXPECT_TRUE(std::ranges::all_of(message->answers, [](const dns::Record& record) { return record.ttl == 0; }));
}

TEST_F(DaemonDiscovery, R80_AnotherNodeWithTheHostsNameIsAConflict) {
    begin(config());
    dns::Message claim;
    claim.flags = dns::flag::response | dns::flag::authoritative;
    auto record = dns::Record::address(*dns::Name::parse("desk.local"), 120, *IpAddress::parse("192.0.2.99"));
    record.top_bit = true;
    claim.answers.push_back(record);
    discovery_.receive(
        lan, datagram(client_ip, mdns::group(IpAddress::Family::v4), mdns::port, mdns::port, dns::serialise(claim)),
        now_);
    EXPECT_EQ(conflicts_, (std::vector<std::string>{"mdns"}));
}

TEST_F(DaemonDiscovery, R64_WhoIsNotOnTheLinkIsNotAnsweredAndCounted) {
    begin(config());
    discovery_.receive(lan,
                       datagram(*IpAddress::parse("198.51.100.1"), mdns::group(IpAddress::Family::v4), mdns::port,
                                mdns::port, query(*dns::Name::parse("desk.local"), dns::type::a)),
                       now_);
    settle();
    EXPECT_TRUE(of("mDNS").empty());
    const auto counters = discovery_.counters();
    const auto found = std::ranges::find(counters, "mdns-ignored-not-on-link", &control::Counter::name);
    ASSERT_NE(found, counters.end());
    EXPECT_EQ(found->value, 1U);
}

TEST_F(DaemonDiscovery, AQuerierIsAnsweredByReports) {
    begin(config());
    // RFC 2236 §2: general query, 1 s for the answers
    const Bytes query{0x11, 10, 0xee, 0xf5, 0, 0, 0, 0};
    discovery_.receive(lan, build_igmp(client_mac, client_ip, *IpAddress::parse("224.0.0.1"), query, {}), now_);
    settle();
    const auto reports = of("group report");
    EXPECT_TRUE(std::ranges::any_of(
        reports, [](const Sent& sent) { return sent.parsed.ip_destination == mdns::group(IpAddress::Family::v4); }));
}

TEST_F(DaemonDiscovery, WithoutALinkNothingIsSaid) {
    begin(config());
    has_link_ = false;
    discovery_.receive(lan, mdns_query(), now_);
    settle();
    EXPECT_TRUE(sent_.empty());
}

TEST_F(DaemonDiscovery, WhoOffersNothingIsNotHeardOf) {
    auto plain = config();
    plain.offers = {};
    begin(plain);
    EXPECT_TRUE(groups_.empty());
    EXPECT_FALSE(discovery_.speaks(id_));
    EXPECT_TRUE(listens_.empty());
}

} // namespace
} // namespace pz
