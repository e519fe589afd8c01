// SPDX-License-Identifier: Apache-2.0
// What happened lately: each event is logged, kept for a while, and read by any number of followers, each with a cursor
// of its own.  A follower costs nothing here, however slow it is.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "control/event_kinds.h"
#include "control/service.h"

namespace pz::control {

enum class EventKind : std::uint8_t {
#define PZ_EVENT_KIND_ID(id, name, level, message_id, sentence) id,
    PZ_EVENT_KINDS(PZ_EVENT_KIND_ID)
#undef PZ_EVENT_KIND_ID
};

struct EventKindInfo {
    std::string_view name;
    log::Level level;
    std::string_view message_id;
    std::string_view sentence;
};
const EventKindInfo& info_of(EventKind kind);
std::string_view to_string(log::Level level);

/// The event in words, without its time, host and kind: "awake -> arming: sleep requested".
std::string describe(const Event& event);

/// Of text that came from anywhere: one line of printable ASCII, at most `limit` characters.
std::string one_line(std::string_view text, std::size_t limit);

/// For events that somebody can cause as often as he likes: 16 at once, then one a second.
class Sparing {
public:
    /// nullopt: not this one.  Else how many were left out before it.
    std::optional<std::uint64_t> admit(Instant now);
    /// Whether admit() would.
    [[nodiscard]] bool has_room(Instant now) const;

private:
    Instant due_{};
    std::uint64_t left_out_ = 0;
};

struct JournalLimits {
    std::size_t events = 4096;
    std::size_t bytes = 4 << 20; // of encoded messages
};

/// Lives in the loop thread.
class Journal {
public:
    using Log = void (*)(log::Level, std::string_view message_id, std::string_view text, std::span<const log::Field>);

    struct Entry {
        std::string host;
        std::vector<std::uint8_t> message; // PZ_MSG_EVENT, to be readdressed
    };

    /// `log` may be null.
    explicit Journal(JournalLimits limits = {}, Log log = log::event) : limits_(limits), log_(log) {}
    Journal(const Journal&) = delete;
    Journal& operator=(const Journal&) = delete;

    /// Numbers, dates, logs and keeps the event, and calls the listener.
    void record(EventKind kind, Event event);
    /// The same as often as `sparing` admits; the next one that is recorded says how many were not.
    void record(EventKind kind, Event event, Sparing& sparing, Instant now);
    /// Of those who connect without the right to change anything, all together.
    Sparing& strangers() { return strangers_; }

    /// Events are numbered from 1; kept are those from first() to last(), none if first() > last().
    [[nodiscard]] std::uint64_t first() const { return last_ - entries_.size() + 1; }
    [[nodiscard]] std::uint64_t last() const { return last_; }
    /// One that is kept.
    [[nodiscard]] const Entry& at(std::uint64_t sequence) const { return entries_[sequence - first()]; }
    /// Not kept: tells a reader what it missed.
    static Event lost(std::uint64_t missed, std::uint64_t last_missed);

    /// `listener` is called after each event.  It records none itself.
    void listen(std::function<void()> listener) { listener_ = std::move(listener); }

private:
    JournalLimits limits_;
    Log log_;
    std::deque<Entry> entries_;
    std::size_t bytes_ = 0;
    std::uint64_t last_ = 0;
    std::function<void()> listener_;
    Sparing strangers_;
};

} // namespace pz::control
