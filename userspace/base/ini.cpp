// SPDX-License-Identifier: Apache-2.0
#include "base/ini.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <sstream>

#include <boost/program_options.hpp>

#include <spdlog/fmt/fmt.h>

#include "base/fd.h"

namespace pz {

namespace po = boost::program_options;

Result<std::string> read_file(const std::string& path) {
    const Fd file = PZ_TRY(open_file(path));
    return read_all(file.get(), path, 1U << 20);
}

Result<Fd> open_file(const std::string& path) {
    Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file)
        return errno == ENOENT ? fail(Errc::not_found, path + ": there is no such file") : fail_errno(path, errno);
    return file;
}

Result<std::string> read_all(int fd, const std::string& name, std::size_t largest) {
    std::string text;
    std::vector<char> part(1U << 17);
    for (;;) {
        const auto size = ::read(fd, part.data(), part.size());
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return fail_errno(name, errno);
        if (size == 0)
            return text;
        text.append(part.data(), static_cast<std::size_t>(size));
        if (text.size() > largest)
            return fail(Errc::limit, fmt::format("{}: is longer than {} bytes", name, largest));
    }
}

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view blank = " \t\r";
    while (!text.empty() && blank.contains(text.front()))
        text.remove_prefix(1);
    while (!text.empty() && blank.contains(text.back()))
        text.remove_suffix(1);
    return text;
}

Result<bool> IniReader::next(IniSection& section) {
    bool is_there = false;
    section.lines.clear();
    while (position_ < text_.size()) {
        const std::string_view rest = text_.substr(position_);
        const std::string_view whole = rest.substr(0, rest.find('\n'));
        const std::string_view line = trimmed(whole.substr(0, whole.find('#')));
        const bool is_name = line.starts_with('[') && line.ends_with(']');
        if (is_name && is_there)
            break; // the next one
        position_ += whole.size() + 1;
        if (is_name) {
            section.name = line.substr(1, line.size() - 2);
            if (!names_.insert(section.name).second)
                return fail(Errc::invalid,
                            fmt::format("{}: section {}: is there twice, must be there once", path_, line));
            is_there = true;
        } else if (!line.empty() && !is_there) {
            return fail(Errc::invalid,
                        fmt::format("{}: line {:?}: must be in a section, below a line [NAME]", path_, line));
        } else if (!line.empty()) {
            section.lines.push_back(line);
        }
    }
    return is_there;
}

Result<po::basic_parsed_options<char>> parse_ini(const std::string& path, const std::string& text,
                                                 const po::options_description& options) {
    std::istringstream lines(text);
    try { // Boost.Program_options reports by exception
        return po::parse_config_file(lines, options);
    } catch (const po::unknown_option& error) {
        return fail(Errc::invalid, fmt::format("{}: key {:?}: is unknown, must be one of {}", path,
                                               error.get_option_name(), option_names(options, "")));
    } catch (const po::invalid_config_file_syntax& error) {
        return fail(Errc::invalid, fmt::format("{}: line {:?}: must be KEY = VALUE", path, error.tokens()));
    } catch (const po::error& error) {
        return fail(Errc::invalid, fmt::format("{}: {}", path, error.what()));
    }
}

std::string option_names(const po::options_description& options, const char* prefix) {
    std::string names;
    for (const auto& option : options.options())
        names += fmt::format("{}{}{}", names.empty() ? "" : ", ", prefix, option->long_name());
    return names;
}

} // namespace pz
