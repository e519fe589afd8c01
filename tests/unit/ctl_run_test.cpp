// SPDX-License-Identifier: Apache-2.0
// proxzzyctl with a daemon behind the socket: what it prints, as text and as JSON, and how it fails.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "../support/control.h"
#include "control/server.h"
#include "ctl/json.h"
#include "ctl/run.h"

namespace pz::ctl {
namespace {

namespace json = boost::json;

class CtlRun : public ::testing::Test {
protected:
    void SetUp() override {
        ASSERT_NE(mkdtemp(folder_.data()), nullptr);
        path = folder_ + "/control.sock";
        start();
    }
    void TearDown() override {
        stop();
        std::filesystem::remove_all(folder_);
    }
    void start() {
        auto server = control::Server::listen(context_, path, service);
        ASSERT_TRUE(server) << server.error().message;
        server_ = std::move(*server);
        thread_ = std::thread([this] {
            const auto work = boost::asio::make_work_guard(context_);
            context_.run();
        });
    }
    void stop() {
        if (!thread_.joinable())
            return;
        boost::asio::post(context_, [this] {
            server_.reset();
            context_.stop();
        });
        thread_.join();
    }
    Result<std::string> ctl(std::vector<const char*> arguments) {
        arguments.push_back("--control");
        arguments.push_back(path.c_str());
        return run(PZ_TRY(parse(arguments)), [this](std::string_view line) { printed += line; });
    }
    std::string text(const std::vector<const char*>& arguments) {
        auto output = ctl(arguments);
        EXPECT_TRUE(output) << (output ? "" : output.error().message);
        return output.value_or("");
    }
    json::value json_of(std::vector<const char*> arguments) {
        arguments.push_back("--json");
        return json::parse(text(arguments));
    }
    void add_nas() {
        text({"host", "add", "nas", "--mac", "00:00:5e:00:53:01", "--ip", "192.0.2.7", "--temporary-ip", "2001:db8::7",
              "--wake", "tcp/22", "--echo", "ignore", "--vlan", "20"});
    }

    test::FakeService service;
    std::string path;
    std::string printed; // line by line

private:
    std::string folder_ = "/tmp/proxzzy-ctl-XXXXXX";
    boost::asio::io_context context_;
    std::unique_ptr<control::Server> server_;
    std::thread thread_;
};

TEST_F(CtlRun, R32_C12_AHostsLife) {
    EXPECT_EQ(text({"host", "add", "nas", "--mac", "00:00:5e:00:53:01", "--ip", "192.0.2.7"}),
              "nas: added (durable: no; proxzzyd forgets it when it stops)");
    EXPECT_EQ(json_of({"host", "sleep", "nas"}), (json::value{{"durable", false}}));
    EXPECT_EQ(json_of({"host", "show", "nas"}).at("state"), "asleep");
    text({"host", "wake", "nas"});
    EXPECT_EQ(json_of({"host", "show", "nas"}).at("state"), "waking");
    text({"host", "release", "nas"});
    EXPECT_EQ(json_of({"host", "show", "nas"}).at("state"), "awake");
    EXPECT_EQ(ctl({"host", "add", "nas", "--mac", "00:00:5e:00:53:01", "--ip", "192.0.2.7"}).error().message,
              "name \"nas\": is taken");
    text({"host", "add", "nas", "--mac", "00:00:5e:00:53:01", "--ip", "192.0.2.8", "--replace"});
    EXPECT_EQ(json_of({"host", "show", "nas"}).at("config").at("ip").at(0).at("address"), "192.0.2.8");
    text({"host", "remove", "nas"});
    EXPECT_EQ(ctl({"host", "show", "nas"}).error().message, "name \"nas\": no such host");
    EXPECT_EQ(json_of({"hosts"}), json::array());
}

TEST_F(CtlRun, C13_JsonHasEveryAttribute) {
    add_nas();
    const json::value expected = json::parse(R"({
        "config": {
            "name": "nas", "mac": ["00:00:5e:00:53:01"],
            "ip": [{"address": "192.0.2.7", "temporary": false, "valid_for": null},
                   {"address": "2001:db8::7", "temporary": true, "valid_for": null}],
            "wake": ["tcp/22"], "interface": "", "vlan": {"outer": 20, "inner": 0}, "echo": "ignore",
            "identity": null, "magic_port": 9, "secureon": null},
        "id": 0, "generation": 0, "state": "awake", "since_reason": "", "since_ms": 0, "identity": "host",
        "wakes": 0, "held_packets": 0, "last_wake_latency_us": 0})");
    EXPECT_EQ(json_of({"host", "show", "nas"}), expected);
    EXPECT_EQ(json_of({"hosts"}), json::array{expected});
    EXPECT_EQ(json_of({"status"}), json::parse(R"({
        "version": "1.2.3", "uptime_ms": 61000,
        "interface": [{"name": "lan0", "mode": "native", "mac": "02:00:00:00:00:fe", "up": true}],
        "hosts": 1, "hosts_asleep": 0, "held_packets": 0, "held_bytes": 0, "bpffs": "/sys/fs/bpf/proxzzy/default"})"));
    EXPECT_EQ(json_of({"capabilities"}), json::parse(R"({
        "version": "1.2.3", "option": ["arp", "nd"], "max_hosts": 65536, "max_addresses": 64, "max_rules": 32,
        "max_macs": 8})"));
    EXPECT_EQ(json_of({"stats"}), json::parse(R"({"counters": [
        {"name": "arp-answered", "sentence": "ARP request, answered", "value": 7},
        {"name": "nobody", "sentence": "not ours", "value": 1}]})"));
}

