// SPDX-License-Identifier: Apache-2.0
// The control socket with real clients: the server's loop runs in a thread of its own.
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <optional>
#include <thread>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gtest/gtest.h>

#include "../support/control.h"
#include "base/fd.h"
#include "control/client.h"
#include "control/server.h"

namespace pz::control {
namespace {

using namespace std::chrono_literals;
using test::RawMessage;
using test::some_host;

constexpr std::uint16_t add = NLM_F_CREATE | NLM_F_EXCL;

class TemporaryFolder {
public:
    TemporaryFolder() { EXPECT_NE(mkdtemp(path_.data()), nullptr); }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    ~TemporaryFolder() { std::filesystem::remove_all(path_); }
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_ = "/tmp/proxzzy-control-XXXXXX";
};

/// A fake daemon at a socket, until it goes out of scope.
class Daemon {
public:
    explicit Daemon(const std::string& path, ServerOptions options = {}) {
        auto listening = Server::listen(context_, path, service, std::move(options));
        EXPECT_TRUE(listening) << (listening ? "" : listening.error().message);
        if (listening)
            server_ = std::move(*listening);
        thread_ = std::thread([this] { context_.run(); });
    }
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;
    ~Daemon() { stop(); }

    /// In the loop thread, where the service lives.
    template <class Function>
    auto run(Function function) {
        std::packaged_task<std::invoke_result_t<Function>()> task(function);
        auto result = task.get_future();
        boost::asio::post(context_, std::move(task));
        return result.get();
    }
    void stop() {
        if (!thread_.joinable())
            return;
        boost::asio::post(context_, [this] {
            server_.reset();
            work_.reset();
        });
        thread_.join();
    }
    boost::asio::io_context& context() { return context_; }

    test::FakeService service;

private:
    boost::asio::io_context context_;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{context_.get_executor()};
    std::unique_ptr<Server> server_;
    std::thread thread_;
};

/// A client that may do anything wrong.
class RawClient {
public:
    explicit RawClient(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::ranges::copy(path, address.sun_path);
        EXPECT_EQ(::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        const timeval limit{10, 0};
        EXPECT_EQ(setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    }
    void send(std::span<const std::uint8_t> bytes) const {
        ASSERT_EQ(::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()))
            << std::strerror(errno);
    }
    void send(const RawMessage& message) const { send(message.bytes()); }
    /// The next packet; empty: the daemon closed the connection.
    [[nodiscard]] std::vector<std::uint8_t> receive() const {
        std::vector<std::uint8_t> packet(PZ_CONTROL_MAX_MESSAGE);
        const ssize_t size = recv(socket_.get(), packet.data(), packet.size(), 0);
        EXPECT_TRUE(size >= 0 || errno == ECONNRESET) << std::strerror(errno);
        packet.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
        return packet;
    }
    /// The text of the refusal that comes next; empty for an acknowledgement.
    [[nodiscard]] std::string refusal() const {
        const auto packet = receive();
        const auto answer = open_answer(packet);
        EXPECT_TRUE(answer && answer->header.nlmsg_type == NLMSG_ERROR);
        if (!answer)
            return "no answer";
        const auto text = decode<Acknowledgement>(*answer);
        return text ? text->message : "undecodable";
    }
    void close() { socket_ = Fd(); }

private:
    Fd socket_;
};

class ControlServer : public ::testing::Test {
protected:
    [[nodiscard]] Client client() const {
        auto connected = Client::connect(path);
        EXPECT_TRUE(connected) << (connected ? "" : connected.error().message);
        return std::move(*connected);
    }

