// SPDX-License-Identifier: Apache-2.0
// A host as a person writes it: options of `proxzzyctl host add`, keys of a file in hosts.d.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/ini.h"
#include "base/result.h"
#include "hosts/record.h"

namespace boost::program_options {
class options_description;
class variables_map;
} // namespace boost::program_options

namespace pz {

/// All options of a host but its name, to be shown under `caption`.
boost::program_options::options_description host_options(const std::string& caption);

/// Those of a host's wake policy alone, which host_options() has too.
void add_policy_options(boost::program_options::options_description& options);

/// `policy` with what `values` of add_policy_options() say; "none" empties a list and lifts a limit.  Errors as those
/// of read_host().
Result<WakePolicy> read_policy(WakePolicy policy, const boost::program_options::variables_map& values);

/// The host that `values` of host_options() describe.  Paths are relative to `folder`.  Errors begin with the option's
/// name as in "mac \"x\": ..."; Error::field is that name.
Result<HostConfig> read_host(std::string name, const boost::program_options::variables_map& values,
                             const std::filesystem::path& folder = {});

/// The options of a host with their values, as read_host() reads them; what has no value is not there.  There are no
/// words for its name, its SecureOn password, and how long its addresses are valid.
std::vector<std::pair<std::string, std::string>> words_of(const HostConfig& config);

/// The host of the file `path`, NAME.conf, that holds `text`.  Errors begin with the path.
Result<HostConfig> parse_host_file(const std::filesystem::path& path, const std::string& text);

/// The hosts of a text, one after the other: a section [NAME] for each, with the keys of a host's file.
class HostReader {
public:
    /// `text` was read from `path`, and has to stay where it is.  Paths in it are relative to `folder`.
    HostReader(std::string path, std::string_view text, std::filesystem::path folder);
    HostReader(const HostReader&) = delete;
    HostReader& operator=(const HostReader&) = delete;
    ~HostReader();
    /// nullopt: there are no more.  Errors begin with the path, and name the section; nothing is to be read after one.
    Result<std::optional<HostConfig>> next();

private:
    bool read_alike(HostConfig& config);

    IniReader sections_;
    std::filesystem::path folder_;
    std::unique_ptr<const boost::program_options::options_description> options_;
    IniSection section_;
    /// What hosts differ in, line by line, and the other lines: many hosts have those alike.
    std::vector<std::pair<std::string_view, std::string_view>> own_;
    std::string others_;
    /// By these other lines: hosts that were read, without what they differ in.
    std::unordered_map<std::string, HostConfig> alike_;
};

/// "20", or "100.20" for two tags
Result<VlanTags> parse_vlan(const std::string& text);

/// "tcp/22", "udp/any": what to_string() makes of a rule
Result<WakeRule> parse_wake(const std::string& text);

} // namespace pz
