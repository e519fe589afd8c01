// SPDX-License-Identifier: Apache-2.0
// Which lines go where when stderr is not the journal; tests/net/test_service.py has the journal itself.
#include "base/log.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include <gtest/gtest.h>

#include "base/fd.h"

namespace pz::log {
namespace {

std::string stream_of(int fd) {
    struct stat found{};
    EXPECT_EQ(::fstat(fd, &found), 0);
    return std::to_string(found.st_dev) + ":" + std::to_string(found.st_ino);
}

TEST(Log, TheJournalIsTheDescriptorThatTheEnvironmentNames) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    const Fd one(ends[0]);
    const Fd other(::dup(STDERR_FILENO));
    const Fd last(ends[1]);
    EXPECT_TRUE(is_journal(one.get(), stream_of(one.get()).c_str()));
    EXPECT_FALSE(is_journal(other.get(), stream_of(one.get()).c_str())); // redirected since
    for (const char* text : {"", ":", "1", "1:", "0:0", "nonsense"})
        EXPECT_FALSE(is_journal(one.get(), text)) << text;
    EXPECT_FALSE(is_journal(one.get(), nullptr));
    EXPECT_FALSE(is_journal(-1, "0:0"));
}

TEST(Log, AnEventIsALineOfTextOnStderr) {
    testing::internal::CaptureStderr();
    set_up("test", Level::info);
    const std::array<Field, 1> fields{{{"PROXZZY_HOST", "nas"}}};
    event(Level::warning, "00000000000000000000000000000001", "nas: does {not} wake", fields);
    event(Level::debug, "00000000000000000000000000000002", "too quiet", {});
    set_level(Level::debug);
    event(Level::debug, "00000000000000000000000000000002", "heard now", {});
    const std::string text = testing::internal::GetCapturedStderr();
    EXPECT_NE(text.find("warning: nas: does {not} wake\n"), std::string::npos) << text;
    EXPECT_EQ(text.find("too quiet"), std::string::npos) << text;
    EXPECT_NE(text.find("debug: heard now\n"), std::string::npos) << text;
}

} // namespace
} // namespace pz::log
