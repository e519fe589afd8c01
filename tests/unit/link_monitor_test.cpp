// SPDX-License-Identifier: Apache-2.0
// Changes of real interfaces in a network namespace, where that is allowed.
#include "net/link_monitor.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "../support/net_namespace.h"

namespace pz {
namespace {

/// Two ends of a cable, pz0 (02:00:00:00:00:a0) and pz1, both up, and a monitor that has read everything so far.
class Monitored : public test::NetworkNamespace {
protected:
    void SetUp() override {
        NetworkNamespace::SetUp();
        if (IsSkipped() || HasFatalFailure())
            return;
        run("ip link add pz0 index 100 address 02:00:00:00:00:a0 type veth peer name pz1 index 200");
        auto opened = LinkMonitor::open();
        ASSERT_TRUE(opened) << opened.error().message;
        monitor_ = std::move(*opened);
        run("ip link set pz0 up && ip link set pz1 up");
        wait([](const LinkChange& change) { return change.link.name == "pz0" && change.link.up; });
    }
    /// Reads until a change for which `match` is true; that one.
    template <class Match>
    std::optional<LinkChange> wait(Match match) {
        constexpr int patience_ms = 5000; // the kernel tells of a carrier within about a second
        for (pollfd ready{.fd = monitor_->fd(), .events = POLLIN, .revents = 0}; ::poll(&ready, 1, patience_ms) > 0;) {
            const auto read = monitor_->read();
            lost_ = lost_ || read.lost;
            const auto found = std::ranges::find_if(read.changes, match);
            if (found != read.changes.end())
                return *found;
        }
        ADD_FAILURE() << "no such change";
        return std::nullopt;
    }
    std::optional<LinkChange> wait_gone(int ifindex) {
        return wait([=](const LinkChange& change) { return change.gone && change.link.ifindex == ifindex; });
    }

    std::optional<LinkMonitor> monitor_;
    bool lost_ = false;
};

TEST_F(Monitored, ReadNeverBlocks) {
    (void)monitor_->read();
    const auto read = monitor_->read();
    EXPECT_TRUE(read.changes.empty());
    EXPECT_FALSE(read.lost);
}

TEST_F(Monitored, R2_CarrierLostAndBack) {
    for (const char* end : {"pz1", "pz0"}) { // the other end of the cable; the interface itself
        SCOPED_TRACE(end);
        run(fmt::format("ip link set {} down", end));
        auto change = wait([](const LinkChange& each) { return each.link.name == "pz0" && !each.link.up; });
        ASSERT_TRUE(change);
        EXPECT_FALSE(change->gone);
        EXPECT_EQ(change->link.ifindex, 100);
        run(fmt::format("ip link set {} up", end));
        change = wait([](const LinkChange& each) { return each.link.name == "pz0" && each.link.up; });
        ASSERT_TRUE(change);
        EXPECT_EQ(change->link, find_link("pz0").value()) << "said in the same words as when it is asked for";
    }
}

TEST_F(Monitored, DeletedAndMadeAnewUnderTheSameName) {
    run("ip link del pz0");
    ASSERT_TRUE(wait_gone(100));
    run("ip link add pz0 index 101 type veth peer name pz1");
    const auto change = wait([](const LinkChange& each) { return each.link.ifindex == 101; });
    ASSERT_TRUE(change);
    EXPECT_EQ(change->link.name, "pz0");
    EXPECT_FALSE(change->gone);
}

TEST_F(Monitored, MovedToAnotherNamespaceIsGone) {

    run("unshare -n sleep 20 & pid=$!; for i in $(seq 100); do ip link set pz0 netns $pid 2>/dev/null; ip link show "
        "pz0 >/dev/null 2>&1 || break; sleep 0.05; done; kill $pid");
    EXPECT_TRUE(wait_gone(100));
}

TEST_F(Monitored, RenamedKeepsItsIndex) {
    run("ip link set pz0 down && ip link set pz0 name pz9");
    const auto change = wait([](const LinkChange& each) { return each.link.name == "pz9"; });
    ASSERT_TRUE(change);
    EXPECT_EQ(change->link.ifindex, 100);
    EXPECT_FALSE(change->gone);
}

TEST_F(Monitored, ANewMacIsTold) {
    run("ip link set pz0 address 02:00:00:00:00:b0");
    const auto change = wait([](const LinkChange& each) { return each.link.mac.to_string() == "02:00:00:00:00:b0"; });
    ASSERT_TRUE(change);
    EXPECT_EQ(change->link.name, "pz0");
}

TEST_F(Monitored, APortThatLeavesItsBridgeIsNotGone) {
    run("ip link add br0 index 300 type bridge && ip link set pz0 master br0 && ip link set pz0 nomaster && "
        "ip link del br0");
    bool told_of_the_bridge = false;
    std::vector<int> masters;
    const auto end = wait([&](const LinkChange& each) {
        if (each.link.name == "pz0" && (masters.empty() || masters.back() != each.link.master))
            masters.push_back(each.link.master);
        EXPECT_FALSE(each.gone && each.link.name == "pz0");
        told_of_the_bridge = told_of_the_bridge || each.link.kind == "bridge";
        return each.gone && each.link.name == "br0";
    });
    EXPECT_TRUE(end);
    EXPECT_TRUE(told_of_the_bridge);
    EXPECT_EQ(masters, (std::vector{300, 0}));
}

TEST_F(Monitored, AddressesThatComeAndGoAreTold) {
    (void)monitor_->read();
    const auto is_told = [&](const char* command) {
        run(command);
        pollfd ready{.fd = monitor_->fd(), .events = POLLIN, .revents = 0};
        const bool is_readable = ::poll(&ready, 1, 5000) > 0;
        return is_readable && monitor_->read().addresses;
    };
    EXPECT_TRUE(is_told("ip address add 192.0.2.1/24 dev pz0"));
    EXPECT_TRUE(is_told("ip address del 192.0.2.1/24 dev pz0"));
    EXPECT_TRUE(is_told("ip address add 2001:db8::1/64 dev pz0 nodad"));
    EXPECT_TRUE(is_told("ip address del 2001:db8::1/64 dev pz0"));
}

TEST_F(Monitored, ChangesThatDidNotFitAreTold) {
    // Each of them is told; nobody reads.
    run("for i in $(seq 400); do echo link set pz0 mtu $((1000 + i)); done | ip -batch -");
    const auto read = monitor_->read();
    EXPECT_TRUE(read.lost);
    EXPECT_FALSE(monitor_->read().lost) << "once";
    run("ip link set pz0 address 02:00:00:00:00:c0");
    EXPECT_TRUE(wait([](const LinkChange& each) { return each.link.mac.to_string() == "02:00:00:00:00:c0"; }))
        << "and hears again of what comes later";
}

} // namespace
} // namespace pz
