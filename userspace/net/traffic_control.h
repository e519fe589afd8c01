// SPDX-License-Identifier: Apache-2.0
// What libbpf's part of traffic control does not tell.
#pragma once

#include "base/result.h"

namespace pz {

/// Whether the interface's clsact has a filter, in either direction, whosever it is.
Result<bool> has_clsact_filters(int ifindex);

} // namespace pz
