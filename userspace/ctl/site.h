// SPDX-License-Identifier: Apache-2.0
// All hosts of a daemon as one text, and back: how they get from one gateway to another.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "control/client.h"
#include "hosts/host_options.h"

namespace pz::ctl {

/// A section [NAME] for each host, with the keys of a host's file.  SecureOn passwords are not in it; a comment says
/// so, and where a host comes from a file.
std::string site_text(const std::vector<control::HostStatus>& hosts);

/// What site_text() could not put into words, in a line for each; to be told to who moves the hosts.
std::vector<std::string> not_in_text(const std::vector<control::HostStatus>& hosts);

/// A file of more hosts than this is one change: all of it is done, or nothing.
inline constexpr std::size_t large_site = 10'000;

/// The hosts of a text like that.
struct Site {
    Site(std::string path, std::string all, std::filesystem::path folder)
        : text(std::move(all)), others(std::move(path), text, std::move(folder)) {}

    std::vector<HostConfig> hosts; // the first ones: all of them, or one more than large_site
    std::string text;
    HostReader others; // the rest of a large site, in `text`

    [[nodiscard]] bool is_large() const { return hosts.size() > large_site; }
};

/// Reads the file `path`; "-" is standard input.  Errors name the file, the section, the key and the value, also where
/// two hosts cannot be there at once; of a large site the daemon says that.
Result<std::unique_ptr<Site>> read_site(const std::string& path);

/// What became of the hosts of a file.
struct Applied {
    struct Refused {
        std::string host;
        std::string error;
    };
    std::size_t added = 0;
    std::size_t changed = 0;
    std::size_t unchanged = 0;
    std::vector<Refused> refused; // in the file's order
};

/// Has the daemon add or change `wanted`, those that differ from what it has.  A SecureOn password that it has for a
/// host stays, unless the file has another one.
Result<Applied> apply(std::vector<HostConfig> wanted, control::Client& client);

/// Like apply(), as one change, and many times as fast: hosts are sent as they are read.  What is wrong in the rest of
/// the file is the error, as of read_site(), or what the daemon refuses of it, which names the host.
Result<Applied> apply_whole(Site& site, control::Client& client);

/// "1 added, 2 changed, 0 unchanged"
std::string to_text(const Applied& applied);

} // namespace pz::ctl
