// SPDX-License-Identifier: Apache-2.0
// Which lines go where: stderr, and the journal with their fields.
#include "base/log.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>

#include <spdlog/spdlog.h>

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

/// In a process of its own, in which a socket of ours stands where journald's does; the status to exit with.
int talk_to_a_journal() {
    const auto check = [](bool good, const std::string& what) {
        if (!good)
            std::fprintf(stderr, "not so: %s\n", what.c_str());
        return good;
    };
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", "/run", "tmpfs", 0, nullptr) != 0)
        return 2;
    std::filesystem::create_directories("/run/systemd/journal");
    const Fd journal(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket"};
    if (::bind(journal.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return 2;
    ::setenv("JOURNAL_STREAM", stream_of(STDERR_FILENO).c_str(), 1);
    const auto received = [&] {
        std::string text(4096, '\0');
        text.resize(static_cast<std::size_t>(
            std::max<ssize_t>(0, ::recv(journal.get(), text.data(), text.size(), MSG_DONTWAIT))));
        return "\n" + text;
    };
    set_up("proxzzyd", Level::info);
    const std::array<Field, 2> fields{{{"PROXZZY_HOST", "nas"}, {"PROXZZY_REASON", "trigger-tcp"}}};
    event(Level::warning, "0123456789abcdef0123456789abcdef", "nas: wakes", fields);
    const std::string first = received();
    bool good = true;
    for (const char* line : {"MESSAGE=nas: wakes", "MESSAGE_ID=0123456789abcdef0123456789abcdef", "PRIORITY=4",
                             "SYSLOG_IDENTIFIER=proxzzyd", "PROXZZY_HOST=nas", "PROXZZY_REASON=trigger-tcp"})
        good = check(first.find("\n" + std::string(line) + "\n") != std::string::npos, line + (" in" + first)) && good;
    event(Level::debug, "0123456789abcdef0123456789abcdef", "too quiet", {});
    spdlog::error("an ordinary {}", "line");
    const std::string second = received();
    for (const char* line : {"MESSAGE=an ordinary line", "PRIORITY=3", "SYSLOG_IDENTIFIER=proxzzyd"})
        good =
            check(second.find("\n" + std::string(line) + "\n") != std::string::npos, line + (" in" + second)) && good;
    return check(received() == "\n", "nothing else is sent") && good ? 0 : 1;
}

TEST(LogDeathTest, AnEventIsInTheJournalWithItsFields) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "not root";
    EXPECT_EXIT(::_exit(::unshare(CLONE_NEWNS) == 0 ? talk_to_a_journal() : 3), testing::ExitedWithCode(0), "");
}

} // namespace
} // namespace pz::log
