// SPDX-License-Identifier: Apache-2.0
// Hosts that are configured by files: hosts.d/NAME.conf, a host each.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "daemon/options.h"
#include "hosts/record.h"

namespace pz {

struct HostFile {
    std::string path;
    HostConfig config;
};

/// What a folder says at one time.
struct HostFiles {
    std::map<std::string, HostFile> hosts; // by name
    std::set<std::string> broken;          // names whose file cannot be used
    std::vector<Error> errors;             // why; each begins with the file's path
};

/// Reads every NAME.conf in `folder`; other names (hidden files, copies of editors and package managers) are left
/// alone. Errc::not_found: there is no such folder.
Result<HostFiles> read_host_files(const std::string& folder);

/// What in `files` a daemon with `options` would refuse although each file is right by itself: interfaces that are not
/// served, addresses that two hosts have, more hosts than there is room for.
std::vector<Error> check_host_files(const DaemonOptions& options, const HostFiles& files);

/// Keeps a table of hosts as the files say.
class FileHosts {
public:
    /// Where the hosts are.
    struct Table {
        std::function<Result<>(HostConfig)> set; // adds or changes; Errc::busy: not now, the host is in proxy care
        std::function<Result<>(std::string_view name)> remove;
        std::function<bool(std::string_view name)> in_care;
    };
    /// What was done: names of hosts.
    struct Report {
        std::vector<std::string> added;
        std::vector<std::string> changed;
        std::vector<std::string> removed;
        std::vector<std::string> waiting; // until they are awake
        std::vector<Error> errors;        // each begins with the file's path
    };

    explicit FileHosts(Table table) : table_(std::move(table)) {}

    /// Adds the hosts of new files, changes those whose file changed, removes those whose file is gone.  A host in
    /// proxy care keeps its record until retry() finds it awake; so does one whose file is broken.  A file that wants
    /// what another host has is an error, and retry() tries it again too.
    Report apply(const HostFiles& files);
    /// To be called from time to time: does what had to wait, if it can be done now.  What is told already is not told
    /// again.
    Report retry();

    /// The table has a host that this file configured in an earlier life of the daemon.
    void adopt(const std::string& name, HostFile file) { hosts_.insert_or_assign(name, std::move(file)); }
    /// The file that a host comes from; nullptr: it does not come from one.
    [[nodiscard]] const std::string* file_of(std::string_view name) const;
    /// The same; of a host whose file is gone, but which stays until it is awake, that file.  Empty: none.
    [[nodiscard]] std::string origin_of(std::string_view name) const;
    [[nodiscard]] std::size_t size() const { return hosts_.size(); }
    /// Somebody else removed or changed a host that does not come from a file (any more).
    void forget(std::string_view name);

private:
    /// `told`: of these it is known that another host has what they want.
    void set_all(std::map<std::string, HostFile> wanted, const std::set<std::string>& told, Report& report);
    void remove(const std::string& name, Report& report);

    Table table_;
    std::map<std::string, HostFile, std::less<>> hosts_; // as the table has them
    struct Waiting {
        HostFile file;
        bool goes = false; // the file is gone, and the host is to follow
        bool is_told = false; // why it cannot be done: another host has what it wants
    };
    std::map<std::string, Waiting, std::less<>> waiting_;
};

} // namespace pz
