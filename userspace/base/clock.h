// SPDX-License-Identifier: Apache-2.0
// One clock for the whole product: CLOCK_MONOTONIC, as the kernel programs use it.
#pragma once

#include <chrono>
#include <cstdint>

namespace pz {

/// A point on CLOCK_MONOTONIC.  Protocol code and the state machine take it as `now`; only the daemon reads the clock.
using Instant = std::chrono::steady_clock::time_point;
using Duration = std::chrono::nanoseconds;

/// The instant of a kernel time stamp (bpf_ktime_get_ns, pz_event.time_ns).
constexpr Instant instant_from_ns(std::uint64_t ns) {
    return Instant{Duration{static_cast<std::int64_t>(ns)}};
}
constexpr std::uint64_t to_ns(Instant instant) {
    return static_cast<std::uint64_t>(instant.time_since_epoch().count());
}

/// Minutes since midnight, local time.
unsigned local_minute(std::chrono::system_clock::time_point wall);

} // namespace pz
