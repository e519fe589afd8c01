// SPDX-License-Identifier: Apache-2.0
#include "daemon/host_files.h"

#include <algorithm>
#include <filesystem>

#include <spdlog/fmt/fmt.h>

#include "base/ini.h"
#include "daemon/segments.h"
#include "hosts/host_options.h"
#include "hosts/table.h"

namespace pz {

namespace fs = std::filesystem;

namespace {

Error in_file(const std::string& path, const Error& error) {
    return {error.code, fmt::format("{}: {}", path, error.message), error.field};
}

Result<HostConfig> read_host_file(const fs::path& path) {
    const std::string text = PZ_TRY(read_file(path.string()));
    return parse_host_file(path, text);
}

} // namespace

Result<HostFiles> read_host_files(const std::string& folder) {
    std::error_code error;
    fs::directory_iterator entries(folder, error);
    std::vector<fs::path> paths;
    for (; !error && entries != fs::directory_iterator(); entries.increment(error))
        if (entries->path().extension() == ".conf" && !entries->path().filename().string().starts_with('.'))
            paths.push_back(entries->path());
    if (error == std::errc::no_such_file_or_directory)
        return fail(Errc::not_found, fmt::format("{}: there is no such folder", folder));
    if (error)
        return fail(Errc::system, fmt::format("{}: {}", folder, error.message()));
    std::ranges::sort(paths);
    HostFiles files;
    for (const auto& path : paths) {
        auto config = read_host_file(path);
        if (config) {
            files.hosts[config->name] = {path.string(), *config};
        } else {
            files.broken.insert(path.stem().string());
            files.errors.push_back(std::move(config).error());
        }
    }
    return files;
}

std::vector<Error> check_host_files(const DaemonOptions& options, const HostFiles& files) {
    std::vector<Error> errors;
    PresenceTable table(table_options(options));
    std::map<std::pair<std::string, VlanTags>, SegmentId> segments;
    const auto add = [&](const HostConfig& config) -> Result<> {
        const std::string interface = PZ_TRY(served_interface(config.interface, options.interfaces));
        const auto segment = segments.try_emplace({interface, config.vlan}, segments.size() + 1).first->second;
        (void)PZ_TRY(table.set(config, segment, false, Instant{}));
        return {};
    };
    for (const auto& [name, file] : files.hosts)
        if (auto added = add(file.config); !added)
            errors.push_back(in_file(file.path, added.error()));
    return errors;
}

FileHosts::Report FileHosts::apply(const HostFiles& files) {
    Report report;
    report.errors = files.errors;
    // what the files say now takes the place of what they said; a host that is still to go has no file to say so
    std::erase_if(waiting_, [&](const auto& entry) {
        return !entry.second.goes || files.hosts.contains(entry.first) || files.broken.contains(entry.first);
    });
    std::vector<std::string> gone;
    for (const auto& [name, host] : hosts_)
        if (!files.hosts.contains(name) && !files.broken.contains(name))
            gone.push_back(name);
    for (const auto& name : gone)
        remove(name, report);
    std::map<std::string, HostFile> wanted;
    for (const auto& [name, file] : files.hosts)
        if (const auto known = hosts_.find(name); known == hosts_.end() || known->second.config != file.config)
            wanted.emplace(name, file);
    set_all(std::move(wanted), {}, report);
    return report;
}

FileHosts::Report FileHosts::retry() {
    Report report;
    std::map<std::string, HostFile> wanted;
    std::vector<std::string> gone;
    std::set<std::string> told;
    for (const auto& [name, waiting] : waiting_) {
        if (table_.in_care(name))
            continue;
        if (waiting.goes)
            gone.push_back(name);
        else
            wanted.emplace(name, waiting.file);
        if (waiting.is_told)
            told.insert(name);
    }
    for (const auto& name : gone)
        remove(name, report);
    set_all(std::move(wanted), told, report);
    return report;
}

const std::string* FileHosts::file_of(std::string_view name) const {
    const auto found = hosts_.find(name);
    return found == hosts_.end() ? nullptr : &found->second.path;
}

std::string FileHosts::origin_of(std::string_view name) const {
    if (const std::string* file = file_of(name))
        return *file;
    const auto found = waiting_.find(name);
    return found == waiting_.end() || !found->second.goes ? "" : found->second.file.path;
}

void FileHosts::forget(std::string_view name) {
    if (const auto found = waiting_.find(name); found != waiting_.end() && found->second.goes)
        waiting_.erase(found);
}

void FileHosts::remove(const std::string& name, Report& report) {
    auto host = hosts_.extract(name);
    if (host && table_.in_care(name)) {
        waiting_[name] = {.file = std::move(host.mapped()), .goes = true};
        report.waiting.push_back(name);
        return;
    }
    waiting_.erase(name);
    if (table_.remove(name)) // who is gone already need not be removed
        report.removed.push_back(name);
}

/// One host may take what another one gives up, so those that fail are tried again as long as others succeed.
void FileHosts::set_all(std::map<std::string, HostFile> wanted, const std::set<std::string>& told, Report& report) {
    std::vector<Error> errors;
    for (bool progress = true; progress && !wanted.empty();) {
        progress = false;
        errors.clear();
        for (auto it = wanted.begin(); it != wanted.end();) {
            const auto& [name, file] = *it;
            waiting_.erase(name);
            if (auto set = table_.set(file.config); set) {
                const bool is_new = hosts_.insert_or_assign(name, file).second;
                (is_new ? report.added : report.changed).push_back(name);
            } else if (set.error().code == Errc::busy) {
                waiting_[name] = {.file = file};
                report.waiting.push_back(name);
            } else {
                if (set.error().code == Errc::exists)
                    waiting_[name] = {.file = file, .is_told = true};
                if (!told.contains(name))
                    errors.push_back(in_file(file.path, set.error()));
                ++it;
                continue;
            }
            progress = true;
            it = wanted.erase(it);
        }
    }
    std::ranges::move(errors, std::back_inserter(report.errors));
}

} // namespace pz
