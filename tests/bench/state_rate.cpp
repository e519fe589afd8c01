// SPDX-License-Identifier: Apache-2.0
// state_rate FOLDER COUNT: writes the hosts of table_bench.py to a state file in FOLDER as an import does, and nothing
// else.  Prints how many seconds that took, until they were on disk.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "control/codec.h"
#include "hosts/store.h"
#include "sleepers.h"

namespace pz::bench {
namespace {

constexpr std::uint32_t part_size = 256; // as proxzzyctl sends them

Result<StoredHost> row(std::uint32_t number) {
    HostConfig config;
    config.name = "h" + std::to_string(number);
    config.macs = {sleeper_mac(number)};
    config.addresses = {{.ip = sleeper_ip4(number)}, {.ip = sleeper_ip6(number, 0)}, {.ip = sleeper_ip6(number, 1)}};
    StoredHost host;
    host.name = config.name;
    host.id = number;
    host.since_reason = "configured";
    for (const auto& address : config.addresses)
        host.addresses.push_back({.ip = address.ip});
    const auto message = PZ_TRY(control::encode({.type = PZ_MSG_HOST_SET, .flags = NLM_F_REQUEST}, config));
    host.config.assign(message.bytes().begin(), message.bytes().end());
    return host;
}

Result<double> seconds(const std::string& folder, std::uint32_t count) {
    std::vector<StoreBatch> parts;
    for (std::uint32_t number = 0; number < count; number++) {
        if (number % part_size == 0)
            parts.emplace_back();
        parts.back().hosts.push_back(PZ_TRY(row(number)));
    }
    const auto store = PZ_TRY(Store::open(folder));
    const auto started = std::chrono::steady_clock::now();
    PZ_TRY(store->begin());
    for (const auto& part : parts)
        PZ_TRY(store->add(part));
    PZ_TRY(store->finish());
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

} // namespace
} // namespace pz::bench

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fputs("usage: state_rate FOLDER COUNT\n", stderr);
        return 2;
    }
    const auto took = pz::bench::seconds(argv[1], static_cast<std::uint32_t>(std::strtoul(argv[2], nullptr, 10)));
    if (!took) {
        std::fprintf(stderr, "state_rate: %s\n", took.error().message.c_str());
        return 1;
    }
    std::printf("%f\n", *took);
    return 0;
}
