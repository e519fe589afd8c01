// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <spdlog/spdlog.h>

namespace pz::log {

void event(Level level, std::string_view /*message_id*/, std::string_view text, std::span<const Field> /*fields*/) {
    switch (level) {
    case Level::debug:
        return spdlog::debug(text);
    case Level::info:
        return spdlog::info(text);
    case Level::warning:
        return spdlog::warn(text);
    case Level::error:
        return spdlog::error(text);
    }
}

} // namespace pz::log
