// SPDX-License-Identifier: Apache-2.0
// Bytes in a configuration file and in a file of hosts.d.  Whatever they are: an option or a host that is valid, or an
// error that names the file in one line that a terminal can show.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <boost/program_options.hpp>

#include "base/ini.h"
#include "hosts/host_options.h"

namespace {

using namespace pz;

const std::string path = "/etc/proxzzy/hosts.d/nas.conf";

void require(bool holds, const char* what) {
    if (holds)
        return;
    std::fprintf(stderr, "does not hold: %s\n", what);
    std::abort();
}

void check_error(const Error& error) {
    require(error.message.starts_with(path + ": "), "an error names its file");
    require(std::ranges::none_of(error.message, [](char c) { return static_cast<unsigned char>(c) < ' '; }),
            "an error is one line without control characters");
}

/// As proxzzyd.conf is read: lists, numbers and texts.
void check_options(const std::string& text) {
    namespace po = boost::program_options;
    po::options_description options;
    options.add_options()("interface", po::value<std::vector<std::string>>())("max-hosts", po::value<std::uint32_t>())(
        "identity", po::value<std::string>());
    const auto parsed = parse_ini(path, text, options);
    if (!parsed)
        check_error(parsed.error());
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(data, data + size);
    check_options(text);
    if (text.find("secureon-file") != std::string::npos)
        return 0; // would read whatever file the input names
    const auto host = parse_host_file(path, text);
    if (!host) {
        check_error(host.error());
        return 0;
    }
    require(validate(*host).has_value(), "only valid hosts are read");
    require(host->name == "nas", "a host is called like its file");
    return 0;
}
