// SPDX-License-Identifier: Apache-2.0
#include "control/journal.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "control/codec.h"

namespace pz::control {

namespace {

constexpr std::array kinds{
#define PZ_EVENT_KIND_ROW(id, name, level, message_id, sentence)                                                       \
    EventKindInfo{name, log::Level::level, message_id, sentence},
    PZ_EVENT_KINDS(PZ_EVENT_KIND_ROW)
#undef PZ_EVENT_KIND_ROW
};

constexpr std::size_t max_event_text = 400;
constexpr Duration sparing_interval = std::chrono::seconds(1);
constexpr int sparing_burst = 16;

std::uint64_t wall_time() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

/// Names as journald wants them; docs/messages.md lists them.
std::vector<log::Field> fields_of(const Event& event) {
    std::vector<log::Field> fields{{"PROXZZY_KIND", event.kind}};
    const auto add = [&](std::string_view name, std::string value) {
        if (!value.empty())
            fields.push_back({name, std::move(value)});
    };
    const auto number = [](const auto& value) { return value ? std::to_string(*value) : std::string(); };
    add("PROXZZY_HOST", event.host);
    add("PROXZZY_INTERFACE", event.interface);
    add("PROXZZY_FROM", event.from ? std::string(to_string(*event.from)) : "");
    add("PROXZZY_TO", event.to ? std::string(to_string(*event.to)) : "");
    add("PROXZZY_REASON", event.reason);
    add("PROXZZY_RULE", event.rule);
    add("PROXZZY_DECIDED_BY", event.decided_by);
    add("PROXZZY_PACKET", event.packet);
    add("PROXZZY_UID", number(event.uid));
    add("PROXZZY_PID", number(event.pid));
    return fields;
}

} // namespace

const EventKindInfo& info_of(EventKind kind) {
    return kinds.at(static_cast<std::size_t>(kind));
}

std::string_view to_string(log::Level level) {
    switch (level) {
    case log::Level::debug:
        return "debug";
    case log::Level::info:
        return "info";
    case log::Level::warning:
        return "warning";
    case log::Level::error:
        break;
    }
    return "error";
}

std::string describe(const Event& event) {
    std::string words;
    const auto add = [&](const std::string& part) {
        if (!part.empty())
            words += (words.empty() ? "" : ": ") + part;
    };
    if (event.from && event.to)
        add(fmt::format("{} -> {}", to_string(*event.from), to_string(*event.to)));
    add(event.text);
    add(event.packet);
    if (event.uid && event.pid)
        words += fmt::format(" (uid {}, pid {})", *event.uid, *event.pid);
    return words;
}

std::string one_line(std::string_view text, std::size_t limit) {
    std::string line(text.substr(0, limit));
    std::ranges::replace_if(line, [](char byte) { return byte < 0x20 || byte > 0x7e; }, '?');
    return line;
}

void Journal::record(EventKind kind, Event event) {
    const EventKindInfo& info = info_of(kind);
    event.sequence = ++last_;
    event.kind = info.name;
    event.level = to_string(info.level);
    if (event.time_ns == 0)
        event.time_ns = wall_time();
    event.text = one_line(event.text, max_event_text);
    event.host = one_line(event.host, max_name_length);
    if (log_ != nullptr)
        log_(info.level, info.message_id,
             fmt::format("{}{}{}: {}", event.host, event.host.empty() ? "" : ": ", event.kind, describe(event)),
             fields_of(event));

    const auto message = encode({PZ_MSG_EVENT, 0, 0, 0}, event);
    Entry entry{std::move(event.host), {}};
    if (message) // always: all texts are bounded
        entry.message.assign(message->bytes().begin(), message->bytes().end());
    bytes_ += entry.message.size();
    entries_.push_back(std::move(entry));
    while (entries_.size() > 1 && (entries_.size() > limits_.events || bytes_ > limits_.bytes)) {
        bytes_ -= entries_.front().message.size();
        entries_.pop_front();
    }
    if (listener_)
        listener_();
}

void Journal::record(EventKind kind, Event event, Sparing& sparing, Instant now) {
    const auto left_out = sparing.admit(now);
    if (!left_out)
        return;
    if (*left_out > 0)
        event.text += fmt::format(" (and {} before that are left out)", *left_out);
    record(kind, std::move(event));
}

bool Sparing::has_room(Instant now) const {
    return std::max(due_, now) - now <= (sparing_burst - 1) * sparing_interval;
}

std::optional<std::uint64_t> Sparing::admit(Instant now) {
    if (!has_room(now)) {
        ++left_out_;
        return std::nullopt;
    }
    due_ = std::max(due_, now);
    due_ += sparing_interval;
    return std::exchange(left_out_, 0);
}

Event Journal::lost(std::uint64_t missed, std::uint64_t last_missed) {
    const EventKindInfo& info = info_of(EventKind::lost);
    Event event;
    event.sequence = last_missed;
    event.time_ns = wall_time();
    event.kind = info.name;
    event.level = to_string(info.level);
    event.text = fmt::format("{} events were missed", missed);
    event.missed = missed;
    return event;
}

} // namespace pz::control
