// SPDX-License-Identifier: Apache-2.0
// The journal: what is kept, what a reader finds, and docs/messages.md.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "../support/control.h"
#include "control/journal.h"

namespace pz::control {
namespace {

using namespace std::chrono_literals;

Event event_of(std::string host, std::string text = "text") {
    Event event;
    event.host = std::move(host);
    event.text = std::move(text);
    return event;
}

Event read(const Journal& journal, std::uint64_t sequence) {
    const auto& bytes = journal.at(sequence).message;
    const auto opened = open_answer(bytes);
    EXPECT_TRUE(opened);
    return opened ? decode<Event>(*opened).value_or(Event{}) : Event{};
}

std::vector<std::string>& logged() {
    static std::vector<std::string> lines;
    return lines;
}

TEST(Journal, AnEventIsNumberedDatedKeptLoggedAndAnnounced) {
    logged().clear();
    Journal journal(
        {}, [](log::Level level, std::string_view id, std::string_view text, std::span<const log::Field> fields) {
            std::string line(to_string(level));
            line += " " + std::to_string(id.size()) + " " + std::string(text);
            for (const auto& field : fields)
                line += " " + std::string(field.name) + "=" + field.value;
            logged().push_back(line);
        });
    int news = 0;
    journal.listen([&] { ++news; });
    EXPECT_EQ(journal.first(), 1U);
    EXPECT_EQ(journal.last(), 0U);
    Event edge = event_of("desk", "sleep requested");
    edge.from = HostState::awake;
    edge.to = HostState::arming;
    journal.record(EventKind::state, edge);
    Event dated = event_of("", "port 22");
    dated.time_ns = 17;
    journal.record(EventKind::conflict, dated);
    EXPECT_EQ(news, 2);
    EXPECT_EQ(journal.last(), 2U);
    const Event first = read(journal, 1);
    EXPECT_EQ(first.sequence, 1U);
    EXPECT_EQ(first.kind, "state");
    EXPECT_EQ(first.level, "info");
    EXPECT_GT(first.time_ns, 1'600'000'000ULL * 1'000'000'000);
    EXPECT_EQ(first.to, HostState::arming);
    EXPECT_EQ(read(journal, 2).time_ns, 17U);
    EXPECT_EQ(logged(), (std::vector<std::string>{"info 32 desk: state: awake -> arming: sleep requested "
                                                  "PROXZZY_KIND=state PROXZZY_HOST=desk PROXZZY_FROM=awake "
                                                  "PROXZZY_TO=arming",
                                                  "warning 32 conflict: port 22 PROXZZY_KIND=conflict"}));
}

TEST(Journal, OnlyTheLastEventsAreKept) {
    Journal journal({.events = 3}, nullptr);
    for (int i = 0; i < 10; ++i)
        journal.record(EventKind::request, event_of("host" + std::to_string(i)));
    EXPECT_EQ(journal.first(), 8U);
    EXPECT_EQ(journal.last(), 10U);
    EXPECT_EQ(journal.at(8).host, "host7");
    EXPECT_EQ(read(journal, 10).host, "host9");
}

TEST(Journal, BytesAreBoundedToo) {
    Journal journal({.events = 1000, .bytes = 2000}, nullptr);
    for (int i = 0; i < 100; ++i)
        journal.record(EventKind::request, event_of("desk", std::string(100'000, 'x')));
    std::size_t bytes = 0;
    for (auto i = journal.first(); i <= journal.last(); ++i)
        bytes += journal.at(i).message.size();
    EXPECT_LE(bytes, 2000U);
    EXPECT_GE(journal.last() - journal.first() + 1, 2U);
    EXPECT_EQ(read(journal, 100).text.size(), 400U);
}

TEST(Journal, WhatClientsWroteIsOneLineOfPrintableText) {
    Journal journal({}, nullptr);
    journal.record(EventKind::request_refused, event_of("a\nb\x1b[2J\xff", "name: \r\n\x01\xc3\xa4"));
    EXPECT_EQ(read(journal, 1).host, "a?b?[2J?");
    EXPECT_EQ(read(journal, 1).text, "name: ?????");
}

TEST(Journal, WhatAnybodyCanCauseIsToldSparingly) {
    Journal journal({}, nullptr);
    const Instant start{1000s};
    for (int i = 0; i < 100; ++i)
        journal.record(EventKind::request_refused, event_of("", "no"), journal.strangers(), start);
    EXPECT_EQ(journal.last(), 16U);
    journal.record(EventKind::request_refused, event_of("", "no"), journal.strangers(), start + 999ms);
    EXPECT_EQ(journal.last(), 16U);
    journal.record(EventKind::request_refused, event_of("", "no"), journal.strangers(), start + 1s);
    ASSERT_EQ(journal.last(), 17U);
    EXPECT_EQ(read(journal, 17).text, "no (and 85 before that are left out)");
    journal.record(EventKind::request_refused, event_of("", "no"), journal.strangers(), start + 1h);
    EXPECT_EQ(read(journal, 18).text, "no");
}

TEST(Journal, DescribesInOneLine) {
    Event event;
    event.text = "tcp/22";
    event.packet = "02:00:00:00:00:c1 192.0.2.2:40000 > 192.0.2.50:22 tcp syn 60 bytes";
    EXPECT_EQ(describe(event), "tcp/22: 02:00:00:00:00:c1 192.0.2.2:40000 > 192.0.2.50:22 tcp syn 60 bytes");
    event.packet.clear();
    event.uid = 0;
    event.pid = 7;
    EXPECT_EQ(describe(event), "tcp/22 (uid 0, pid 7)");
}

TEST(JournalDocumentation, ThePageListsExactlyTheKinds) {
    std::vector<std::string> rows;
    std::set<std::string_view> ids;
#define PZ_TEST_ROW(id, name, level, message_id, sentence)                                                             \
    rows.push_back("| `" name "` | " #level " | `" message_id "` | " sentence " |");                                   \
    EXPECT_TRUE(std::regex_match(message_id, std::regex("[0-9a-f]{32}"))) << name;                                     \
    EXPECT_TRUE(ids.insert(message_id).second) << name;
    PZ_EVENT_KINDS(PZ_TEST_ROW)
#undef PZ_TEST_ROW
    std::ifstream file(std::filesystem::path(PROXZZY_SOURCE_DIR) / "docs/messages.md");
    ASSERT_TRUE(file);
    std::vector<std::string> documented;
    bool in_list = false;
    for (std::string line; std::getline(file, line) && !(in_list && line.empty());) {
        if (in_list)
            documented.push_back(line);
        in_list = in_list || line == "|---|---|---|---|";
    }
    EXPECT_EQ(documented, rows);
}

TEST(JournalDocumentation, ThePageListsEveryField) {
    std::ifstream file(std::filesystem::path(PROXZZY_SOURCE_DIR) / "docs/messages.md");
    std::stringstream page;
    page << file.rdbuf();
    Event event = event_of("desk");
    event.interface = event.reason = event.rule = event.decided_by = event.packet = "x";
    event.from = event.to = HostState::awake;
    event.uid = event.pid = 1;
    logged().clear();
    Journal journal({}, [](log::Level, std::string_view, std::string_view, std::span<const log::Field> fields) {
        for (const auto& field : fields)
            logged().emplace_back(field.name);
    });
    journal.record(EventKind::state, event);
    EXPECT_EQ(logged().size(), 11U);
    for (const auto& name : logged())
        EXPECT_NE(page.str().find("`" + name + "`"), std::string::npos) << name;
}

} // namespace
} // namespace pz::control
