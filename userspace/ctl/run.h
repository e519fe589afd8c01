// SPDX-License-Identifier: Apache-2.0
// Does what a command says, with the daemon.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "ctl/command.h"

namespace pz::ctl {

/// Takes a line, or a screen, of a command that has more than one to say, as soon as it is there.
using Print = std::function<void(std::string_view text)>;

/// To standard output, at once.
void print_now(std::string_view text);
/// A line, without its end, to standard error.
void warn_now(std::string_view line);

/// What else to print, without a newline at the end; empty: nothing.  Errors of commands that never end by themselves
/// are why they ended.  `warn` takes what a person should know besides.
Result<std::string> run(const Command& command, const Print& print = print_now, const Print& warn = warn_now);

} // namespace pz::ctl
