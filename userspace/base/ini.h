// SPDX-License-Identifier: Apache-2.0
// Configuration files: lines KEY = VALUE, and # before a comment.
#pragma once

#include <string>

#include "base/result.h"

namespace boost::program_options {
template <class Char>
class basic_parsed_options;
class options_description;
} // namespace boost::program_options

namespace pz {

/// The file's text; a file of more than 1 MiB is refused.  Errors name the path.
Result<std::string> read_file(const std::string& path);

/// `text`, which was read from `path`, by the long names of `options`.  Errors name the path, and the key or the line.
Result<boost::program_options::basic_parsed_options<char>>
parse_ini(const std::string& path, const std::string& text, const boost::program_options::options_description& options);

/// "--a, --b" for `prefix` "--".
std::string option_names(const boost::program_options::options_description& options, const char* prefix);

} // namespace pz
