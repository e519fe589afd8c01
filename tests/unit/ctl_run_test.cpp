// SPDX-License-Identifier: Apache-2.0
// proxzzyctl with a daemon behind the socket: what it prints, as text and as JSON, and how it fails.
#include <netinet/tcp.h>
#include <pcap/pcap.h>

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
#include <spdlog/fmt/fmt.h>

#include "../support/control.h"
#include "control/server.h"
#include "ctl/json.h"
#include "ctl/run.h"
#include "ctl/site.h"

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
        return run(
            PZ_TRY(parse(arguments)), [this](std::string_view line) { printed += line; },
            [this](std::string_view line) { (warned += line) += "\n"; });
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
    std::string warned;  // likewise

private:
    std::string folder_ = "/tmp/proxzzy-ctl-XXXXXX";
    boost::asio::io_context context_;
    std::unique_ptr<control::Server> server_;
    std::thread thread_;
};

TEST_F(CtlRun, R32_C12_AHostsLife) {
    EXPECT_EQ(text({"host", "add", "nas", "--mac", "00:00:5e:00:53:01", "--ip", "192.0.2.7"}),
              "nas: added (durable: no; it could not be written to disk)");
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
            "identity": null, "magic_port": 9, "secureon": null, "auto": false, "allow_from": [], "deny_from": [],
            "wakes_per_hour": 60, "wakes_per_source": 30, "min_wake_interval": 0, "quiet": [], "learn": false,
            "hostname": [], "service": [], "service_wake": true, "group": [], "priority": 0},
        "id": 0, "generation": 0, "state": "awake", "since_reason": "", "since_ms": 0, "identity": "host",
        "wakes": 0, "held_packets": 0, "last_wake_latency_us": 0, "refused": 0, "file": null,
        "learned": []})");
    EXPECT_EQ(json_of({"host", "show", "nas"}), expected);
    EXPECT_EQ(json_of({"hosts"}), json::array{expected});
    EXPECT_EQ(json_of({"status"}), json::parse(R"({
        "version": "1.2.3", "uptime_ms": 61000,
        "interface": [{"name": "lan0", "mode": "native", "mac": "02:00:00:00:00:fe", "up": true, "served": true,
             "egress": true, "port": []},
            {"name": "lan1", "mode": "generic", "mac": "02:00:00:00:00:fd", "up": false, "served": true,
             "egress": false, "port": []},
            {"name": "lan2", "mode": "native", "mac": "02:00:00:00:00:fc", "up": false, "served": false,
             "egress": false, "port": []},
            {"name": "br0", "mode": "bridge", "mac": "02:00:00:00:00:fb", "up": true, "served": true, "egress": true,
             "port": [{"name": "port1", "mode": "native", "up": true, "served": true},
                      {"name": "port2", "mode": "generic", "up": false, "served": false}]}],
        "hosts": 1, "hosts_asleep": 0, "held_packets": 0, "held_bytes": 0, "bpffs": "/sys/fs/bpf/proxzzy/default",
        "no_wake_from": []})"));
    EXPECT_EQ(json_of({"capabilities"}), json::parse(R"({
        "version": "1.2.3", "option": ["arp", "nd"], "max_hosts": 65536, "max_addresses": 64, "max_rules": 32,
        "max_macs": 8, "max_hostnames": 4, "max_services": 32, "max_groups": 32})"));
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
    for (const char* line :
         {"interface  lan0 02:00:00:00:00:fe up, native, with egress filter\n",
          "interface  lan1 02:00:00:00:00:fd down, generic, no egress filter\n", "interface  lan2 not there",
          "interface  br0 02:00:00:00:00:fb up, bridge, with egress filter\n", "  port     port1 up, native\n",
          "  port     port2 down, not served"})
        EXPECT_NE(text({"status"}).find(line), std::string::npos) << line;
    EXPECT_NE(text({"status"}).find("up for     1 min 1 s\n"), std::string::npos);
    EXPECT_NE(text({"capabilities"}).find("options   arp nd\n"), std::string::npos);
    EXPECT_EQ(text({"stats"}), "REASON        FRAMES  \n"
                               "arp-answered  7       ARP request, answered\n"
                               "nobody        1       not ours");
}