TEST_F(CtlRun, C13_TextIsForPeople) {
    add_nas();
    EXPECT_EQ(text({"hosts"}), "NAME  STATE  FOR      MAC                ADDRESSES\n"
                               "nas   awake  0.000 s  00:00:5e:00:53:01  192.0.2.7 2001:db8::7");
    const std::string shown = text({"host", "show", "nas"});
    for (const char* expected : {"name       nas\n", "state      awake for 0.000 s\n",
                                 "interface  (the only one) vlan 20\n", "ip         2001:db8::7, temporary\n",
                                 "wake       tcp/22 and Magic Packet\n", "echo       ignore\n", "identity   host\n"})
        EXPECT_NE(shown.find(expected), std::string::npos) << expected << "is not in\n" << shown;
    EXPECT_NE(text({"status"}).find("interface  lan0 02:00:00:00:00:fe up, native"), std::string::npos);
    EXPECT_NE(text({"status"}).find("up for     1 min 1 s\n"), std::string::npos);
    EXPECT_NE(text({"capabilities"}).find("options   arp nd\n"), std::string::npos);
    EXPECT_EQ(text({"stats"}), "REASON        FRAMES  \n"
                               "arp-answered  7       ARP request, answered\n"
                               "nobody        1       not ours");
}

TEST_F(CtlRun, APasswordIsNotPrinted) {
    HostConfig config = test::some_host(1);
    config.magic.secureon = {{0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6}};
    service.hosts["host1"].config = config;
    EXPECT_EQ(json_of({"host", "show", "host1"}).at("config").at("secureon"), "set");
    EXPECT_NE(text({"host", "show", "host1"}).find("UDP port 9, SecureOn password set"), std::string::npos);
    EXPECT_EQ(text({"host", "show", "host1", "--json"}).find("a1"), std::string::npos);
}

TEST_F(CtlRun, IdentityProxySaysWhatDoesNotHold) {
    service.hosts["host1"].config = test::some_host(1);
    service.hosts["host1"].identity = Identity::proxy;
    EXPECT_NE(
        text({"host", "show", "host1"}).find("proxy: answers carry the gateway's MAC, so ECMA-393 R22 does not hold"),
        std::string::npos);
}

TEST_F(CtlRun, DetachIsHandedToTheDaemon) {
    bool detached = false;
    service.on_detach = [&] { detached = true; };
    EXPECT_EQ(json_of({"detach"}), (json::value{{"detached", true}}));
    stop();
    EXPECT_TRUE(detached);
}

TEST_F(CtlRun, WithoutADaemon) {
    stop();
    EXPECT_EQ(ctl({"hosts"}).error().message,
              "no proxzzyd at " + path + ": start it with `sudo scripts/up IFACE` or `systemctl start proxzzyd`");
    const std::string pins = path + ".pins";
    EXPECT_EQ(text({"detach", "--bpffs", pins.c_str()}),
              "no proxzzyd at " + path + ", and nothing of one below " + pins);
    EXPECT_EQ(json_of({"detach", "--bpffs", pins.c_str()}), (json::value{{"detached", false}}));
}

TEST_F(CtlRun, EventsAreLines) {
    control::Event event;
    event.host = "nas";
    event.text = "sleep requested";
    event.from = HostState::awake;
    event.to = HostState::arming;
    service.events.record(control::EventKind::state, event);
    service.events.record(control::EventKind::ready, {});
    EXPECT_EQ(text({"events", "--host", "nas"}), "");
    EXPECT_EQ(printed.substr(23), "  nas              state            awake -> arming: sleep requested\n");
    printed.clear();
    text({"events", "--json"});
    const auto end = printed.find('\n');
    const auto first = json::parse(printed.substr(0, end));
    EXPECT_EQ(first.at("kind"), "state");
    EXPECT_EQ(first.at("from"), "awake");
    EXPECT_EQ(first.at("missed"), nullptr);
    EXPECT_EQ(json::parse(printed.substr(end + 1)).at("kind"), "ready");
}

