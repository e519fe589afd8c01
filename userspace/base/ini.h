// SPDX-License-Identifier: Apache-2.0
// Configuration files: lines KEY = VALUE, and # before a comment.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace boost::program_options {
template <class Char>
class basic_parsed_options;
class options_description;
} // namespace boost::program_options

namespace pz {

/// The file's text; a file of more than 1 MiB is refused.  Errors name the path.
Result<std::string> read_file(const std::string& path);

/// The file, to be read.  Errors name the path.
Result<Fd> open_file(const std::string& path);

/// What is left to read of `fd`, which is called `name`; more than `largest` bytes are refused.  Errors begin with the
/// name.
Result<std::string> read_all(int fd, const std::string& name, std::size_t largest);

/// The lines below one [NAME].
struct IniSection {
    std::string name;
    std::string text;
};
/// The sections of `text`, which was read from `path`, in order.  Errors name the path: a line in front of the first
/// section, and a name that is there twice.
Result<std::vector<IniSection>> split_ini(const std::string& path, const std::string& text);

/// `text`, which was read from `path`, by the long names of `options`.  Errors name the path, and the key or the line.
Result<boost::program_options::basic_parsed_options<char>>
parse_ini(const std::string& path, const std::string& text, const boost::program_options::options_description& options);

/// "--a, --b" for `prefix` "--".
std::string option_names(const boost::program_options::options_description& options, const char* prefix);

} // namespace pz
