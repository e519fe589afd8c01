// SPDX-License-Identifier: Apache-2.0
// Log lines with fields.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace pz::log {

enum class Level : std::uint8_t { debug, info, warning, error };

/// A journal field, as in {"PROXZZY_HOST", "desk"}.
struct Field {
    std::string_view name;
    std::string value;
};

/// One log line with fields.  `message_id`: 32 hex digits.
void event(Level level, std::string_view message_id, std::string_view text, std::span<const Field> fields);

} // namespace pz::log
