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

/// What else to print, without a newline at the end; empty: nothing.  Errors of commands that never end by themselves
/// are why they ended.
Result<std::string> run(const Command& command, const Print& print = print_now);

} // namespace pz::ctl
