// SPDX-License-Identifier: Apache-2.0
// Configuration files: lines KEY = VALUE, and # before a comment.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/unordered/unordered_flat_set.hpp>

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

/// One [NAME], and the lines below it that say something, without comments and blanks around them: parts of the text.
struct IniSection {
    std::string_view name;
    std::vector<std::string_view> lines;
};

/// Reads the sections of a text one after the other.
class IniReader {
public:
    /// `text` was read from `path`, and has to stay where it is.
    IniReader(std::string path, std::string_view text) : path_(std::move(path)), text_(text) {}
    /// False: there are no more.  Errors name the path: a line in front of the first section, and a name that was there
    /// before.
    Result<bool> next(IniSection& section);
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
    std::string_view text_;
    std::size_t position_ = 0;
    boost::unordered_flat_set<std::string_view> names_; // there may be a million
};

/// `text`, which was read from `path`, by the long names of `options`.  Errors name the path, and the key or the line.
Result<boost::program_options::basic_parsed_options<char>>
parse_ini(const std::string& path, const std::string& text, const boost::program_options::options_description& options);

/// `text` without blanks at its ends.
std::string_view trimmed(std::string_view text);

/// "--a, --b" for `prefix` "--".
std::string option_names(const boost::program_options::options_description& options, const char* prefix);

} // namespace pz