    TemporaryFolder folder;
    std::string path = folder.path() + "/run/control.sock"; // the folder is made by the server
};

TEST_F(ControlServer, C11_C12_C13_AThousandHostsAreAddedShownAndDumped) {
    Daemon daemon(path);
    Client ctl = client();
    const auto capabilities = ctl.get<Capabilities>(PZ_MSG_CAPABILITIES_GET);
    ASSERT_TRUE(capabilities) << capabilities.error().message;
    EXPECT_EQ(*capabilities, daemon.service.capabilities());
    std::vector<std::string> expected;
    for (unsigned i = 0; i < 1000; ++i) {
        const auto done = ctl.change(PZ_MSG_HOST_SET, add, some_host(i));
        ASSERT_TRUE(done) << done.error().message;
        EXPECT_EQ(done->durable, Durable::no);
        expected.push_back(some_host(i).name);
    }
    std::ranges::sort(expected);
    EXPECT_EQ(ctl.get<DaemonStatus>(PZ_MSG_STATUS_GET)->hosts, 1000U);
    const auto one = ctl.get<HostStatus>(PZ_MSG_HOST_GET, HostName{"host500"});
    ASSERT_TRUE(one) << one.error().message;
    EXPECT_EQ(one->config, some_host(500));
    std::vector<std::string> names;
    const auto dumped = ctl.dump<HostStatus>(PZ_MSG_HOST_GET, [&](const HostStatus& host) {
        names.push_back(host.config.name);
        EXPECT_EQ(host.config.macs.size(), 1U);
        EXPECT_EQ(host.config.addresses.size(), 2U);
    });
    ASSERT_TRUE(dumped) << dumped.error().message;
    EXPECT_EQ(names, expected);
    std::vector<Counter> counters;
    ASSERT_TRUE(ctl.dump<Counter>(PZ_MSG_STATS_GET, [&](Counter counter) { counters.push_back(std::move(counter)); }));
    EXPECT_EQ(counters, daemon.service.counters);
}

TEST_F(ControlServer, R32_SleepAndReleaseAreAcknowledgedWhenTheyAreDone) {
    Daemon daemon(path);
    Client ctl = client();
    const auto state = [&] { return daemon.run([&] { return daemon.service.hosts.at("host1").state; }); };
    ASSERT_TRUE(ctl.change(PZ_MSG_HOST_SET, add, some_host(1)));
    const auto asleep = ctl.change(PZ_MSG_HOST_SLEEP, 0, HostName{"host1"});
    ASSERT_TRUE(asleep) << asleep.error().message;
    EXPECT_EQ(asleep->durable, Durable::no);
    EXPECT_EQ(state(), HostState::asleep);
    ASSERT_TRUE(ctl.change(PZ_MSG_HOST_WAKE, 0, HostName{"host1"}));
    EXPECT_EQ(state(), HostState::waking);
    ASSERT_TRUE(ctl.change(PZ_MSG_HOST_RELEASE, 0, HostName{"host1"}));
    EXPECT_EQ(state(), HostState::awake);
    ASSERT_TRUE(ctl.change(PZ_MSG_HOST_DELETE, 0, HostName{"host1"}));
    const auto gone = ctl.change(PZ_MSG_HOST_SLEEP, 0, HostName{"host1"});
    ASSERT_FALSE(gone);
    EXPECT_EQ(gone.error().code, Errc::not_found);
    EXPECT_EQ(gone.error().message, "name \"host1\": no such host");
}

TEST_F(ControlServer, ARecordInPartsIsAppliedAtCommit) {
    Daemon daemon(path);
    Client ctl = client();
    ASSERT_TRUE(ctl.change(PZ_MSG_HOST_BEGIN, add, HostName{"host1"}));
    const RawClient raw(path);
    const auto whole = encode({PZ_MSG_HOST_SET, 0, 0, 0}, some_host(1));
    RawMessage part(PZ_MSG_HOST_PUT);
    part.raw({whole->bytes().begin() + 32, whole->bytes().end()}); // without the name
    raw.send(RawMessage(PZ_MSG_HOST_BEGIN, NLM_F_REQUEST | add).text(PZ_A_HOST_NAME, "host1"));
    raw.send(part);
    EXPECT_EQ(raw.refusal(), "");
    EXPECT_TRUE(daemon.run([&] { return daemon.service.hosts.empty(); }));
    const auto no_part = ctl.change(PZ_MSG_HOST_COMMIT);
    ASSERT_FALSE(no_part) << "another connection's parts are not this one's";
    EXPECT_EQ(no_part.error().message, "mac: 0 given, a host has 1 to 8");
    raw.send(RawMessage(PZ_MSG_HOST_COMMIT));
    EXPECT_EQ(raw.refusal(), "");
    EXPECT_EQ(daemon.run([&] { return daemon.service.hosts.at("host1").config; }), some_host(1));
}

TEST_F(ControlServer, AClientThatGoesAwayInTheMiddleChangesNothing) {
    Daemon daemon(path);
    {
        const RawClient raw(path);
        raw.send(RawMessage(PZ_MSG_HOST_BEGIN, NLM_F_REQUEST | NLM_F_ACK | add).text(PZ_A_HOST_NAME, "host1"));
        EXPECT_EQ(raw.refusal(), "");
        raw.send(RawMessage(PZ_MSG_HOST_PUT).attribute(PZ_A_HOST_MAC, {0, 0, 0x5e, 0, 0x53, 1}));
        EXPECT_EQ(raw.refusal(), "");
    }
    Client ctl = client();
    EXPECT_EQ(ctl.get<DaemonStatus>(PZ_MSG_STATUS_GET)->hosts, 0U);
    const auto commit = ctl.change(PZ_MSG_HOST_COMMIT);
    ASSERT_FALSE(commit);
    EXPECT_EQ(commit.error().message, "HOST_COMMIT: no record is open on this connection, HOST_BEGIN must come first");
    EXPECT_TRUE(daemon.run([&] { return daemon.service.hosts.empty(); }));
}

TEST_F(ControlServer, AMessageOf64KiBIsReadAndOneByteMoreIsRefused) {
    Daemon daemon(path);
    const RawClient raw(path);
    RawMessage message(PZ_MSG_HOST_SLEEP);
    message.text(PZ_A_HOST_NAME, "host1");
    while (message.bytes().size() < PZ_CONTROL_MAX_MESSAGE)
        message.attribute(99, {});
    ASSERT_EQ(message.bytes().size(), std::size_t{PZ_CONTROL_MAX_MESSAGE});
    raw.send(message);
    EXPECT_EQ(raw.refusal(), "attribute 99: is unknown here");
    raw.send(message.raw({0}));
    EXPECT_EQ(raw.refusal(), "nlmsg_len: the message is longer than 65536 bytes; a large record goes by HOST_BEGIN, "
                             "HOST_PUT and HOST_COMMIT");
    raw.send(RawMessage(PZ_MSG_HOST_SLEEP).text(PZ_A_HOST_NAME, "host1"));
    EXPECT_EQ(raw.refusal(), "name \"host1\": no such host") << "the connection goes on";
}

TEST_F(ControlServer, RefusalsComeBackOverTheSocket) {
    Daemon daemon(path);
    const RawClient raw(path);
    RawMessage version(PZ_MSG_STATUS_GET);
    version.family.version = 0;
    raw.send(version);
    EXPECT_EQ(raw.refusal(), "version: is 0, must be 1");
    raw.send(RawMessage(0x4000));
    EXPECT_EQ(raw.refusal(), "nlmsg_type: 16384 is not a request that this version of the protocol has");
    raw.send(RawMessage(PZ_MSG_HOST_WAKE).text(PZ_A_HOST_NAME, "a").text(PZ_A_HOST_NAME, "b"));
    EXPECT_EQ(raw.refusal(), "name: is there twice, may be there once");
    const std::vector<std::uint8_t> rubbish{0xff, 0, 0xff};
    raw.send(rubbish);
    EXPECT_EQ(raw.refusal(), "nlmsghdr: the packet has 3 bytes, must have at least 16");
}

TEST_F(ControlServer, ManyRequestsInARowAreAnsweredInOrder) {
    Daemon daemon(path);
    const RawClient raw(path);
    for (std::uint32_t i = 1; i <= 50; ++i) {
        RawMessage message(PZ_MSG_STATUS_GET, NLM_F_REQUEST);
        message.header.nlmsg_seq = i;
        raw.send(message);
    }
    for (std::uint32_t i = 1; i <= 50; ++i) {
        const auto packet = raw.receive();
        const auto answer = open_answer(packet);
        ASSERT_TRUE(answer);
        EXPECT_EQ(answer->header.nlmsg_type, PZ_MSG_STATUS);
        EXPECT_EQ(answer->header.nlmsg_seq, i);
    }
}

// ---- who is there ----

TEST_F(ControlServer, WhoMayNotWriteIsToldSo) {
    std::optional<Peer> seen;
    Daemon daemon(path, {.may_write = [&](const Peer& peer) {
                      seen = peer;
                      return false;
                  }});
    Client ctl = client();
    EXPECT_TRUE(ctl.get<DaemonStatus>(PZ_MSG_STATUS_GET));
    const auto refused = ctl.change(PZ_MSG_HOST_SET, add, some_host(1));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::permission);
    EXPECT_EQ(refused.error().message,
              "permission denied: only root and members of the group proxzzy may read hosts or change anything");
    const auto hidden = ctl.dump<HostStatus>(PZ_MSG_HOST_GET, [](const HostStatus&) {});
    ASSERT_FALSE(hidden);
    EXPECT_EQ(hidden.error().code, Errc::permission);
    daemon.run([&] {
        EXPECT_TRUE(daemon.service.hosts.empty());
        ASSERT_TRUE(seen);
        EXPECT_EQ(seen->uid, getuid());
        EXPECT_EQ(seen->gid, getegid());
        std::vector<gid_t> groups(static_cast<std::size_t>(std::max(getgroups(0, nullptr), 0)));
        EXPECT_EQ(getgroups(static_cast<int>(groups.size()), groups.data()), static_cast<int>(groups.size()));
        std::ranges::sort(groups);
        std::ranges::sort(seen->groups);
        EXPECT_EQ(seen->groups, groups);
    });
    EXPECT_EQ(std::filesystem::status(path).permissions() & std::filesystem::perms(0666), std::filesystem::perms(0666))
        << "everybody may connect";
}

TEST(ControlPeer, RootAndTheGroupMayWrite) {
    EXPECT_TRUE(root_or_group_may_write({0, 0, {}}));
    EXPECT_TRUE(root_or_group_may_write({0, 1234, {}}));
    const group* const entry = getgrnam(PZ_CONTROL_GROUP);
    const gid_t other = entry != nullptr && entry->gr_gid == 54'321 ? 54'322 : 54'321;
    EXPECT_FALSE(root_or_group_may_write({1000, other, {}}));
    EXPECT_FALSE(root_or_group_may_write({1000, 0, {0, other}}));
    if (entry != nullptr) {
        EXPECT_TRUE(root_or_group_may_write({1000, entry->gr_gid, {}}));
        EXPECT_TRUE(root_or_group_may_write({1000, other, {other, entry->gr_gid}}));
    }
}

// ---- slow and many clients ----

TEST_F(ControlServer, ASlowReaderIsDroppedAndHoldsNobodyUp) {
    constexpr unsigned hosts = 20'000;
    Daemon daemon(path, {.send_limit = 300ms});
    daemon.run([&] {
        for (unsigned i = 0; i < hosts; ++i)
            EXPECT_TRUE(daemon.service.host_set(some_host(i), false));
        daemon.service.gets = 0;
    });
    const RawClient slow(path);
    slow.send(RawMessage(PZ_MSG_HOST_GET, NLM_F_REQUEST | NLM_F_DUMP));
    Client ctl = client();
    EXPECT_EQ(ctl.get<DaemonStatus>(PZ_MSG_STATUS_GET)->hosts, hosts) << "others are served meanwhile";
    std::this_thread::sleep_for(3s);
    const auto made = daemon.run([&] { return daemon.service.gets; });
    EXPECT_GT(made, 10U);
    EXPECT_LT(made, hosts / 10) << "no more of a dump is made than the socket accepts";
    std::size_t received = 0;
    bool ended = false;
    for (auto packet = slow.receive(); !packet.empty(); packet = slow.receive(), ++received)
        ended = ended || open_answer(packet)->header.nlmsg_type == NLMSG_DONE;
    EXPECT_GT(received, 0U);
    EXPECT_LE(received, made);
    EXPECT_FALSE(ended) << "the connection was ended in the middle of the dump";
    std::size_t all = 0;
    ASSERT_TRUE(ctl.dump<HostStatus>(PZ_MSG_HOST_GET, [&](const HostStatus&) { ++all; }));
    EXPECT_EQ(all, hosts);
}

TEST_F(ControlServer, AReaderThatPausesGetsTheWholeDump) {
    constexpr unsigned hosts = 3000;
    Daemon daemon(path);
    daemon.run([&] {
        for (unsigned i = 0; i < hosts; ++i)
            EXPECT_TRUE(daemon.service.host_set(some_host(i), false));
    });
    const RawClient raw(path);
    raw.send(RawMessage(PZ_MSG_HOST_GET, NLM_F_REQUEST | NLM_F_DUMP));
    std::this_thread::sleep_for(200ms);
    std::size_t received = 0;
    for (;; ++received) {
        const auto packet = raw.receive();
        ASSERT_FALSE(packet.empty());
        if (open_answer(packet)->header.nlmsg_type == NLMSG_DONE)
            break;
    }
    EXPECT_EQ(received, hosts);
}

TEST_F(ControlServer, ConnectionsAreBoundedForReadersAndWritersApart) {
    std::atomic<bool> writers = false;
    Daemon daemon(path, {.may_write = [&](const Peer&) { return writers.load(); }, .max_connections = 2});
    std::vector<RawClient> readers;
    for (int i = 0; i < 2; ++i) {
        readers.emplace_back(path);
        readers.back().send(RawMessage(PZ_MSG_STATUS_GET, NLM_F_REQUEST));
        EXPECT_FALSE(readers.back().receive().empty());
    }
    const RawClient third(path);
    EXPECT_EQ(third.refusal(), "2 connections are open already, one must end first");
    EXPECT_TRUE(third.receive().empty()) << "closed";
    writers = true;
    EXPECT_TRUE(client().get<DaemonStatus>(PZ_MSG_STATUS_GET)) << "who may write is not shut out by readers";
    writers = false;
    readers.pop_back();
    for (int attempt = 0; attempt < 100; ++attempt) {
        auto again = Client::connect(path);
        ASSERT_TRUE(again);
        if (again->get<DaemonStatus>(PZ_MSG_STATUS_GET))
            return;
        std::this_thread::sleep_for(10ms);
    }
    FAIL() << "a connection that ended still counts";
}

TEST_F(ControlServer, AUserWithoutRightsDoesNotShutOthersOut) {
    std::atomic<bool> writers = false;
    Daemon daemon(path, {.may_write = [&](const Peer&) { return writers.load(); }, .max_connections_of_user = 2});
    const RawClient first(path);
    const RawClient second(path);
    const RawClient third(path);
    EXPECT_EQ(third.refusal(),
              "user " + std::to_string(getuid()) + " has 2 connections open already, one must end first");
    writers = true;
    std::vector<RawClient> many;
    for (int i = 0; i < 20; ++i)
        many.emplace_back(path);
    EXPECT_TRUE(client().get<DaemonStatus>(PZ_MSG_STATUS_GET)) << "whoever may write is not counted by user";
}

// ---- events ----

/// A request that follows.
RawMessage follow_events() {
    return RawMessage(PZ_MSG_EVENTS_GET, NLM_F_REQUEST | NLM_F_DUMP).attribute(PZ_A_EVENTS_FOLLOW, {1});
}

std::optional<Event> event_in(const std::vector<std::uint8_t>& packet) {
    const auto opened = open_answer(packet);
    if (!opened || opened->header.nlmsg_type != PZ_MSG_EVENT)
        return std::nullopt;
    auto event = decode<Event>(*opened);
    return event ? std::optional(*event) : std::nullopt;
}

TEST_F(ControlServer, WhoFollowsIsToldAtOnceAndAtTheEnd) {
    std::optional<RawClient> raw;
    {
        Daemon daemon(path);
        raw.emplace(path);
        raw->send(follow_events());
        Client ctl = client();
        for (unsigned i = 0; i < 100; ++i) {
            ASSERT_TRUE(ctl.change(PZ_MSG_HOST_SET, add, some_host(i)));
            const auto event = event_in(raw->receive());
            ASSERT_TRUE(event);
            EXPECT_EQ(event->sequence, i + 1);
            EXPECT_EQ(event->host, some_host(i).name);
            EXPECT_EQ(event->uid, getuid());
            EXPECT_EQ(event->pid, static_cast<std::uint32_t>(getpid()));
        }
        raw->send(RawMessage(PZ_MSG_STATUS_GET, NLM_F_REQUEST));
        EXPECT_EQ(open_answer(raw->receive())->header.nlmsg_type, PZ_MSG_STATUS) << "the connection is of use still";
    }
    const auto last = raw->receive();
    ASSERT_FALSE(last.empty());
    EXPECT_EQ(open_answer(last)->header.nlmsg_type, NLMSG_DONE);
    EXPECT_TRUE(raw->receive().empty());
}

TEST_F(ControlServer, WhoFollowsAndDoesNotReadIsNotDroppedAndMissesSome) {
    constexpr unsigned events = 20'000;
    Daemon daemon(path, {.send_limit = 50ms});
    const RawClient slow(path);
    slow.send(follow_events());
    Client ctl = client();
    for (unsigned part = 0; part < 20; ++part) {
        daemon.run([&] {
            for (unsigned i = 0; i < events / 20; ++i)
                daemon.service.events.record(EventKind::trigger, {});
        });
        ASSERT_TRUE(ctl.get<DaemonStatus>(PZ_MSG_STATUS_GET));
        std::this_thread::sleep_for(10ms);
    }
    std::uint64_t expected = 1;
    std::uint64_t missed = 0;
    while (expected <= events) {
        const auto event = event_in(slow.receive());
        ASSERT_TRUE(event) << "after " << expected;
        if (event->missed) {
            missed += *event->missed;
            EXPECT_EQ(event->sequence, expected + *event->missed - 1);
        } else {
            EXPECT_EQ(event->sequence, expected);
        }
        expected = event->sequence + 1;
    }
    EXPECT_GT(missed, events / 4);
    EXPECT_LT(missed, events);
}

TEST_F(ControlServer, AFollowerThatGoesAwayIsForgotten) {
    Daemon daemon(path, {.may_write = [](const Peer&) { return true; }, .max_connections = 2});
    for (int i = 0; i < 10; ++i) {
        const RawClient raw(path);
        raw.send(follow_events());
        daemon.run([&] {
            for (int j = 0; j < 3000; ++j)
                daemon.service.events.record(EventKind::trigger, {});
        });
        ASSERT_TRUE(event_in(raw.receive())) << "the place of the one before is free";
    }
}

// ---- start and stop ----

TEST_F(ControlServer, TheSocketOfADeadDaemonIsReplaced) {
    ASSERT_TRUE(std::filesystem::create_directory(folder.path() + "/run"));
    {
        const Fd dead(::socket(AF_UNIX, SOCK_SEQPACKET, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::ranges::copy(path, address.sun_path);
        ASSERT_EQ(bind(dead.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        ASSERT_EQ(::listen(dead.get(), 1), 0);
    }
    ASSERT_TRUE(std::filesystem::is_socket(path)) << "as a killed daemon leaves it";
    Daemon daemon(path);
    EXPECT_TRUE(client().get<DaemonStatus>(PZ_MSG_STATUS_GET));
}

TEST_F(ControlServer, ALiveDaemonIsNotReplaced) {
    Daemon daemon(path);
    boost::asio::io_context context;
    test::FakeService service;
    const auto second = Server::listen(context, path, service);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::busy);
    EXPECT_EQ(second.error().message,
              "control \"" + path + "\": another proxzzyd is running; stop it, or give this one another --control");
    EXPECT_TRUE(client().get<DaemonStatus>(PZ_MSG_STATUS_GET)) << "the first one still serves";
}

TEST_F(ControlServer, WhatIsNotASocketIsLeftAlone) {
    const std::string file = folder.path() + "/precious";
    std::ofstream(file) << "data";
    boost::asio::io_context context;
    test::FakeService service;
    const auto server = Server::listen(context, file, service);
    ASSERT_FALSE(server);
    EXPECT_EQ(server.error().message,
              "control \"" + file + "\": there is something that is not a socket; must be a path for proxzzyd alone");
    EXPECT_TRUE(std::filesystem::is_regular_file(file));
    const auto nowhere = Server::listen(context, folder.path() + "/a/b/c", service);
    ASSERT_FALSE(nowhere);
    EXPECT_NE(nowhere.error().message.find("No such file or directory"), std::string::npos) << nowhere.error().message;
    const auto too_long = Server::listen(context, "/tmp/" + std::string(200, 'x'), service);
    ASSERT_FALSE(too_long);
    EXPECT_NE(too_long.error().message.find("must be a path of 1 to 107 characters"), std::string::npos);
}

TEST_F(ControlServer, StoppingRemovesTheSocketAndEndsConnections) {
    const RawClient* raw = nullptr;
    {
        Daemon daemon(path);
        raw = new RawClient(path);
        raw->send(RawMessage(PZ_MSG_STATUS_GET, NLM_F_REQUEST));
        EXPECT_FALSE(raw->receive().empty());
        EXPECT_TRUE(std::filesystem::exists(path));
    }
    EXPECT_FALSE(std::filesystem::exists(path));
    EXPECT_TRUE(raw->receive().empty());
    delete raw;
    const auto nobody = Client::connect(path);
    ASSERT_FALSE(nobody);
    EXPECT_EQ(nobody.error().code, Errc::not_found);
    EXPECT_EQ(nobody.error().message,
              "no proxzzyd at " + path + ": start it with `sudo scripts/up IFACE` or `systemctl start proxzzyd`");
}

TEST_F(ControlServer, StoppingLeavesAnotherDaemonsSocket) {
    auto first = std::make_unique<Daemon>(path);
    std::filesystem::rename(path, path + ".moved");
    Daemon second(path);
    first.reset();
    EXPECT_TRUE(client().get<DaemonStatus>(PZ_MSG_STATUS_GET));
    std::filesystem::remove(path + ".moved");
}

TEST_F(ControlServer, DetachIsAnsweredBeforeTheDaemonStops) {
    for (int round = 0; round < 20; ++round) {
        Daemon daemon(path);
        daemon.service.on_detach = [&] { boost::asio::post(daemon.context(), [&] { daemon.context().stop(); }); };
        Client ctl = client();
        const auto done = ctl.change(PZ_MSG_DETACH);
        ASSERT_TRUE(done) << done.error().message;
        while (!daemon.context().stopped())
            std::this_thread::yield();
        daemon.stop();
    }
}

TEST_F(ControlServer, ADaemonThatDoesNotAnswerIsAnError) {
    ASSERT_TRUE(std::filesystem::create_directory(folder.path() + "/run"));
    const Fd mute(::socket(AF_UNIX, SOCK_SEQPACKET, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::ranges::copy(path, address.sun_path);
    ASSERT_EQ(bind(mute.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(mute.get(), 1), 0);
    auto ctl = Client::connect(path, 100ms);
    ASSERT_TRUE(ctl);
    const auto status = ctl->get<DaemonStatus>(PZ_MSG_STATUS_GET);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().message, "proxzzyd at " + path + " does not answer");
}

} // namespace
} // namespace pz::control
