// SPDX-License-Identifier: Apache-2.0
// What tests of the control protocol share: a daemon's service in memory, and messages made by hand.
#pragma once

#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "control/codec.h"
#include "control/journal.h"
#include "control/service.h"

namespace pz::test {

/// A configuration of which only the name is set.
inline HostConfig named(std::string name) {
    HostConfig config;
    config.name = std::move(name);
    return config;
}

/// A presence table that only remembers.
class FakeService : public control::Service {
public:
    control::Capabilities capabilities() override {
        return {.version = "1.2.3",
                .options = {"arp", "nd"},
                .max_hosts = 65'536,
                .max_addresses_per_host = 64,
                .max_rules_per_host = 32,
                .max_macs_per_host = 8,
                .max_hostnames_per_host = 4,
                .max_services_per_host = 32,
                .max_groups_per_host = 32};
    }
    control::DaemonStatus status() override {
        control::DaemonStatus status;
        status.version = "1.2.3";
        status.uptime_ms = 61'000;
        status.interfaces.push_back({"lan0", "native", {{2, 0, 0, 0, 0, 0xfe}}, true, true, true, {}});
        status.interfaces.push_back({"lan1", "generic", {{2, 0, 0, 0, 0, 0xfd}}, false, true, false, {}});
        status.interfaces.push_back({"lan2", "native", {{2, 0, 0, 0, 0, 0xfc}}, false, false, false, {}});
        status.interfaces.push_back({"br0",
                                     "bridge",
                                     {{2, 0, 0, 0, 0, 0xfb}},
                                     true,
                                     true,
                                     true,
                                     {{"port1", "native", true, true}, {"port2", "generic", false, false}}});
        status.hosts = static_cast<std::uint32_t>(hosts.size());
        status.bpffs = "/sys/fs/bpf/proxzzy/default";
        return status;
    }
    std::vector<control::Counter> stats() override { return counters; }
    Result<> host_set(HostConfig config, bool replace) override {
        if (auto valid = validate(config); !valid)
            return std::unexpected(valid.error());
        const auto found = hosts.find(config.name);
        if (found != hosts.end() && !replace)
            return fail(Errc::exists, "name \"" + config.name + "\": is taken", "name");
        if (found != hosts.end() && found->second.state != HostState::awake)
            return fail(Errc::busy, "host \"" + config.name + "\" is not awake", "name");
        hosts[config.name].config = config;
        return {};
    }
    Result<control::HostStatus> host_get(std::string_view name) override {
        ++gets;
        const auto found = hosts.find(std::string(name));
        if (found == hosts.end())
            return fail(Errc::not_found, "name \"" + std::string(name) + "\": no such host", "name");
        return found->second;
    }
    std::vector<std::string> host_names() override {
        std::vector<std::string> names;
        for (const auto& [name, host] : hosts)
            names.push_back(name);
        return names;
    }
    Result<> host_remove(std::string_view name) override {
        PZ_TRY(host_get(name));
        hosts.erase(std::string(name));
        return {};
    }
    Result<> host_sleep(std::string_view name) override { return move_to(name, HostState::asleep); }
    Result<> host_release(std::string_view name) override { return move_to(name, HostState::awake); }
    Result<> host_wake(std::string_view name) override { return move_to(name, HostState::waking); }
    void commit(Committed done) override {
        if (holds_commits)
            committed = std::move(done);
        else
            done(control::Durable::no);
    }
    void finish(Result<control::Durable> outcome) { std::exchange(committed, {})(std::move(outcome)); }
    Result<> import_begin() override {
        if (before_import)
            return fail(Errc::busy, "another import is under way");
        before_import = hosts;
        return {};
    }
    Result<> import_put(std::vector<HostConfig> wanted, const std::vector<ByteView>& encoded) override {
        if (encoded.size() != wanted.size())
            return fail(Errc::invalid, "not the bytes of each host");
        for (auto& config : wanted) {
            const bool is_new = !hosts.contains(config.name);
            if (auto set = host_set(std::move(config), true); !set) {
                import_abort();
                return set;
            }
            ++(is_new ? imported.added : imported.changed);
        }
        return {};
    }
    void import_when_ready(std::function<void()> ready) override { ready(); }
    void import_commit(std::function<void(Result<control::Imported>)> done) override {
        before_import.reset();
        done(std::exchange(imported, {}));
    }
    void import_abort() override {
        hosts = *std::exchange(before_import, std::nullopt);
        imported = {};
    }
    Result<std::vector<control::Wake>> wakes(std::string_view name) override {
        PZ_TRY(host_get(name));
        return wake_log;
    }
    control::Journal& journal() override { return events; }
    Result<control::Explanation> explain(const control::ExplainRequest& request) override {
        explained.push_back(request);
        if (request.interface == "nosuch0")
            return fail(Errc::not_found, "interface 'nosuch0' is not served: lan0", "interface");
        if (request.frame.bytes.size() < 14)
            return fail(Errc::invalid, "frame: is too short", "frame");
        return explanation;
    }
    Result<> detach() override {
        if (on_detach)
            on_detach();
        return {};
    }

