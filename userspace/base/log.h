// SPDX-License-Identifier: Apache-2.0
// Where log lines go: to the journal with their fields when stderr is connected to it, else to stderr as text.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace pz::log {

enum class Level : std::uint8_t { debug, info, warning, error };

/// A journal field, e.g. {"PROXZZY_HOST", "nas"}.  Never a secret.
struct Field {
    std::string_view name;
    std::string value;
};

/// Points spdlog's default logger at the journal or at stderr.  `program` is the identifier in the journal.
void set_up(const std::string& program, Level level);

/// From which level on lines are written.
void set_level(Level level);

/// One log line with fields: to the journal when stderr is the journal (JOURNAL_STREAM), else as text through spdlog.
/// `message_id` has 32 hexadecimal digits; docs/messages.md lists them.
void event(Level level, std::string_view message_id, std::string_view text, std::span<const Field> fields);

/// Whether `fd` is the one that JOURNAL_STREAM names as "device:inode" (systemd.exec(5)); nullptr: the variable is
/// unset.
bool is_journal(int fd, const char* journal_stream);

} // namespace pz::log
