// SPDX-License-Identifier: Apache-2.0
// One connection's dialogue, without a socket: what is asked for, what is refused, and what has changed after it.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "../support/control.h"
#include "control/session.h"

namespace pz::control {
namespace {

using test::named;
using test::RawMessage;
using test::some_host;

constexpr std::uint16_t silent_add = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;
constexpr std::uint16_t add = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
constexpr std::uint16_t add_or_change = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
constexpr std::uint16_t change = NLM_F_REQUEST | NLM_F_ACK | NLM_F_REPLACE;

/// An answer, copied out of its message.
struct Answer {
    std::vector<std::uint8_t> bytes;
    Received message;

    explicit Answer(const Message& from) : bytes(from.bytes().begin(), from.bytes().end()) {
        auto opened = open_answer(bytes);
        EXPECT_TRUE(opened) << opened.error().error.message;
        if (opened)
            message = *opened;
    }
    Answer(Answer&&) = default;
    [[nodiscard]] Acknowledgement acknowledgement() const {
        EXPECT_EQ(message.header.nlmsg_type, NLMSG_ERROR);
        return decode<Acknowledgement>(message).value_or(Acknowledgement{"undecodable"});
    }
    [[nodiscard]] int error() const { return -message.error.error; }
};

class ControlSession : public ::testing::Test {
protected:
    std::vector<Answer> ask(std::span<const std::uint8_t> packet, bool truncated = false) {
        session.receive(packet, truncated);
        std::vector<Answer> answers;
        while (auto message = session.next())
            answers.emplace_back(*message);
        return answers;
    }
    std::vector<Answer> ask(const RawMessage& message) { return ask(message.bytes()); }
    template <class T>
    std::vector<Answer> ask(std::uint16_t type, std::uint16_t flags, const T& body) {
        return ask(encode({type, flags, 1, 0}, body)->bytes());
    }
    template <class T>
    void expect_done(std::uint16_t type, std::uint16_t flags, const T& body, std::optional<Durable> durable) {
        const auto answers = ask(type, flags, body);
        ASSERT_EQ(answers.size(), 1U);
        EXPECT_EQ(answers[0].error(), 0) << answers[0].acknowledgement().message;
        EXPECT_EQ(answers[0].acknowledgement().durable, durable);
    }
    void expect_refused(const std::vector<Answer>& answers, int error, const std::string& text,
                        std::optional<std::uint32_t> offset = std::nullopt) {
        ASSERT_EQ(answers.size(), 1U);
        EXPECT_EQ(answers[0].error(), error);
        EXPECT_EQ(answers[0].acknowledgement().message, text);
        EXPECT_EQ(answers[0].acknowledgement().offset, offset);
        EXPECT_EQ(answers[0].acknowledgement().durable, std::nullopt);
    }