    std::map<std::string, control::HostStatus> hosts;
    std::optional<std::map<std::string, control::HostStatus>> before_import;
    control::Imported imported;
    std::vector<control::Counter> counters{{"arp-answered", "ARP request, answered", 7}, {"nobody", "not ours", 1}};
    std::vector<control::Wake> wake_log;
    control::Journal events{{}, nullptr};
    std::function<void()> on_detach;
    bool holds_commits = false; // finish() ends the one that is waiting
    Committed committed;
    control::Explanation explanation{.reason = "nobody", .sentence = "not ours", .interface = "lan0"};
    std::vector<control::ExplainRequest> explained;
    std::size_t gets = 0;

private:
    Result<> move_to(std::string_view name, HostState state) {
        PZ_TRY(host_get(name));
        hosts[std::string(name)].state = state;
        return {};
    }
};

/// The `i`th of many valid hosts.
inline HostConfig some_host(unsigned i) {
    const auto high = static_cast<std::uint8_t>(i >> 8);
    const auto low = static_cast<std::uint8_t>(i);
    HostConfig config = named("host" + std::to_string(i));
    config.macs = {{{0, 0, 0x5e, static_cast<std::uint8_t>(i >> 16), high, low}}};
    config.addresses = {{.ip = IpAddress::v4({10, static_cast<std::uint8_t>(i >> 16), high, low})},
                        {.ip = IpAddress::v6({0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, high, low})}};
    return config;
}

/// A message put together byte by byte, so that it can be wrong.
class RawMessage {
public:
    explicit RawMessage(std::uint16_t type, std::uint16_t flags = NLM_F_REQUEST | NLM_F_ACK) {
        header.nlmsg_type = type;
        header.nlmsg_flags = flags;
        header.nlmsg_seq = 1;
    }
    /// `length` instead of the right one, and no padding, if given.
    RawMessage& attribute(unsigned type, const std::vector<std::uint8_t>& payload, int length = -1) {
        const nlattr attribute{static_cast<std::uint16_t>(length >= 0 ? static_cast<std::size_t>(length)
                                                                      : sizeof(nlattr) + payload.size()),
                               static_cast<std::uint16_t>(type)};
        raw({reinterpret_cast<const std::uint8_t*>(&attribute),
             reinterpret_cast<const std::uint8_t*>(&attribute) + sizeof attribute});
        raw(payload);
        if (length < 0)
            attributes.resize((attributes.size() + 3) / 4 * 4);
        return *this;
    }
    RawMessage& nest(unsigned type, const RawMessage& inside) {
        return attribute(type | NLA_F_NESTED, inside.attributes);
    }
    RawMessage& text(unsigned type, std::string_view value) {
        std::vector<std::uint8_t> bytes(value.begin(), value.end());
        bytes.push_back(0);
        return attribute(type, bytes);
    }
    RawMessage& raw(const std::vector<std::uint8_t>& bytes) {
        attributes.insert(attributes.end(), bytes.begin(), bytes.end());
        return *this;
    }
    [[nodiscard]] std::vector<std::uint8_t> bytes() const {
        nlmsghdr whole = header;
        if (whole.nlmsg_len == 0)
            whole.nlmsg_len = static_cast<std::uint32_t>(sizeof whole + sizeof family + attributes.size());
        std::vector<std::uint8_t> result(sizeof whole + sizeof family);
        std::memcpy(result.data(), &whole, sizeof whole);
        std::memcpy(result.data() + sizeof whole, &family, sizeof family);
        result.insert(result.end(), attributes.begin(), attributes.end());
        return result;
    }

    nlmsghdr header{};
    pz_control_header family{PZ_CONTROL_VERSION, {}};
    std::vector<std::uint8_t> attributes;
};

} // namespace pz::test