TEST_F(CtlRun, C15_C29_C30_WhatAHostOffersIsShown) {
    text({"host", "add", "nas", "--mac", "00:00:5e:00:53:01", "--ip", "192.0.2.7", "--wake", "tcp/22", "--hostname",
          "nas.local", "--hostname", "files", "--service", "_ssh._tcp 22", "--service",
          R"(_sip._udp,_x 5060 "My # phone" "note=a \x5c\xff")", "--group", "239.1.2.3"});
    const std::string shown = text({"host", "show", "nas"});
    for (const char* expected : {"hostname   nas.local\n", "hostname   files\n", "service    _ssh._tcp 22\n",
                                 R"(service    _sip._udp,_x 5060 "My \x23 phone" "note=a \\\xff")",
                                 "group      239.1.2.3\n", "wake       tcp/22 udp/5060 and Magic Packet\n"})
        EXPECT_NE(shown.find(expected), std::string::npos) << expected << "is not in\n" << shown;
    const auto config = json_of({"host", "show", "nas"}).at("config");
    EXPECT_EQ(config.at("hostname"), (json::array{"nas.local", "files"}));
    EXPECT_EQ(config.at("service"), json::parse(R"([
        {"type": "_ssh._tcp", "subtype": [], "port": 22, "instance": "", "txt": []},
        {"type": "_sip._udp", "subtype": ["_x"], "port": 5060, "instance": "My # phone",
         "txt": ["note=a \\x5c\\xff"]}])"));
    EXPECT_EQ(config.at("group"), json::array{"239.1.2.3"});
    EXPECT_EQ(config.at("service_wake"), true);
    text({"host", "add", "nas", "--mac", "00:00:5e:00:53:01", "--ip", "192.0.2.7", "--hostname", "nas.local",
          "--service", "_sip._udp 5060", "--service-wake", "no", "--replace"});
    EXPECT_NE(text({"host", "show", "nas"}).find("wake       tcp/any and Magic Packet\n"), std::string::npos);
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
    control::Wake renewal;
    renewal.outcome = "waking";
    renewal.sentence = "192.0.2.20 is to be renewed";
    renewal.decided_by = "daemon";
    service.wake_log = {wake, ignored, renewal};
    const auto shown = text({"why", "nas"});
    for (const char* expected :
         {"woken by the packet\n  why           trigger-syn: TCP connection attempt\n  decided by    kernel, rule "
          "tcp/22\n",
          "  Magic Packet  ", "+0.045 ms\n", "+301.000 ms  ARP probe\n", "+302.001 ms  held packets: 1\n",
          "  outcome       awake\n", "not woken by another, 3 times\n",
          "woken by proxzzyd: 192.0.2.20 is to be renewed\n  decided by    daemon\n"})
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

TEST_F(CtlRun, APolicyTestDecidesRecordedPacketsAnew) {
    add_nas();
    EXPECT_EQ(text({"policy", "test", "nas"}), "nas: no packet that could wake it was recorded");
    const auto packet = [](const char* source, std::uint16_t port) {
        const auto at = [](const char* address) { return *IpAddress::parse(address); };
        return build_tcp({{{2, 0, 0, 0, 0, 1}}, {{2, 0, 0, 0, 0, 2}}, at(source), at("192.0.2.7")}, 40'000, port, 2,
                         {});
    };
    constexpr std::uint64_t second = 1'000'000'000;
    const auto recorded = [&](std::uint64_t after, const char* source, std::uint16_t port, bool woken) {
        control::Wake wake;
        wake.time_ns = (1'700'000'000 + after) * second;
        wake.outcome = woken ? "awake" : "not-woken";
        wake.reason = woken ? "trigger-syn" : "port-closed";
        wake.rule = woken ? "tcp/22" : "";
        wake.sentence = "a sentence";
        wake.decided_by = "kernel";
        wake.packet = std::string("from ") + source;
        wake.frame = {packet(source, port)};
        return wake;
    };
    control::Wake operators = recorded(50, "192.0.2.1", 22, true);
    operators.decided_by = "operator";
    operators.reason.clear();
    service.wake_log = {recorded(0, "192.0.2.10", 22, true), operators, recorded(100, "192.0.2.11", 80, false),
                        recorded(200, "192.0.2.12", 22, true), recorded(300, "192.0.2.12", 22, true)};
    const auto now = [&](std::vector<const char*> words) {
        words.insert(words.begin(), {"policy", "test", "nas"});
        const json::value all = json_of(words);
        std::string decided;
        for (const auto& trigger : all.at("triggers").as_array())
            decided += trigger.at("now").at("woken").as_bool() ? 'w' : '-';
        return decided;
    };
    EXPECT_EQ(now({}), "w-ww") << "its own policy, and an operator's wake is none of its business";
    EXPECT_EQ(now({"--wake", "tcp/80"}), "-w--");
    EXPECT_EQ(now({"--wake", "tcp/any"}), "wwww");
    EXPECT_EQ(now({"--deny-from", "192.0.2.10"}), "--ww");
    EXPECT_EQ(now({"--allow-from", "192.0.2.10"}), "w---");
    EXPECT_EQ(now({"--wakes-per-source", "1"}), "w-w-");
    EXPECT_EQ(now({"--min-wake-interval", "150"}), "w-w-");
    EXPECT_EQ(now({"--wakes-per-hour", "1"}), "w---");
    EXPECT_EQ(now({"--quiet", "00:00-12:00", "--quiet", "12:00-00:00"}), "----");
    const std::string shown = text({"policy", "test", "nas", "--deny-from", "192.0.2.10"});
    for (const char* part :
         {"  from 192.0.2.10\n  then  woken, rule tcp/22\n  now   not woken: 192.0.2.10 is in deny-from "
          "192.0.2.10/32\n",
          "  from 192.0.2.11\n  then  not woken: a sentence\n  now   not woken: its port does not wake the host\n",
          "4 packets: 3 woke it, 2 would"})
        EXPECT_NE(shown.find(part), std::string::npos) << part << "is not in\n" << shown;
}

// ---- export and apply ----

class CtlSite : public CtlRun {
protected:
    std::string write(const std::string& text) {
        const std::string file = path + ".conf";
        std::ofstream(file) << text;
        return file;
    }
    Result<std::string> apply(const std::string& text) { return ctl({"apply", write(text).c_str()}); }
    std::string refusal(const std::string& text) {
        const auto output = apply(text);
        return output ? "done" : output.error().message;
    }
};

TEST_F(CtlSite, AllHostsAreExported) {
    add_nas();
    service.hosts["tv"].config = test::some_host(1);
    service.hosts["tv"].config.name = "tv";
    service.hosts["tv"].config.magic.secureon = {{0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6}};
    service.hosts["tv"].config.addresses[0].valid_for = std::chrono::seconds(3600);
    service.hosts["tv"].file = "/etc/proxzzy/hosts.d/tv.conf";
    EXPECT_EQ(text({"export"}) + "\n", R"(# all hosts, for `proxzzyctl apply`

[nas]
mac = 00:00:5e:00:53:01
ip = 192.0.2.7
temporary-ip = 2001:db8::7
wake = tcp/22
vlan = 20
auto = no
learn = no
echo = ignore
magic-port = 9
wakes-per-hour = 60
wakes-per-source = 30
min-wake-interval = 0

[tv]
# configured by the file /etc/proxzzy/hosts.d/tv.conf
# its SecureOn password is not here: set secureon-file = FILE on the other side
# 10.0.0.1 was valid for 3600 s from when it was set; here it has no end
mac = 00:00:5e:00:00:01
ip = 10.0.0.1
ip = 2001:db8::100:1
auto = no
learn = no
echo = answer
magic-port = 9
wakes-per-hour = 60
wakes-per-source = 30
min-wake-interval = 0
)");
    EXPECT_EQ(warned, "SecureOn passwords are not exported, set secureon-file on the other side for: tv\n"
                      "the ends of addresses are not exported, addresses that have one are of: tv\n");
    EXPECT_EQ(json_of({"export"}), json_of({"hosts"}));
    EXPECT_EQ(json_of({"export"}).at(1).at("file"), "/etc/proxzzy/hosts.d/tv.conf");
    EXPECT_NE(text({"host", "show", "tv"}).find("file       /etc/proxzzy/hosts.d/tv.conf\n"), std::string::npos);
}

TEST_F(CtlSite, WhatIsExportedIsApplied) {
    add_nas();
    for (unsigned i = 0; i < 20; ++i)
        service.hosts["host" + std::to_string(i)].config = test::some_host(i);
    service.hosts["host7"].config.offers = {
        .hostnames = {"host7.local"},
        .services = {{.type = "_ipp._tcp",
                      .subtypes = {"_universal"},
                      .port = 631,
                      .instance = "# \"7\"",
                      .txt = {"note=first floor", std::string("bytes=\0\n\xff", 9)}}},
        .groups = {*IpAddress::parse("ff02::1234")},
        .service_ports_wake = false};
    const std::string exported = text({"export"});
    const auto before = json_of({"hosts"});
    EXPECT_EQ(apply(exported), "0 added, 0 changed, 21 unchanged");
    service.hosts.clear();
    EXPECT_EQ(apply(exported), "21 added, 0 changed, 0 unchanged");
    EXPECT_EQ(json_of({"hosts"}), before);
    service.hosts.erase("nas");
    service.hosts["host3"].config.echo = EchoMode::wake;
    service.hosts["other"].config = test::some_host(99);
    EXPECT_EQ(json_of({"apply", write(exported).c_str()}),
              (json::value{{"added", 1}, {"changed", 1}, {"unchanged", 19}, {"refused", json::array()}}));
    EXPECT_TRUE(service.hosts.contains("other")) << "nothing is removed";
}

TEST_F(CtlSite, APasswordStaysUnlessTheFileHasAnother) {
    const SecureOn old{{0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6}};
    service.hosts["host1"].config = test::some_host(1);
    service.hosts["host1"].config.magic.secureon = *old;
    const std::string exported = text({"export"});
    EXPECT_EQ(apply(exported), "0 added, 0 changed, 1 unchanged");
    EXPECT_EQ(apply(exported + "\nquiet = 23:00-07:00\n"), "0 added, 1 changed, 0 unchanged");
    EXPECT_EQ(service.hosts["host1"].config.magic.secureon, old);
    std::ofstream(path + ".password") << "01:23:45:67:89:ab\n"; // next to the file that names it
    const auto name = std::filesystem::path(path).filename().string() + ".password";
    EXPECT_EQ(apply(exported + "\nquiet = 23:00-07:00\nsecureon-file = " + name), "0 added, 1 changed, 0 unchanged");
    EXPECT_EQ(service.hosts["host1"].config.magic.secureon, (SecureOn{{0x01, 0x23, 0x45, 0x67, 0x89, 0xab}}));
}

TEST_F(CtlSite, AFileWithAnythingWrongChangesNothing) {
    const std::string nas = "[nas]\nmac = 00:00:5e:00:53:01\nip = 192.0.2.7\n";
    const std::string file = path + ".conf";
    EXPECT_EQ(refusal(nas + "[tv]\nmac = 00:00:5e:00:53:02\nip = 192.0.2.300\n")
                  .find(file + ": section [tv]: ip \"192.0.2.300\""),
              0U);
    EXPECT_EQ(refusal(nas + "[tv]\nmac = 00:00:5e:00:53:01\nip = 192.0.2.8\n"),
              file + ": section [tv]: mac 00:00:5e:00:53:01: belongs to host 'nas' on the same network, must be this "
                     "host's own");
    EXPECT_EQ(refusal(nas + "[tv]\nmac = 00:00:5e:00:53:01\nip = 192.0.2.7\nvlan = 7\n"), "done") << "another network";
    service.hosts.clear();
    EXPECT_EQ(ctl({"apply", "/nonexistent"}).error().message, "/nonexistent: there is no such file");
    EXPECT_EQ(refusal(nas + nas), file + ": section [nas]: is there twice, must be there once");
    EXPECT_TRUE(service.hosts.empty());
    stop();
    EXPECT_EQ(refusal("[nas]\n"), file + ": section [nas]: mac: 0 given, a host has 1 to 8") << "no daemon is asked";
}

/// Sections for so many hosts, as a large site has them.
std::string large(std::size_t count) {
    std::string sections;
    for (std::size_t i = 0; i < count; ++i)
        sections += fmt::format("[h{0}]\nmac = 02:00:00:00:{1:02x}:{2:02x}\nip = 10.0.{1}.{2}\nip = 2001:db8::{0:x}\n",
                                i, i / 250, i % 250 + 1);
    return sections;
}

TEST_F(CtlSite, ALargeFileIsOneChangeAlsoIfItsEndIsWrong) {
    constexpr std::size_t count = large_site + 4000; // more messages than may be under way
    const std::string good = large(count);
    const std::string file = path + ".conf";
    for (const auto& [end, refused] : std::initializer_list<std::pair<std::string, std::string>>{
             {"[last]\nmac = 00:00:5e:00:53:02\nip = 192.0.2.300\n",
              "section [last]: ip \"192.0.2.300\" is not an IP address"},
             {"[last]\nmac = 00:00:5e:00:53:02\n", "section [last]: ip: 0 given"},
             {"ecko = wake\n", "section [h13999]: key \"ecko\": is unknown"},
             {"[h77]\nmac = 00:00:5e:00:53:02\nip = 192.0.2.3\n", "section [h77]: is there twice, must be there once"}})
        EXPECT_EQ(refusal(good + end).find(file + ": " + refused), 0U) << end;
    auto output = apply(good);
    while (!output && output.error().message == "another import is under way") // the end of that is not heard of yet
        output = apply(good);
    EXPECT_EQ(output, fmt::format("{} added, 0 changed, 0 unchanged", count));
    service.hosts["h5000"].state = HostState::asleep;
    EXPECT_EQ(refusal(good), "host \"h5000\" is not awake") << "in words of the daemon";
    EXPECT_EQ(service.hosts.size(), count);
}

TEST_F(CtlSite, OneThatIsRefusedDoesNotKeepTheOthers) {
    for (unsigned i = 1; i <= 3; ++i)
        service.hosts["host" + std::to_string(i)].config = test::some_host(i);
    std::string changed = text({"export"});
    for (std::size_t at = 0; (at = changed.find("echo = answer", at)) != std::string::npos;)
        changed.replace(at, 13, "echo = wake");
    service.hosts["host2"].state = HostState::asleep;
    EXPECT_EQ(refusal(changed), "1 refused\nhost2: host \"host2\" is not awake");
    EXPECT_EQ(printed, "0 added, 2 changed, 0 unchanged\n");
    EXPECT_EQ(service.hosts["host3"].config.echo, EchoMode::wake);
    printed.clear();
    EXPECT_FALSE(ctl({"apply", (path + ".conf").c_str(), "--json"}));
    EXPECT_EQ(json::parse(printed), json::parse(R"({"added": 0, "changed": 0, "unchanged": 2,
        "refused": [{"host": "host2", "error": "host \"host2\" is not awake"}]})"));
}

// ---- explain ----

/// The frame that the daemon was last asked about.
class CtlExplain : public CtlRun {
protected:
    void SetUp() override {
        CtlRun::SetUp();
        HostConfig nas = test::named("nas");
        nas.macs = {nas_mac};
        nas.addresses = {{.ip = nas_ip}, {.ip = nas_ip6}};
        nas.interface = "lan0";
        nas.vlan = {20, 0};
        service.hosts["nas"].config = nas;
        HostConfig six = test::named("six");
        six.macs = {six_mac};
        six.addresses = {{.ip = six_ip6}};
        service.hosts["six"].config = six;
    }
    Bytes asked_about(const std::vector<const char*>& words) {
        std::vector<const char*> arguments{"explain"};
        arguments.insert(arguments.end(), words.begin(), words.end());
        service.explained.clear();
        text(arguments);
        EXPECT_EQ(service.explained.size(), 1U);
        return service.explained.empty() ? Bytes{} : service.explained[0].frame.bytes;
    }
    std::string refusal(const std::vector<const char*>& words) {
        std::vector<const char*> arguments{"explain"};
        arguments.insert(arguments.end(), words.begin(), words.end());
        const auto output = ctl(arguments);
        return output ? "understood" : output.error().message;
    }
    /// A capture file of these frames; of the last one `missing` bytes were not captured.
    std::string capture(const std::vector<Bytes>& frames, int link_type = DLT_EN10MB, bpf_u_int32 missing = 0) {
        const std::string file = path + ".pcap";
        pcap_t* pcap = pcap_open_dead(link_type, 65535);
        pcap_dumper_t* dump = pcap_dump_open(pcap, file.c_str());
        EXPECT_NE(dump, nullptr);
        for (const auto& frame : frames) {
            pcap_pkthdr header{};
            header.len = header.caplen = static_cast<bpf_u_int32>(frame.size());
            if (&frame == &frames.back())
                header.len += missing;
            pcap_dump(reinterpret_cast<u_char*>(dump), &header, frame.data());
        }
        pcap_dump_close(dump);
        pcap_close(pcap);
        return file;
    }

    const MacAddress nas_mac{{0, 0, 0x5e, 0, 0x53, 1}};
    const MacAddress six_mac{{0, 0, 0x5e, 0, 0x53, 6}};
    const MacAddress gateway_mac{{2, 0, 0, 0, 0, 0xfe}}; // of the fake's lan0
    const MacAddress nobody{{0x02, 0x65, 0x78, 0x70, 0x6c, 0x6e}};
    const IpAddress nas_ip = *IpAddress::parse("192.0.2.7");
    const IpAddress nas_ip6 = *IpAddress::parse("2001:db8::7");
    const IpAddress six_ip6 = *IpAddress::parse("2001:db8::6");
    const IpAddress client = *IpAddress::parse("192.0.2.2");
    const IpAddress client6 = *IpAddress::parse("2001:db8::2");
    const TagStack vlan20{.outer = 20};
};

TEST_F(CtlExplain, AHostsNameStandsForItsMacItsAddressAndItsPlace) {
    const auto expected = build_tcp({nobody, nas_mac, client, nas_ip}, 40000, 22, TH_SYN, vlan20);
    EXPECT_EQ(asked_about({"--tcp", "192.0.2.2", "nas:22"}), expected);
    EXPECT_EQ(service.explained[0].interface, "lan0");
    EXPECT_EQ(asked_about({"--tcp", "192.0.2.2:40000", "nas:22", "--syn"}), expected);
    EXPECT_EQ(asked_about({"--tcp", "192.0.2.2", "192.0.2.7:22"}), expected) << "as its address does";
    EXPECT_EQ(asked_about({"--tcp", "192.0.2.2:5", "nas:22", "--syn", "--ece", "--cwr"}),
              build_tcp({nobody, nas_mac, client, nas_ip}, 5, 22, 0xc2, vlan20));
    EXPECT_EQ(asked_about({"--udp", "[2001:db8::2]:5", "nas:53"}),
              build_udp({nobody, nas_mac, client6, nas_ip6}, 5, 53, vlan20));
    EXPECT_EQ(asked_about({"--udp", "nas", "[2001:db8::6]:53"}),
              build_udp({nas_mac, six_mac, nas_ip6, six_ip6}, 40000, 53, {}));
    EXPECT_EQ(asked_about({"--echo", "nas", "six"}),
              build_echo_request({nas_mac, six_mac, nas_ip6, six_ip6}, 1, 1, {}));
    EXPECT_EQ(asked_about({"--echo", "192.0.2.2", "192.0.2.9"}),
              build_echo_request({nobody, gateway_mac, client, *IpAddress::parse("192.0.2.9")}, 1, 1, {}))
        << "who is nobody's is behind the gateway";
    EXPECT_EQ(
        asked_about({"--echo", "2001:db8::2", "ff02::1"}),
        build_echo_request({nobody, multicast_mac(*IpAddress::parse("ff02::1")), client6, *IpAddress::parse("ff02::1")},
                           1, 1, {}));
    EXPECT_EQ(asked_about({"--udp", "192.0.2.2", "255.255.255.255:9"}),
              build_udp({nobody, MacAddress::broadcast(), client, *IpAddress::parse("255.255.255.255")}, 40000, 9, {}));
    service.hosts["nas"].identity = Identity::proxy;
    service.hosts["nas"].state = HostState::asleep;
    EXPECT_EQ(asked_about({"--echo", "192.0.2.2", "nas"}),
              build_echo_request({nobody, gateway_mac, client, nas_ip}, 1, 1, vlan20))
        << "neighbours know the gateway's MAC";
}

TEST_F(CtlExplain, NeighboursAsk) {
    EXPECT_EQ(asked_about({"--arp", "192.0.2.2", "nas"}), build_arp_request(nobody, client, nas_ip, vlan20));
    EXPECT_EQ(asked_about({"--arp", "0.0.0.0", "nas", "--from-mac", "00:00:5e:00:53:01"}),
              build_arp_request(nas_mac, IpAddress::v4({}), nas_ip, vlan20));
    EXPECT_EQ(asked_about({"--ns", "2001:db8::2", "nas"}),
              build_neighbor_solicitation(nobody, client6, nas_ip6, vlan20));
    EXPECT_EQ(asked_about({"--ns", "::", "nas", "--vlan", "30.7", "--interface", "lan1"}),
              build_neighbor_solicitation(nobody, IpAddress::v6({}), nas_ip6, {.outer = 30, .inner = 7}));
    EXPECT_EQ(service.explained[0].interface, "lan1");
}

TEST_F(CtlExplain, WhatLeavesIsTheGateways) {
    EXPECT_EQ(asked_about({"--arp", "192.0.2.2", "nas", "--egress", "--interface", "lan0"}),
              build_arp_request(gateway_mac, client, nas_ip, vlan20));
    EXPECT_TRUE(service.explained[0].egress);
    EXPECT_EQ(asked_about({"--arp", "192.0.2.2", "nas", "--egress", "--from-mac", "00:00:5e:00:53:09"}),
              build_arp_request({{0, 0, 0x5e, 0, 0x53, 9}}, client, nas_ip, vlan20));
    (void)asked_about({"--arp", "192.0.2.2", "nas"});
    EXPECT_FALSE(service.explained.back().egress);
}

TEST_F(CtlExplain, MagicPackets) {
    const SecureOn password{{1, 2, 3, 4, 5, 6}};
    service.hosts["nas"].config.magic.secureon = *password;
    EXPECT_EQ(asked_about({"--magic", "nas"}), build_magic_ethernet(nobody, nas_mac, password, vlan20));
    EXPECT_EQ(asked_about({"--magic", "00-00-5e-00-53-01"}), build_magic_ethernet(nobody, nas_mac, std::nullopt, {}));
}

TEST_F(CtlExplain, BytesAreTakenAsTheyAre) {
    const Bytes expected{0xff, 0xff, 0x02, 0xab};
    for (const auto& words : {std::vector<const char*>{"--hex", "ffff02ab"},
                              {"--hex", "ff:ff:02:AB"},
                              {"--hex", "ff", "ff02", "ab"},
                              {"--hex", "ff ff\n02 ab "}}) {
        (void)ctl([&] {
            std::vector<const char*> arguments{"explain"};
            arguments.insert(arguments.end(), words.begin(), words.end());
            return arguments;
        }());
        EXPECT_EQ(service.explained.back().frame.bytes, expected);
    }
    EXPECT_EQ(refusal({"--hex", "ffff02ab"}), "frame: is too short"); // the daemon's word
}

TEST_F(CtlExplain, CaptureFiles) {
    const std::vector<Bytes> frames{build_arp_request(nobody, client, nas_ip, {}), Bytes(14, 2)};
    const auto file = capture(frames);
    const auto all = json_of({"explain", "--pcap", file.c_str()}).as_array();
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[1].at("packet"), 2);
    EXPECT_EQ(all[1].at("frame"), "0202020202020202020202020202");
    EXPECT_EQ(all[1].at("reason"), "nobody");
    ASSERT_EQ(service.explained.size(), 2U);
    EXPECT_EQ(service.explained[0].frame.bytes, frames[0]);
    service.explained.clear();
    const auto shown = text({"explain", "--pcap", file.c_str(), "--packet", "2", "--interface", "lan0"});
    EXPECT_TRUE(shown.starts_with("packet   2\n")) << shown;
    ASSERT_EQ(service.explained.size(), 1U);
    EXPECT_EQ(service.explained[0], (control::ExplainRequest{.interface = "lan0", .frame = {frames[1]}}));

    EXPECT_EQ(refusal({"--pcap", file.c_str(), "--packet", "3"}), "--packet 3: \"" + file + "\" has 2");
    capture({Bytes(13)});
    EXPECT_EQ(refusal({"--pcap", file.c_str()}), "packet 1: frame: is too short");
    capture(frames, DLT_EN10MB, 5);
    EXPECT_EQ(refusal({"--pcap", file.c_str()}),
              "--pcap \"" + file + "\": of packet 2 only 14 of 19 bytes were captured, must be all");
    EXPECT_EQ(refusal({"--pcap", file.c_str(), "--packet", "1"}), "understood");
    capture(frames, DLT_LINUX_SLL2);
    EXPECT_EQ(refusal({"--pcap", file.c_str()}),
              "--pcap \"" + file +
                  "\": has packets of link type LINUX_SLL2, must have Ethernet (EN10MB): capture on an Ethernet "
                  "interface, not on `any`");
    capture({});
    EXPECT_EQ(text({"explain", "--pcap", file.c_str()}), "\"" + file + "\" has no packets");
    EXPECT_EQ(json_of({"explain", "--pcap", file.c_str()}), json::array{});
    EXPECT_TRUE(refusal({"--pcap", "/nonexistent"}).starts_with("--pcap \"/nonexistent\": "));
    std::filesystem::resize_file(file, 30); // within the first packet's header
    EXPECT_TRUE(refusal({"--pcap", file.c_str()}).starts_with("--pcap \"" + file + "\": truncated dump file"));
}

TEST_F(CtlExplain, WhatCannotBeBuiltIsSaid) {
    EXPECT_EQ(refusal({"--tcp", "192.0.2.2", "nosuch:22"}), "name \"nosuch\": no such host");
    EXPECT_EQ(refusal({"--magic", "nosuch"}), "name \"nosuch\": no such host");
    const std::string why = " have no addresses of one family that such a frame could have";
    EXPECT_EQ(refusal({"--tcp", "192.0.2.2", "six:22"}), "192.0.2.2 and host six" + why);
    EXPECT_EQ(refusal({"--arp", "nas", "six"}), "host nas and host six" + why);
    EXPECT_EQ(refusal({"--echo", "192.0.2.2", "192.0.2.9", "--interface", "lan7"}),
              "--interface \"lan7\": is not served");
    EXPECT_EQ(refusal({"--arp", "192.0.2.2", "nas", "--interface", "nosuch0"}),
              "interface 'nosuch0' is not served: lan0");
}

TEST_F(CtlExplain, EverythingIsShown) {
    service.explanation = {.verdict = control::FrameVerdict::answer,
                           .reason = "arp-answered",
                           .sentence = "ARP request, answered",
                           .interface = "lan0",
                           .vlan = {20, 0},
                           .segment = 3,
                           .host = "nas",
                           .host_state = HostState::asleep,
                           .sender = "six",
                           .sender_state = HostState::waking,
                           .sign = "ARP request",
                           .rule = "echo answer",
                           .events = {{.kind = "release", .host = "six", .address = client6, .next = "six is awake"},
                                      {.kind = "trigger", .next = "nothing"}},
                           .reply = control::Frame{build_arp_announcement(nas_mac, nas_ip, {})}};
    EXPECT_EQ(text({"explain", "--arp", "192.0.2.2", "nas"}),
              "frame    02:65:78:70:6c:6e > ff:ff:ff:ff:ff:ff vlan 20, ARP request of 192.0.2.2: who has 192.0.2.7\n"
              "on       lan0 vlan 20\n"
              "verdict  answer\n"
              "reason   arp-answered: ARP request, answered\n"
              "host     nas, asleep\n"
              "sender   six, waking (ARP request)\n"
              "rule     echo answer\n"
              "event    release: six, 2001:db8::2\n"
              "next     six is awake\n"
              "event    trigger\n"
              "next     nothing\n"
              "reply    00:00:5e:00:53:01 > ff:ff:ff:ff:ff:ff, ARP announcement: 192.0.2.7 is at 00:00:5e:00:53:01\n"
              "         0000  ff ff ff ff ff ff 00 00 5e 00 53 01 08 06 00 01\n"
              "         0010  08 00 06 04 00 01 00 00 5e 00 53 01 c0 00 02 07\n"
              "         0020  00 00 00 00 00 00 c0 00 02 07 00 00 00 00 00 00\n"
              "         0030  00 00 00 00 00 00 00 00 00 00 00 00");
    service.explanation.reply = control::Frame{Bytes{1, 0xab}};
    EXPECT_EQ(json_of({"explain", "--hex", "00 00 00 00 00 00 00 00 00 00 00 00 00 0f"}), json::parse(R"({
        "frame": "000000000000000000000000000f", "verdict": "answer", "reason": "arp-answered",
        "sentence": "ARP request, answered", "interface": "lan0", "vlan": {"outer": 20, "inner": 0}, "segment": 3,
        "host": "nas", "host_state": "asleep", "sender": "six", "sender_state": "waking", "sign": "ARP request",
        "rule": "echo answer",
        "event": [{"kind": "release", "host": "six", "address": "2001:db8::2", "next": "six is awake"},
                  {"kind": "trigger", "host": null, "address": null, "next": "nothing"}],
        "reply": "01ab"})"));
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
