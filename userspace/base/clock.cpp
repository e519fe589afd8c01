// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <ctime>

namespace pz {

unsigned local_minute(std::chrono::system_clock::time_point wall) {
    const std::time_t seconds = std::chrono::system_clock::to_time_t(wall);
    std::tm local{};
    ::localtime_r(&seconds, &local);
    return static_cast<unsigned>(local.tm_hour * 60 + local.tm_min);
}

} // namespace pz