    test::FakeService service;
    Session session{service, true};
};

TEST_F(ControlSession, C11_CapabilitiesAreTold) {
    const auto answers = ask(PZ_MSG_CAPABILITIES_GET, NLM_F_REQUEST, Nothing{});
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_EQ(answers[0].message.header.nlmsg_type, PZ_MSG_CAPABILITIES);
    EXPECT_EQ(answers[0].message.header.nlmsg_seq, 1U);
    EXPECT_EQ(decode<Capabilities>(answers[0].message).value(), service.capabilities());
}

TEST_F(ControlSession, AChangeIsAnsweredWhenItIsOnDiskAndNotBefore) {
    service.holds_commits = true;
    EXPECT_TRUE(ask(PZ_MSG_HOST_SET, add, some_host(1)).empty());
    EXPECT_TRUE(session.waits());
    int ready = 0;
    session.on_ready = [&] { ++ready; };
    service.finish(Durable::yes);
    EXPECT_FALSE(session.waits());
    EXPECT_EQ(ready, 1);
    const auto message = session.next();
    ASSERT_TRUE(message);
    const Answer answer(*message);
    EXPECT_EQ(answer.error(), 0);
    EXPECT_EQ(answer.acknowledgement().durable, Durable::yes);
    EXPECT_EQ(answer.message.header.nlmsg_type, NLMSG_ERROR);
}

TEST_F(ControlSession, WhatCouldNotBeStoredIsRefused) {
    service.holds_commits = true;
    EXPECT_TRUE(ask(PZ_MSG_HOST_SET, add, some_host(1)).empty());
    service.finish(fail(Errc::system, "state /x: cannot be written: disk is full; nothing was changed", "state"));
    const auto message = session.next();
    ASSERT_TRUE(message);
    const Answer answer(*message);
    EXPECT_EQ(answer.error(), EIO);
    EXPECT_EQ(answer.acknowledgement().message, "state /x: cannot be written: disk is full; nothing was changed");
    service.holds_commits = false;
    const auto refusal = ask(PZ_MSG_HOST_SLEEP, NLM_F_REQUEST | NLM_F_ACK, HostName{"nobody"});
    ASSERT_EQ(refusal.size(), 1U) << "what changes nothing waits for nothing";
}

TEST_F(ControlSession, C13_StatusIsTold) {
    const auto answers = ask(PZ_MSG_STATUS_GET, NLM_F_REQUEST | NLM_F_ACK, Nothing{});
    ASSERT_EQ(answers.size(), 2U) << "the status, and the acknowledgement asked for";
    EXPECT_EQ(decode<DaemonStatus>(answers[0].message).value(), service.status());
    EXPECT_EQ(answers[1].error(), 0);
    EXPECT_EQ(answers[1].acknowledgement().durable, std::nullopt);
}

TEST_F(ControlSession, StatsAreADump) {
    const auto answers = ask(PZ_MSG_STATS_GET, NLM_F_REQUEST | NLM_F_DUMP, Nothing{});
    ASSERT_EQ(answers.size(), 3U);
    for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(answers[i].message.header.nlmsg_flags, NLM_F_MULTI);
        EXPECT_EQ(decode<Counter>(answers[i].message).value(), service.counters[i]);
    }
    EXPECT_EQ(answers[2].message.header.nlmsg_type, NLMSG_DONE);
    EXPECT_EQ(answers[2].message.error.error, 0);
    expect_refused(ask(PZ_MSG_STATS_GET, NLM_F_REQUEST, Nothing{}), EINVAL,
                   "nlmsg_flags: are 0x1, NLM_F_DUMP (0x300) is missing");
}

TEST_F(ControlSession, C12_AHostIsAddedChangedAndDeleted) {
    HostConfig config = some_host(1);
    expect_done(PZ_MSG_HOST_SET, add, config, Durable::no);
    EXPECT_EQ(service.hosts.at("host1").config, config);
    expect_refused(ask(PZ_MSG_HOST_SET, add, config), EEXIST, "name \"host1\": is taken", 20);

    config.echo = EchoMode::ignore;
    expect_done(PZ_MSG_HOST_SET, change, config, Durable::no);
    EXPECT_EQ(service.hosts.at("host1").config.echo, EchoMode::ignore);
    config.echo = EchoMode::wake;
    expect_done(PZ_MSG_HOST_SET, add_or_change, config, Durable::no);
    EXPECT_EQ(service.hosts.at("host1").config.echo, EchoMode::wake);

    expect_refused(ask(PZ_MSG_HOST_SET, change, some_host(2)), ENOENT, "name \"host2\": no such host", 20);
    expect_done(PZ_MSG_HOST_SET, add_or_change, some_host(2), Durable::no);
    EXPECT_EQ(service.hosts.size(), 2U);

    expect_done(PZ_MSG_HOST_DELETE, NLM_F_REQUEST | NLM_F_ACK, HostName{"host1"}, Durable::no);
    EXPECT_FALSE(service.hosts.contains("host1"));
    expect_refused(ask(PZ_MSG_HOST_DELETE, NLM_F_REQUEST, HostName{"host1"}), ENOENT, "name \"host1\": no such host",
                   20);
}

TEST_F(ControlSession, R32_SleepAndReleaseDirectivesReachTheTable) {
    expect_done(PZ_MSG_HOST_SET, add, some_host(1), Durable::no);
    expect_done(PZ_MSG_HOST_SLEEP, NLM_F_REQUEST | NLM_F_ACK, HostName{"host1"}, Durable::no);
    EXPECT_EQ(service.hosts.at("host1").state, HostState::asleep);
    expect_refused(ask(PZ_MSG_HOST_SET, change, some_host(1)), EBUSY, "host \"host1\" is not awake", 20);
    expect_done(PZ_MSG_HOST_RELEASE, NLM_F_REQUEST | NLM_F_ACK, HostName{"host1"}, Durable::no);
    EXPECT_EQ(service.hosts.at("host1").state, HostState::awake);
}

TEST_F(ControlSession, WakeReachesTheTable) {
    expect_done(PZ_MSG_HOST_SET, add, some_host(1), Durable::no);
    expect_done(PZ_MSG_HOST_WAKE, NLM_F_REQUEST | NLM_F_ACK, HostName{"host1"}, Durable::no);
    EXPECT_EQ(service.hosts.at("host1").state, HostState::waking);
}

TEST_F(ControlSession, WithoutNlmFAckOnlyRefusalsAreAnswered) {
    EXPECT_TRUE(ask(PZ_MSG_HOST_SET, silent_add, some_host(1)).empty());
    EXPECT_TRUE(service.hosts.contains("host1"));
    EXPECT_EQ(ask(PZ_MSG_HOST_SET, silent_add, some_host(1)).size(), 1U);
}

TEST_F(ControlSession, ARefusalOfTheTablePointsAtTheAttribute) {
    HostConfig config = some_host(1);
    config.magic.udp_port = 0;
    const auto answers = ask(PZ_MSG_HOST_SET, add, config);
    ASSERT_EQ(answers.size(), 1U);
    const auto refusal = answers[0].acknowledgement();
    EXPECT_EQ(answers[0].error(), EINVAL);
    EXPECT_EQ(refusal.message, "magic-port 0: must be 1 to 65535, as in 9");
    ASSERT_TRUE(refusal.offset);
    const auto message = encode({PZ_MSG_HOST_SET, add, 1, 0}, config);
    nlattr attribute{};
    std::memcpy(&attribute, message->bytes().data() + *refusal.offset, sizeof attribute);
    EXPECT_EQ(attribute.nla_type, PZ_A_HOST_MAGIC_PORT);
}

TEST_F(ControlSession, OneHostIsShown) {
    expect_done(PZ_MSG_HOST_SET, add, some_host(5), Durable::no);
    const auto answers = ask(PZ_MSG_HOST_GET, NLM_F_REQUEST, HostName{"host5"});
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_EQ(decode<HostStatus>(answers[0].message).value(), service.hosts.at("host5"));
    expect_refused(ask(PZ_MSG_HOST_GET, NLM_F_REQUEST, HostName{"host6"}), ENOENT, "name \"host6\": no such host", 20);
    expect_refused(ask(PZ_MSG_HOST_GET, NLM_F_REQUEST | NLM_F_DUMP, HostName{"host5"}), EINVAL,
                   "attribute 1: is unknown here", 20);
    expect_refused(ask(PZ_MSG_HOST_GET, NLM_F_REQUEST | NLM_F_ROOT, Nothing{}), EINVAL,
                   "nlmsg_flags: are 0x101, must have all of NLM_F_DUMP (0x300) or nothing of it");
}

TEST_F(ControlSession, ADumpIsMadeWhileItIsTakenAndSurvivesRemovals) {
    for (unsigned i = 0; i < 10; ++i)
        ASSERT_TRUE(service.host_set(some_host(i), false));
    service.gets = 0;
    const auto request = encode({PZ_MSG_HOST_GET, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, Nothing{});
    session.receive(request->bytes(), false);
    std::vector<std::string> names;
    for (int i = 0; i < 3; ++i)
        names.push_back(decode<HostStatus>(Answer(*session.next()).message).value().config.name);
    EXPECT_EQ(service.gets, 3U) << "only what was taken is made";
    ASSERT_TRUE(service.host_remove("host5"));
    ASSERT_TRUE(service.host_set(some_host(99), false));
    bool ended = false;
    while (auto message = session.next()) {
        ASSERT_FALSE(ended);
        const Answer answer(*message);
        ended = answer.message.header.nlmsg_type == NLMSG_DONE;
        if (!ended)
            names.push_back(decode<HostStatus>(answer.message).value().config.name);
    }
    EXPECT_TRUE(ended);
    EXPECT_EQ(names, (std::vector<std::string>{"host0", "host1", "host2", "host3", "host4", "host6", "host7", "host8",
                                               "host9"}));
}

TEST_F(ControlSession, OtherVersionsTypesAndFlagsAreRefusedByName) {
    RawMessage message(PZ_MSG_STATUS_GET);
    message.family.version = 9;
    expect_refused(ask(message), EOPNOTSUPP, "version: is 9, must be 1");
    expect_refused(ask(RawMessage(0x70)), EOPNOTSUPP,
                   "nlmsg_type: 112 is not a request that this version of the protocol has");
    expect_refused(ask(RawMessage(PZ_MSG_HOST)), EOPNOTSUPP,
                   "nlmsg_type: 23 is not a request that this version of the protocol has");
    expect_refused(ask(RawMessage(NLMSG_ERROR)), EOPNOTSUPP, "nlmsg_type: 2 is not a request, the first one is 16");
    expect_refused(ask(RawMessage(PZ_MSG_STATUS_GET, NLM_F_ACK)), EINVAL,
                   "nlmsg_flags: are 0x4, NLM_F_REQUEST (0x1) is missing");
    expect_refused(ask(RawMessage(PZ_MSG_STATUS_GET, NLM_F_REQUEST | NLM_F_ECHO)), EINVAL,
                   "nlmsg_flags: are 0x9, of which 0x8 is not for this request");
    expect_refused(ask(RawMessage(PZ_MSG_STATUS_GET, NLM_F_REQUEST | NLM_F_DUMP)), EINVAL,
                   "nlmsg_flags: are 0x301, of which 0x300 is not for this request");
    expect_refused(ask(RawMessage(PZ_MSG_STATUS_GET).attribute(1, {})), EINVAL, "attribute 1: is unknown here", 20);
    for (const int flags :
         {0, NLM_F_CREATE, NLM_F_EXCL, NLM_F_EXCL | NLM_F_REPLACE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_REPLACE}) {
        const auto answers = ask(PZ_MSG_HOST_SET, static_cast<std::uint16_t>(NLM_F_REQUEST | flags), some_host(1));
        ASSERT_EQ(answers.size(), 1U);
        EXPECT_NE(answers[0].acknowledgement().message.find("must have NLM_F_CREATE | NLM_F_EXCL (0x600, add)"),
                  std::string::npos);
    }
    EXPECT_TRUE(service.hosts.empty());
}

TEST_F(ControlSession, ATruncatedPacketIsRefusedByLength) {
    std::vector<std::uint8_t> packet(PZ_CONTROL_MAX_MESSAGE);
    RawMessage message(PZ_MSG_HOST_SET, add);
    message.header.nlmsg_len = PZ_CONTROL_MAX_MESSAGE + 1;
    std::ranges::copy(message.bytes(), packet.begin());
    const auto answers = ask(packet, true);
    expect_refused(answers, ENOSPC,
                   "nlmsg_len: the message is longer than 65536 bytes; a large record goes by "
                   "HOST_BEGIN, HOST_PUT and HOST_COMMIT");
    EXPECT_EQ(answers[0].message.header.nlmsg_seq, 1U);
}

TEST_F(ControlSession, APacketWithoutAHeaderIsAnswered) {
    const std::vector<std::uint8_t> packet{1, 2, 3, 4, 5};
    expect_refused(ask(packet), EINVAL, "nlmsghdr: the packet has 5 bytes, must have at least 16");
}

// ---- many hosts as one change ----

class ControlImport : public ControlSession {
protected:
    static constexpr std::uint16_t change = NLM_F_REQUEST | NLM_F_ACK;
    void begin() { expect_done(PZ_MSG_IMPORT_BEGIN, change, Nothing{}, std::nullopt); }
    void put(const HostList& list) { expect_done(PZ_MSG_IMPORT_PUT, change, list, std::nullopt); }
    Acknowledgement commit() {
        const auto answers = ask(RawMessage(PZ_MSG_IMPORT_COMMIT));
        EXPECT_EQ(answers.size(), 1U);
        EXPECT_EQ(answers[0].error(), 0) << answers[0].acknowledgement().message;
        return answers[0].acknowledgement();
    }
    static RawMessage nameless() { return RawMessage(PZ_MSG_IMPORT_PUT).nest(PZ_A_IMPORT_HOST, RawMessage(0)); }
};

TEST_F(ControlImport, AllHostsAreAcknowledgedAtTheCommit) {
    service.hosts["host1"].config = some_host(1);
    begin();
    put({{some_host(0), some_host(1)}});
    put({{some_host(2)}});
    const Acknowledgement done = commit();
    EXPECT_EQ(done.added, 2U);
    EXPECT_EQ(done.changed, 1U);
    EXPECT_EQ(done.unchanged, 0U);
    EXPECT_EQ(done.durable, Durable::yes);
    EXPECT_EQ(service.hosts.size(), 3U);
    EXPECT_EQ(service.hosts["host2"].config, some_host(2));
}

TEST_F(ControlImport, ABadPartIsTheEndOfIt) {
    begin();
    put({{some_host(0)}});
    expect_refused(ask(nameless()), EINVAL, "host: name: is missing");
    EXPECT_TRUE(service.hosts.empty());
    expect_refused(ask(RawMessage(PZ_MSG_IMPORT_COMMIT)), EINVAL,
                   "IMPORT_COMMIT: no import is open here, IMPORT_BEGIN must come first");
    begin();
    HostConfig nobody = some_host(1);
    nobody.macs.clear();
    EXPECT_EQ(ask(PZ_MSG_IMPORT_PUT, change, HostList{{some_host(0), nobody}}).at(0).error(), EINVAL);
    EXPECT_TRUE(service.hosts.empty());
    expect_refused(ask(RawMessage(PZ_MSG_IMPORT_PUT)), EINVAL,
                   "IMPORT_PUT: no import is open here, IMPORT_BEGIN must come first");
}

TEST_F(ControlImport, WhatWasSentBeforeTheRefusalWasHeardIsNoEvent) {
    begin();
    expect_refused(ask(nameless()), EINVAL, "host: name: is missing");
    const auto told = service.events.last();
    expect_refused(ask(RawMessage(PZ_MSG_IMPORT_PUT)), EINVAL,
                   "IMPORT_PUT: no import is open here, IMPORT_BEGIN must come first");
    EXPECT_EQ(service.events.last(), told);
    begin();
    EXPECT_EQ(ask(nameless()).at(0).error(), EINVAL);
    EXPECT_GT(service.events.last(), told);
}

TEST_F(ControlImport, WhoLeavesLeavesNothing) {
    begin();
    put({{some_host(0)}});
    session.end();
    EXPECT_TRUE(service.hosts.empty());
    begin();
}

// ---- records in parts ----

class ControlRecord : public ControlSession {
protected:
    /// HOST_PUT of everything but the name.
    static RawMessage put(const HostConfig& config) {
        const auto whole = encode({PZ_MSG_HOST_SET, 0, 1, 0}, HostConfig{config});
        const std::size_t name = 4 + (config.name.size() + 1 + 3) / 4 * 4;
        RawMessage message(PZ_MSG_HOST_PUT);
        return message.raw({whole->bytes().begin() + 20 + static_cast<std::ptrdiff_t>(name), whole->bytes().end()});
    }
    static RawMessage put_mac(std::uint8_t last) {
        return RawMessage(PZ_MSG_HOST_PUT).attribute(PZ_A_HOST_MAC, {0, 0, 0x5e, 0, 0x53, last});
    }
    void begin(const std::string& name, std::uint16_t flags = add) {
        expect_done(PZ_MSG_HOST_BEGIN, flags, HostName{name}, std::nullopt);
    }
    void expect_accepted(const RawMessage& message) {
        const auto answers = ask(message);
        ASSERT_EQ(answers.size(), 1U);
        EXPECT_EQ(answers[0].error(), 0) << answers[0].acknowledgement().message;
    }
    std::vector<Answer> commit() { return ask(RawMessage(PZ_MSG_HOST_COMMIT)); }
    static constexpr const char* none_open_commit =
        "HOST_COMMIT: no record is open on this connection, HOST_BEGIN must come first";
};

TEST_F(ControlRecord, PartsBecomeOneRecordAtCommit) {
    HostConfig config = some_host(1);
    config.macs.clear();
    config.addresses.clear();
    begin(config.name);
    for (std::uint8_t i = 0; i < max_macs; ++i) {
        expect_accepted(put_mac(i));
        config.macs.push_back({{0, 0, 0x5e, 0, 0x53, i}});
    }
    for (std::uint8_t i = 1; i <= max_addresses; ++i) {
        HostConfig part = named(config.name);
        part.addresses = {{.ip = IpAddress::v4({192, 0, 2, i}), .valid_for = std::chrono::seconds(i)}};
        config.addresses.push_back(part.addresses[0]);
        expect_accepted(put(part));
    }
    HostConfig rules = named(config.name);
    for (std::uint16_t port = 1; port <= PZ_MAX_RULES; ++port)
        rules.wake.push_back({6, port});
    config.wake = rules.wake;
    expect_accepted(put(rules));
    HostConfig singles = named(config.name);
    singles.interface = config.interface = "lan0";
    singles.vlan = config.vlan = {5, 0};
    singles.echo = config.echo = EchoMode::ignore;
    expect_accepted(put(singles));
    EXPECT_TRUE(service.hosts.empty()) << "nothing is applied before the commit";
    const auto answers = commit();
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_EQ(answers[0].error(), 0) << answers[0].acknowledgement().message;
    EXPECT_EQ(answers[0].acknowledgement().durable, Durable::no);
    EXPECT_EQ(service.hosts.at("host1").config, config);
}

TEST_F(ControlRecord, ALargerRecordThanOneMessageIsJudgedAsAWhole) {
    begin("big");
    HostConfig part = named("big");
    for (std::uint8_t i = 0; i < 200; ++i)
        part.addresses.push_back({.ip = IpAddress::v4({10, 0, 0, i}), .valid_for = std::chrono::seconds(1)});
    std::size_t bytes = 0;
    for (int i = 0; i < 20; ++i) {
        bytes += put(part).bytes().size();
        expect_accepted(put(part));
    }
    EXPECT_GT(bytes, std::size_t{PZ_CONTROL_MAX_MESSAGE});
    expect_accepted(put_mac(1));
    expect_refused(commit(), EINVAL, "ip: 4000 given, a host has 1 to 64");
    EXPECT_TRUE(service.hosts.empty());
    expect_refused(commit(), EINVAL, none_open_commit);
}

TEST_F(ControlRecord, CommitAndPutNeedABegin) {
    expect_refused(commit(), EINVAL, none_open_commit);
    expect_refused(ask(put_mac(1)), EINVAL,
                   "HOST_PUT: no record is open on this connection, HOST_BEGIN must come first");
}

TEST_F(ControlRecord, OtherSetsAreRefusedWhileARecordIsOpen) {
    begin("host1");
    expect_refused(ask(PZ_MSG_HOST_SET, add, some_host(2)), EBUSY,
                   "HOST_SET: a record of host \"host1\" is open on this connection, HOST_COMMIT must come first");
    expect_refused(ask(PZ_MSG_HOST_BEGIN, add, HostName{"host2"}), EBUSY,
                   "HOST_BEGIN: a record of host \"host1\" is open on this connection, HOST_COMMIT must come first");
    EXPECT_TRUE(service.hosts.empty());
    EXPECT_EQ(ask(PZ_MSG_STATUS_GET, NLM_F_REQUEST, Nothing{}).size(), 1U) << "reading goes on";
    expect_accepted(put(some_host(1)));
    EXPECT_EQ(commit()[0].error(), 0);
    EXPECT_EQ(service.hosts.at("host1").config, some_host(1));
    expect_done(PZ_MSG_HOST_SET, add, some_host(2), Durable::no);
}

TEST_F(ControlRecord, ABadPartDropsTheRecord) {
    begin("host1");
    expect_accepted(put(some_host(1)));
    expect_refused(ask(RawMessage(PZ_MSG_HOST_PUT).attribute(PZ_A_HOST_MAC, {1})), EINVAL,
                   "mac: has 1 bytes, must have 6", 20);
    expect_refused(commit(), EINVAL, none_open_commit);
    EXPECT_TRUE(service.hosts.empty());
}

TEST_F(ControlRecord, WhatMayBeThereOnceMayNotComeInTwoParts) {
    begin("host1");
    expect_accepted(RawMessage(PZ_MSG_HOST_PUT).attribute(PZ_A_HOST_ECHO, {1}));
    expect_refused(ask(RawMessage(PZ_MSG_HOST_PUT).attribute(PZ_A_HOST_ECHO, {1})), EINVAL,
                   "echo: is there twice, may be there once", 20);
    begin("host1");
    expect_refused(ask(RawMessage(PZ_MSG_HOST_PUT).text(PZ_A_HOST_NAME, "other")), EINVAL,
                   "name: is there twice, may be there once", 20);
}

TEST_F(ControlRecord, PartsAreBoundedInNumber) {
    begin("host1");
    for (int i = 0; i < PZ_CONTROL_MAX_PARTS; ++i)
        ASSERT_EQ(ask(RawMessage(PZ_MSG_HOST_PUT, NLM_F_REQUEST)).size(), 0U);
    expect_refused(ask(put_mac(1)), ENOSPC, "HOST_PUT: the record of host \"host1\" has more than 256 parts");
    expect_refused(commit(), EINVAL, none_open_commit);
}

TEST_F(ControlRecord, PartsAreBoundedInBytes) {
    begin("host1");
    RawMessage part(PZ_MSG_HOST_PUT, NLM_F_REQUEST);
    while (part.attributes.size() < 60'000)
        part.attribute(PZ_A_HOST_MAC, {0, 0, 0, 0, 0, 1});
    std::size_t taken = 0;
    std::vector<Answer> answers;
    for (; answers.empty(); taken += part.attributes.size())
        answers = ask(part);
    expect_refused(answers, ENOSPC, "HOST_PUT: the record of host \"host1\" is longer than 1048576 bytes");
    EXPECT_GT(taken, std::size_t{PZ_CONTROL_MAX_RECORD});
    EXPECT_LE(taken, PZ_CONTROL_MAX_RECORD + part.attributes.size());
}

TEST_F(ControlRecord, TheFlagsOfBeginAreThoseOfTheRecord) {
    ASSERT_TRUE(service.host_set(some_host(1), false));
    begin("host1", add);
    expect_accepted(put(some_host(1)));
    expect_refused(commit(), EEXIST, "name \"host1\": is taken");
    begin("host2", change);
    expect_accepted(put(some_host(2)));
    expect_refused(commit(), ENOENT, "name \"host2\": no such host");
    HostConfig config = some_host(1);
    config.echo = EchoMode::ignore;
    begin("host1", change);
    expect_accepted(put(config));
    EXPECT_EQ(commit()[0].error(), 0);
    EXPECT_EQ(service.hosts.at("host1").config, config);
}

// ---- events and wakes ----

class ControlEvents : public ControlSession {
protected:
    void happen(const std::string& host, const std::string& text = "text") {
        Event event;
        event.host = host;
        event.text = text;
        service.events.record(EventKind::trigger, std::move(event));
    }
    /// What the session has to say: "sequence text" of events, "missed N", "done", or the type's number.
    std::vector<std::string> said() {
        std::vector<std::string> lines;
        while (auto message = session.next()) {
            const Answer answer(*message);
            EXPECT_EQ(session.may_wait(), answer.message.header.nlmsg_type == PZ_MSG_EVENT);
            if (answer.message.header.nlmsg_type == NLMSG_DONE) {
                lines.emplace_back("done");
            } else if (answer.message.header.nlmsg_type == PZ_MSG_EVENT) {
                EXPECT_EQ(answer.message.header.nlmsg_flags, NLM_F_MULTI);
                EXPECT_EQ(answer.message.header.nlmsg_seq, 1U);
                const auto event = decode<Event>(answer.message).value();
                lines.push_back(event.missed ? "missed " + std::to_string(*event.missed)
                                             : std::to_string(event.sequence) + " " + event.text);
            } else {
                lines.push_back(std::to_string(answer.message.header.nlmsg_type));
            }
        }
        return lines;
    }
    void get(const EventsWanted& wanted) {
        session.receive(encode({PZ_MSG_EVENTS_GET, NLM_F_REQUEST | NLM_F_ACK | NLM_F_DUMP, 1, 0}, wanted)->bytes(),
                        false);
    }
    using Lines = std::vector<std::string>;
};

TEST_F(ControlEvents, WhatIsKeptIsADump) {
    get({});
    EXPECT_EQ(said(), Lines{"done"});
    happen("a", "one");
    happen("b", "two");
    get({});
    happen("a", "too late");
    EXPECT_EQ(said(), (Lines{"1 one", "2 two", "done"}));
    get({.host = "b"});
    EXPECT_EQ(said(), (Lines{"2 two", "done"}));
    EXPECT_FALSE(session.follows());
}

TEST_F(ControlEvents, WhoFollowsGetsWhatComes) {
    happen("a", "one");
    get({.host = {}, .follow = true});
    EXPECT_TRUE(session.follows());
    EXPECT_EQ(said(), Lines{"1 one"});
    EXPECT_EQ(said(), Lines{});
    happen("b", "two");
    EXPECT_EQ(said(), Lines{"2 two"});
    session.end_following();
    happen("b", "too late");
    EXPECT_EQ(said(), Lines{"done"});
    get({.host = {}, .follow = true, .new_only = true});
    EXPECT_EQ(said(), Lines{});
    happen("b", "four");
    EXPECT_EQ(said(), Lines{"4 four"});
}

TEST_F(ControlEvents, WhoFellBehindIsToldHowMany) {
    get({.host = {}, .follow = true});
    EXPECT_EQ(said(), Lines{});
    for (int i = 0; i < 5000; ++i)
        happen("a");
    const auto lines = said();
    ASSERT_EQ(lines.size(), 1U + 4096U);
    EXPECT_EQ(lines[0], "missed 904");
    EXPECT_EQ(lines[1], "905 text");
    EXPECT_EQ(lines.back(), "5000 text");
}

TEST_F(ControlEvents, ADumpThatFellBehindEndsWhereItWould) {
    for (int i = 0; i < 10; ++i)
        happen("a");
    get({});
    for (int i = 0; i < 6000; ++i)
        happen("a");
    EXPECT_EQ(said(), (Lines{"missed 10", "done"}));
}

TEST_F(ControlEvents, OtherRequestsAreAnsweredBetweenEvents) {
    get({.host = {}, .follow = true});
    session.receive(RawMessage(PZ_MSG_STATUS_GET, NLM_F_REQUEST).bytes(), false);
    happen("a", "one");
    EXPECT_EQ(said(), (Lines{std::to_string(PZ_MSG_STATUS), "1 one"}));
    const auto answers = ask(RawMessage(PZ_MSG_EVENTS_GET, NLM_F_REQUEST | NLM_F_DUMP));
    ASSERT_EQ(answers.size(), 2U) << "the refusal, and the event that it is";
    EXPECT_EQ(answers[0].error(), EBUSY);
    EXPECT_EQ(answers[0].acknowledgement().message,
              "EVENTS_GET: events are followed on this connection already, open another");
}

TEST_F(ControlEvents, WhatMakesNoSenseIsRefused) {
    expect_refused(ask(RawMessage(PZ_MSG_EVENTS_GET, NLM_F_REQUEST)), EINVAL,
                   "nlmsg_flags: are 0x1, NLM_F_DUMP (0x300) is missing");
    expect_refused(ask(PZ_MSG_EVENTS_GET, NLM_F_REQUEST | NLM_F_DUMP, EventsWanted{.host = {}, .new_only = true}),
                   EINVAL, "new-only: is 1, must be 0 without follow: there would be nothing to send");
    expect_refused(ask(PZ_MSG_WAKES_GET, NLM_F_REQUEST | NLM_F_DUMP, HostName{"nobody"}), ENOENT,
                   "name \"nobody\": no such host", 20);
}

TEST_F(ControlEvents, ChangesAndRefusalsAreEventsAndReadingIsNot) {
    expect_done(PZ_MSG_HOST_SET, add, some_host(1), Durable::no);
    expect_done(PZ_MSG_HOST_SLEEP, NLM_F_REQUEST | NLM_F_ACK, HostName{"host1"}, Durable::no);
    ask(PZ_MSG_STATUS_GET, NLM_F_REQUEST, Nothing{});
    ask(PZ_MSG_HOST_WAKE, NLM_F_REQUEST, HostName{"nobody"});
    ask(RawMessage(0x4000));
    get({});
    EXPECT_EQ(said(), (Lines{"1 host set", "2 host sleep", "3 host wake: name \"nobody\": no such host",
                             "4 message type 16384: nlmsg_type: 16384 is not a request that this version of the "
                             "protocol has",
                             "done"}));
    EXPECT_EQ(service.events.at(3).host, "nobody");
}

TEST_F(ControlEvents, WhoMayNotWriteCannotFloodTheJournal) {
    Session stranger(service, false, {.uid = 1000, .pid = 7});
    for (int i = 0; i < 1000; ++i) {
        stranger.receive(RawMessage(PZ_MSG_DETACH).bytes(), false);
        while (stranger.next())
            ;
    }
    EXPECT_GE(service.events.last(), 16U);
    EXPECT_LE(service.events.last(), 20U);
}

TEST_F(ControlEvents, C14_WakesAreADump) {
    ASSERT_TRUE(service.host_set(some_host(1), false));
    Wake wake;
    wake.outcome = "awake";
    wake.decided_by = "kernel";
    wake.frame = {{1, 2, 3}};
    service.wake_log = {wake, wake};
    const auto answers = ask(PZ_MSG_WAKES_GET, NLM_F_REQUEST | NLM_F_DUMP, HostName{"host1"});
    ASSERT_EQ(answers.size(), 3U);
    EXPECT_EQ(decode<Wake>(answers[1].message).value(), wake);
    EXPECT_EQ(answers[2].message.header.nlmsg_type, NLMSG_DONE);
}

// ---- explain ----

TEST_F(ControlSession, ExplainIsHandedToTheServiceAndItsWordsComeBack) {
    service.explanation.host = "nas";
    const ExplainRequest question{.interface = "lan0", .frame = {Bytes(60, 1)}};
    const auto answers = ask(PZ_MSG_EXPLAIN, NLM_F_REQUEST, question);
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_EQ(answers[0].message.header.nlmsg_type, PZ_MSG_EXPLANATION);
    EXPECT_EQ(decode<Explanation>(answers[0].message).value_or(Explanation{}), service.explanation);
    EXPECT_EQ(service.explained, std::vector{question});
}

TEST_F(ControlSession, ARefusedExplainNamesTheAttribute) {
    const auto ask_with = [&](const RawMessage& message) { return ask(message); };
    const std::vector<std::uint8_t> frame(60, 1);
    expect_refused(
        ask_with(
            RawMessage(PZ_MSG_EXPLAIN).attribute(PZ_A_EXPLAIN_FRAME, frame).text(PZ_A_EXPLAIN_INTERFACE, "nosuch0")),
        ENOENT, "interface 'nosuch0' is not served: lan0", 84);
    expect_refused(ask_with(RawMessage(PZ_MSG_EXPLAIN).attribute(PZ_A_EXPLAIN_FRAME, {1, 2, 3})), EINVAL,
                   "frame: is too short", 20);
    expect_refused(
        ask_with(RawMessage(PZ_MSG_EXPLAIN).attribute(PZ_A_EXPLAIN_FRAME, frame).attribute(PZ_A_EXPLAIN_FRAME, frame)),
        EINVAL, "frame: is there twice, may be there once", 84);
    expect_refused(ask_with(RawMessage(PZ_MSG_EXPLAIN, NLM_F_REQUEST | NLM_F_DUMP)), EINVAL,
                   "nlmsg_flags: are 0x301, of which 0x300 is not for this request");
    const auto missing = ask_with(RawMessage(PZ_MSG_EXPLAIN));
    ASSERT_EQ(missing.size(), 1U);
    EXPECT_EQ(missing[0].acknowledgement().message, "frame: is missing");
    EXPECT_EQ(missing[0].acknowledgement().missing_type, std::uint32_t{PZ_A_EXPLAIN_FRAME});
    EXPECT_EQ(service.explained.size(), 2U);
}

// ---- who may do what ----

TEST(ControlPermission, OthersReadWhatIsNotAboutHosts) {
    test::FakeService service;
    ASSERT_TRUE(service.host_set(some_host(1), false));
    const auto answers = [&](std::uint16_t type, std::uint16_t flags, bool name) {
        Session session(service, false);
        RawMessage message(type, flags);
        if (name)
            message.text(PZ_A_HOST_NAME, "host1");
        session.receive(message.bytes(), false);
        std::vector<Answer> result;
        while (auto each = session.next())
            result.emplace_back(*each);
        return result;
    };
    const std::uint16_t request = NLM_F_REQUEST;
    EXPECT_EQ(answers(PZ_MSG_CAPABILITIES_GET, request, false)[0].message.header.nlmsg_type, PZ_MSG_CAPABILITIES);
    EXPECT_EQ(answers(PZ_MSG_STATUS_GET, request, false)[0].message.header.nlmsg_type, PZ_MSG_STATUS);
    EXPECT_EQ(answers(PZ_MSG_STATS_GET, request | NLM_F_DUMP, false).size(), 3U);
    bool detached = false;
    service.on_detach = [&] { detached = true; };
    struct Case {
        std::uint16_t type, flags;
        bool name;
    };
    for (const Case& each :
         {Case{PZ_MSG_HOST_GET, request, true}, Case{PZ_MSG_HOST_GET, request | NLM_F_DUMP, false},
          Case{PZ_MSG_HOST_SET, add, true}, Case{PZ_MSG_HOST_BEGIN, add, true}, Case{PZ_MSG_HOST_PUT, request, false},
          Case{PZ_MSG_HOST_COMMIT, request, false}, Case{PZ_MSG_HOST_DELETE, request, true},
          Case{PZ_MSG_HOST_SLEEP, request, true}, Case{PZ_MSG_HOST_WAKE, request, true},
          Case{PZ_MSG_HOST_RELEASE, request, true}, Case{PZ_MSG_DETACH, request, false},
          Case{PZ_MSG_EVENTS_GET, request | NLM_F_DUMP, false}, Case{PZ_MSG_WAKES_GET, request | NLM_F_DUMP, true},
          Case{PZ_MSG_EXPLAIN, request, false}}) {
        const auto refused = answers(each.type, each.flags, each.name);
        ASSERT_EQ(refused.size(), 1U) << each.type;
        EXPECT_EQ(refused[0].error(), EPERM) << each.type;
        EXPECT_EQ(refused[0].acknowledgement().message,
                  "permission denied: only root and members of the group proxzzy may read hosts or change anything");
    }
    EXPECT_FALSE(detached);
    EXPECT_TRUE(service.explained.empty());
    EXPECT_EQ(service.hosts.at("host1").state, HostState::awake);
    EXPECT_EQ(service.hosts.size(), 1U);
}

TEST(ControlFuzzSeeds, EverySeedIsARequestThatTheDaemonTakes) {
    const auto folder = std::filesystem::path(PROXZZY_SOURCE_DIR) / "tests/fuzz/corpus/control";
    std::size_t seeds = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        ++seeds;
        std::ifstream file(entry.path(), std::ios::binary);
        const std::vector<char> text{std::istreambuf_iterator<char>(file), {}};
        std::span<const std::uint8_t> rest(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
        test::FakeService service;
        ASSERT_TRUE(service.host_set(some_host(1), false));
        Session session(service, true);
        while (!rest.empty()) {
            ASSERT_GE(rest.size(), sizeof(nlmsghdr)) << entry.path();
            nlmsghdr header{};
            std::memcpy(&header, rest.data(), sizeof header);
            ASSERT_LE(header.nlmsg_len, rest.size()) << entry.path();
            session.receive(rest.first(header.nlmsg_len), false);
            while (auto message = session.next())
                EXPECT_EQ(Answer(*message).error(), 0) << entry.path();
            rest = rest.subspan(header.nlmsg_len);
        }
    }
    EXPECT_GE(seeds, 12U);
}

} // namespace
} // namespace pz::control
