// SPDX-License-Identifier: Apache-2.0
// Does what a command says, with the daemon.
#pragma once

#include <string>

#include "base/result.h"
#include "ctl/command.h"

namespace pz::ctl {

/// What to print, without a newline at the end.
Result<std::string> run(const Command& command);

} // namespace pz::ctl
