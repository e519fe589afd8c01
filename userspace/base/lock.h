// SPDX-License-Identifier: Apache-2.0
// Locks between processes, on files that may be removed and made anew meanwhile.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace pz {

/// Locks `file` for this process alone (flock(2)), until it is closed.  False: after `patience` somebody else still
/// holds it.
Result<bool> lock_exclusively(const Fd& file, Duration patience);

/// Whether `path` still names what was opened: who held a lock may have removed the file when it let go.
bool is_still_at(const Fd& opened, const std::string& path);

} // namespace pz
