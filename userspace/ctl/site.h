// SPDX-License-Identifier: Apache-2.0
// All hosts of a daemon as one text, and back: how they get from one gateway to another.
#pragma once

#include <string>
#include <vector>

#include "control/client.h"

namespace pz::ctl {

/// A section [NAME] for each host, with the keys of a host's file.  SecureOn passwords are not in it; a comment says
/// so, and where a host comes from a file.
std::string site_text(const std::vector<control::HostStatus>& hosts);

/// What site_text() could not put into words, in a line for each; to be told to who moves the hosts.
std::vector<std::string> not_in_text(const std::vector<control::HostStatus>& hosts);

/// The hosts of a text like that, in the file `path`; "-" is standard input.  All of them, or an error that names the
/// file, the section, the key and the value: also where two of them cannot be there at once, of large_site the daemon
/// says that.
Result<std::vector<HostConfig>> read_site(const std::string& path);

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

/// A file of more hosts than this is one change: all of it is done, or nothing.
inline constexpr std::size_t large_site = 10'000;

/// Like apply(), as one change, and many times as fast.  What the daemon refuses of it is the error, and names the
/// host.
Result<Applied> apply_whole(const std::vector<HostConfig>& wanted, control::Client& client);

/// "1 added, 2 changed, 0 unchanged"
std::string to_text(const Applied& applied);

} // namespace pz::ctl
