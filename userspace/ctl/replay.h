// SPDX-License-Identifier: Apache-2.0
// `proxzzyctl policy test`: recorded triggers, decided anew.
#pragma once

#include <string>
#include <vector>

#include "control/service.h"

namespace pz::ctl {

/// A packet that woke a host or could have, and what another policy says to it.
struct Replayed {
    control::Wake wake;
    bool woken = false;    // now
    std::string rule = {}; // that decides now
    std::string why = {};  // it is not woken now
    [[nodiscard]] bool woken_then() const { return wake.outcome != "not-woken"; }
};

/// `wakes` in order of time; those that no packet caused, and packets that no policy would let wake a host, are left
/// out.  The times of the day are local.
std::vector<Replayed> replay(const std::vector<control::Wake>& wakes, const HostConfig& changed,
                             const std::vector<Network>& no_wake_from);

} // namespace pz::ctl