TEST_F(CtlRun, C14_WhyTellsEveryStep) {
    add_nas();
    EXPECT_EQ(text({"why", "nas"}), "nas: nothing woke it, and no packet that could have was seen while it slept");
    control::Wake wake;
    wake.time_ns = 1'700'000'000'250'000'000;
    wake.outcome = "awake";
    wake.reason = "trigger-syn";
    wake.sentence = "TCP connection attempt";
    wake.rule = "tcp/22";
    wake.decided_by = "kernel";
    wake.packet = "the packet";
    wake.frame = {{0xff, 0x01}};
    wake.frame_length = 60;
    wake.magic_after_us = 45;
    wake.sign = "ARP probe";
    wake.alive_after_us = 301'000;
    wake.delivered = 1;
    wake.delivered_after_us = 302'001;
    control::Wake ignored;
    ignored.outcome = "not-woken";
    ignored.decided_by = "kernel";
    ignored.packet = "another";
    ignored.reason = "port-closed";
    ignored.count = 3;
    service.wake_log = {wake, ignored};
    const auto shown = text({"why", "nas"});
    for (const char* expected :
         {"woken by the packet\n  why           trigger-syn: TCP connection attempt\n  decided by    kernel, rule "
          "tcp/22\n",
          "  Magic Packet  ", "+0.045 ms\n", "+301.000 ms  ARP probe\n", "+302.001 ms  held packets: 1\n",
          "  outcome       awake\n", "not woken by another, 3 times\n"})
        EXPECT_NE(shown.find(expected), std::string::npos) << expected << "is not in\n" << shown;
    const auto as_json = json_of({"why", "nas"});
    EXPECT_EQ(as_json.at("host"), "nas");
    EXPECT_EQ(as_json.at("wakes").at(0).at("frame"), "ff01");
    EXPECT_EQ(as_json.at("wakes").at(1).at("magic_after_us"), nullptr);
}

TEST_F(CtlRun, C14_PacketsThatWokeAreAPcapFile) {
    add_nas();
    control::Wake wake;
    wake.time_ns = 1'700'000'000'000'000'007;
    wake.outcome = "awake";
    wake.decided_by = "kernel";
    wake.frame = {{1, 2, 3}};
    wake.frame_length = 60;
    control::Wake ignored = wake;
    ignored.outcome = "not-woken";
    service.wake_log = {wake, ignored};
    const std::string file = path + ".pcap";
    EXPECT_EQ(text({"why", "nas", "--pcap", file.c_str()}), "");
    std::ifstream in(file, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
    ASSERT_EQ(bytes.size(), 24U + 16U + 3U) << "one packet";
    const auto u32 = [&](std::size_t at) {
        std::uint32_t value = 0;
        std::memcpy(&value, bytes.data() + at, 4);
        return value;
    };
    EXPECT_EQ(u32(0), 0xa1b23c4dU) << "nanoseconds";
    EXPECT_EQ(u32(20), 1U) << "Ethernet";
    EXPECT_EQ(u32(24), 1'700'000'000U);
    EXPECT_EQ(u32(28), 7U);
    EXPECT_EQ(u32(32), 3U);
    EXPECT_EQ(u32(36), 60U);
    EXPECT_NE(ctl({"why", "nas", "--pcap", "/nonexistent/file"}).error().message.find("--pcap \"/nonexistent/file\""),
              std::string::npos);
}

TEST(CtlVersion, IsPrinted) {
    const std::vector<const char*> plain{"--version"};
    const std::vector<const char*> as_json{"--json", "--version"};
    const std::string version = run(*parse(plain)).value();
    ASSERT_TRUE(version.starts_with("proxzzyctl 0."));
    EXPECT_EQ("proxzzyctl " + std::string(json::parse(run(*parse(as_json)).value()).at("version").as_string()),
              version);
}

TEST(CtlJson, AnyTextBecomesValidJson) {
    const std::string quoted = text_to_json("error", "a \"b\" \\ \n \x01 \xc3\xa4");
    EXPECT_EQ(json::parse(quoted).at("error"), "a \"b\" \\ \n \x01 \xc3\xa4");
    EXPECT_EQ(json::parse(text_to_json("error", "x\xff\xc3")).at("error"), "x??");
}

} // namespace
} // namespace pz::ctl
