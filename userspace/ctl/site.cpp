// SPDX-License-Identifier: Apache-2.0
#include "ctl/site.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>

#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include "base/ini.h"
#include "hosts/host_options.h"
#include "hosts/table.h"

namespace pz::ctl {

using namespace control;

namespace {

constexpr std::size_t largest_site = 256U << 20; // 65,536 hosts with 64 addresses each need less

/// Whether hosts that are right one by one can be there together, as far as that does not depend on the gateway.
Result<> check_together(const std::string& path, const std::vector<HostConfig>& hosts) {
    const auto room = static_cast<std::uint32_t>(hosts.size());
    PresenceTable table({.max_hosts = room,
                         .max_addresses4 = room * static_cast<std::uint32_t>(max_addresses),
                         .max_addresses6 = room * static_cast<std::uint32_t>(max_addresses),
                         .max_macs = room * static_cast<std::uint32_t>(max_macs)});
    std::map<std::pair<std::string, VlanTags>, SegmentId> segments;
    for (const auto& host : hosts) {
        const auto segment = segments.try_emplace({host.interface, host.vlan}, segments.size() + 1).first->second;
        if (auto added = table.set(host, segment, false, Instant{}); !added)
            return fail(added.error().code, fmt::format("{}: section [{}]: {}", path, host.name, added.error().message),
                        added.error().field);
    }
    return {};
}

/// They say the same; how long addresses are valid is not said by words.
bool is_same(const HostConfig& one, const HostConfig& other) {
    return words_of(one) == words_of(other) && one.magic.secureon == other.magic.secureon;
}

bool has_end(const HostAddress& address) {
    return address.valid_for.has_value();
}

/// In as many messages as it takes; `at_once` becomes the number of hosts that fit into one.
Result<> put(HostList& part, std::size_t& at_once, Client& client) {
    auto posted = client.post(PZ_MSG_IMPORT_PUT, part);
    if (posted || part.hosts.size() == 1 || posted.error().code != Errc::limit || posted.error().field != "nlmsg_len")
        return posted;
    at_once = part.hosts.size() / 2;
    const auto half = part.hosts.begin() + static_cast<std::ptrdiff_t>(at_once);
    HostList second{{std::make_move_iterator(half), std::make_move_iterator(part.hosts.end())}};
    part.hosts.erase(half, part.hosts.end());
    PZ_TRY(put(part, at_once, client));
    return put(second, at_once, client);
}

} // namespace

std::string site_text(const std::vector<HostStatus>& hosts) {
    std::string text = "# all hosts, for `proxzzyctl apply`\n";
    for (const auto& host : hosts) {
        text += fmt::format("\n[{}]\n", host.config.name);
        if (host.file)
            text += fmt::format("# configured by the file {}\n", *host.file);
        if (host.config.magic.secureon)
            text += "# its SecureOn password is not here: set secureon-file = FILE on the other side\n";
        for (const auto& address : host.config.addresses)
            if (address.valid_for)
                text += fmt::format("# {} was valid for {} s from when it was set; here it has no end\n",
                                    address.ip.to_string(), address.valid_for->count());
        for (const auto& [key, value] : words_of(host.config))
            text += fmt::format("{} = {}\n", key, value);
    }
    return text;
}

std::vector<std::string> not_in_text(const std::vector<HostStatus>& hosts) {
    std::vector<std::string> secret;
    std::vector<std::string> ending;
    for (const auto& host : hosts) {
        if (host.config.magic.secureon)
            secret.push_back(host.config.name);
        if (std::ranges::any_of(host.config.addresses, has_end))
            ending.push_back(host.config.name);
    }
    std::vector<std::string> lines;
    if (!secret.empty())
        lines.push_back(fmt::format("SecureOn passwords are not exported, set secureon-file on the other side for: {}",
                                    fmt::join(secret, ", ")));
    if (!ending.empty())
        lines.push_back(fmt::format("the ends of addresses are not exported, addresses that have one are of: {}",
                                    fmt::join(ending, ", ")));
    return lines;
}

Result<std::unique_ptr<Site>> read_site(const std::string& path) {
    const bool is_input = path == "-";
    const std::string name = is_input ? "standard input" : path;
    Fd file;
    if (!is_input)
        file = PZ_TRY(open_file(path));
    auto site = std::make_unique<Site>(name, PZ_TRY(read_all(is_input ? STDIN_FILENO : file.get(), name, largest_site)),
                                       is_input ? "" : std::filesystem::path(path).parent_path());
    while (!site->is_large()) {
        auto host = PZ_TRY(site->others.next());
        if (!host) {
            PZ_TRY(check_together(name, site->hosts));
            break;
        }
        site->hosts.push_back(std::move(*host));
    }
    return site;
}

Result<Applied> apply(std::vector<HostConfig> wanted, Client& client) {
    std::map<std::string, HostConfig> there;
    PZ_TRY(client.dump<HostStatus>(PZ_MSG_HOST_GET, [&](HostStatus host) {
        std::string name = host.config.name;
        there.emplace(std::move(name), std::move(host.config));
    }));
    Applied applied;
    const auto set = [&](HostConfig& host) -> Result<> {
        const auto known = there.find(host.name);
        if (known == there.end()) {
            PZ_TRY(client.change(PZ_MSG_HOST_SET, NLM_F_CREATE | NLM_F_EXCL, host));
            ++applied.added;
            return {};
        }
        if (!host.magic.secureon)
            host.magic.secureon = known->second.magic.secureon;
        if (is_same(host, known->second)) {
            ++applied.unchanged;
            return {};
        }
        PZ_TRY(client.change(PZ_MSG_HOST_SET, NLM_F_CREATE | NLM_F_REPLACE, host));
        ++applied.changed;
        return {};
    };
    // one host may take what another one gives up, so those that fail are tried again as long as others succeed
    std::vector<Result<>> results(wanted.size(), Result<>(fail(Errc::exists, {})));
    for (bool progress = true; progress;) {
        progress = false;
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            if (results[i] || results[i].error().code != Errc::exists)
                continue;
            results[i] = set(wanted[i]);
            progress = progress || results[i].has_value();
        }
    }
    for (std::size_t i = 0; i < wanted.size(); ++i)
        if (!results[i])
            applied.refused.push_back({.host = wanted[i].name, .error = results[i].error().message});
    return applied;
}

Result<Applied> apply_whole(Site& site, Client& client) {
    PZ_TRY(client.change(PZ_MSG_IMPORT_BEGIN));
    std::size_t at_once = 256; // mostly fit into a message
    auto first = std::make_move_iterator(site.hosts.begin());
    const auto end = std::make_move_iterator(site.hosts.end());
    for (HostList part;; part.hosts.clear()) {
        while (part.hosts.size() < at_once && first != end)
            part.hosts.push_back(*first++);
        while (part.hosts.size() < at_once) {
            auto host = PZ_TRY(site.others.next());
            if (!host)
                break;
            part.hosts.push_back(std::move(*host));
        }
        if (part.hosts.empty())
            break;
        PZ_TRY(put(part, at_once, client));
    }
    PZ_TRY(client.settle());
    PZ_TRY(client.wait_for_ever()); // for the disk
    const Acknowledgement done = PZ_TRY(client.change(PZ_MSG_IMPORT_COMMIT));
    return Applied{.added = done.added.value_or(0),
                   .changed = done.changed.value_or(0),
                   .unchanged = done.unchanged.value_or(0),
                   .refused = {}};
}

std::string to_text(const Applied& applied) {
    return fmt::format("{} added, {} changed, {} unchanged", applied.added, applied.changed, applied.unchanged);
}

} // namespace pz::ctl
