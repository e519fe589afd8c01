// SPDX-License-Identifier: Apache-2.0
#include "hosts/store.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include <gtest/gtest.h>
#include <sqlite3.h>

#include "../support/folder.h"

namespace pz {
namespace {

namespace fs = std::filesystem;

StoredHost some_host(unsigned i, unsigned version = 0) {
    return {.name = "host" + std::to_string(i),
            .file = i % 3 == 0 ? "/etc/proxzzy/hosts.d/host" + std::to_string(i) + ".conf" : "",
            .id = i,
            .generation = 100 + version,
            .state = static_cast<HostState>(i % host_state_names.size()),
            .since = 1'700'000'000'000 + version,
            .since_reason = "sleep requested",
            .wakes = version,
            .wake_wanted = i % 2 == 0,
            .woken_to_renew = i % 4 == 0,
            .configured = 1'600'000'000'000,
            .addresses = {{.ip = *IpAddress::parse("192.0.2." + std::to_string(i % 250 + 1))},
                          {.ip = *IpAddress::parse("2001:db8::" + std::to_string(i % 10'000)),
                           .valid_until = 1'800'000'000'000,
                           .let_go = i % 5 == 0,
                           .learned = i % 3 == 0}},
            .config = Bytes(200 + i % 50, static_cast<std::uint8_t>(i))};
}

class StoreTest : public testing::Test {
protected:
    std::unique_ptr<Store> open() {
        auto store = Store::open(folder());
        EXPECT_TRUE(store) << (store ? "" : store.error().message);
        return store ? std::move(*store) : nullptr;
    }
    [[nodiscard]] std::string folder() const { return root_.path() + "/state"; }
    [[nodiscard]] std::string file() const { return folder() + "/state.db"; }
    /// A closed file with `count` hosts.
    void fill(unsigned count) {
        StoreBatch batch;
        for (unsigned i = 0; i < count; i++)
            batch.hosts.push_back(some_host(i));
        ASSERT_TRUE(open()->commit(batch));
    }

    test::Folder root_;
};

TEST_F(StoreTest, what_is_committed_is_found_again) {
    {
        const auto store = open();
        EXPECT_TRUE(store->take_found().hosts.empty());
        ASSERT_TRUE(store->commit({.hosts = {some_host(1), some_host(2), some_host(3)}, .removed = {}}));
        ASSERT_TRUE(store->commit({.hosts = {some_host(2, 7)}, .removed = {"host3", "nobody"}}));
    }
    const auto found = open()->take_found();
    EXPECT_EQ(found.hosts, (std::vector{some_host(1), some_host(2, 7)}));
    EXPECT_TRUE(found.problems.empty());
}

TEST_F(StoreTest, the_checksum_is_that_of_version_1) {
    ASSERT_TRUE(open()->commit({.hosts = {some_host(3)}, .removed = {}}));
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open(file().c_str(), &database), SQLITE_OK);
    sqlite3_stmt* row = nullptr;
    ASSERT_EQ(sqlite3_prepare_v2(database, "SELECT sum, addresses FROM hosts", -1, &row, nullptr), SQLITE_OK);
    EXPECT_EQ(sqlite3_step(row), SQLITE_ROW);
    EXPECT_EQ(sqlite3_column_int64(row, 0), -4150729073917824059);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(sqlite3_column_text(row, 1))),
              "192.0.2.4 for ever\n2001:db8::3 until 1800000000000 learned");
    sqlite3_finalize(row);
    sqlite3_close(database);
}

TEST_F(StoreTest, a_long_log_is_moved_to_its_place_when_nobody_waits) {
    const auto store = open();
    ASSERT_TRUE(store->begin());
    for (unsigned part = 0; part < 20; part++) {
        StoreBatch batch;
        for (unsigned i = 0; i < 1000; i++)
            batch.hosts.push_back(some_host(part * 1000 + i));
        ASSERT_TRUE(store->add(batch));
    }
    ASSERT_TRUE(store->finish());
    const auto before = fs::file_size(file());
    store->tidy();
    EXPECT_GT(fs::file_size(file()), before + 20'000 * 200);
    EXPECT_EQ(store->take_found().hosts.size(), 20'000U);
}

TEST_F(StoreTest, folder_and_file_are_for_the_owner_alone) {
    const auto store = open();
    ASSERT_TRUE(store->commit({.hosts = {some_host(1)}, .removed = {}}));
    const auto mode = [](const std::string& path) {
        struct stat found{};
        EXPECT_EQ(::stat(path.c_str(), &found), 0) << path;
        return found.st_mode & 0777U;
    };
    EXPECT_EQ(mode(folder()), 0700U);
    EXPECT_EQ(mode(file()), 0600U);
    EXPECT_EQ(mode(file() + "-wal"), 0600U);
}

TEST_F(StoreTest, a_second_daemon_is_refused) {
    const auto first = open();
    const auto second = Store::open(folder());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::busy);
    EXPECT_NE(second.error().message.find(file()), std::string::npos) << second.error().message;
}

TEST_F(StoreTest, the_file_of_a_newer_version_is_refused_and_left_alone) {
    fill(1);
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open(file().c_str(), &database), SQLITE_OK);
    const int newer = 0x505a0002;
    const auto stamps =
        "PRAGMA user_version = " + std::to_string(newer) + "; PRAGMA application_id = " + std::to_string(~newer) + ";";
    EXPECT_EQ(sqlite3_exec(database, stamps.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
    sqlite3_close(database);
    const auto store = Store::open(folder());
    ASSERT_FALSE(store);
    EXPECT_NE(store.error().message.find("newer"), std::string::npos) << store.error().message;
    EXPECT_FALSE(fs::exists(file() + ".corrupt-1"));
}

/// The newest whole state is there whenever the process is killed: of each host a version that was acknowledged or
/// later, and no other host.
TEST_F(StoreTest, kill_at_random_points_loses_nothing_that_was_acknowledged) {
    constexpr int kills = 1000;
    constexpr unsigned hosts = 8;
    std::mt19937 random(1); // NOLINT: the same points each time
    std::map<unsigned, unsigned> acknowledged;
    unsigned version = 0;
    for (int i = 0; i < kills; i++) {
        int pipe_ends[2];
        ASSERT_EQ(::pipe(pipe_ends), 0);
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            auto store = Store::open(folder());
            if (!store)
                ::_exit(1);
            for (unsigned next = version + 1;; next++) {
                // two hosts in one batch: both or none
                if (!(*store)->commit(
                        {.hosts = {some_host(next % hosts, next), some_host(hosts, next)}, .removed = {}}))
                    ::_exit(2);
                if (::write(pipe_ends[1], &next, sizeof next) != sizeof next)
                    ::_exit(3);
            }
        }
        ::close(pipe_ends[1]);
        if (i % 2 != 0) { // in the middle of the work, not of the opening, however slow that is
            pollfd ready{.fd = pipe_ends[0], .events = POLLIN, .revents = 0};
            ASSERT_EQ(::poll(&ready, 1, 60'000), 1);
        }
        ::usleep(std::uniform_int_distribution<unsigned>(0, 4000)(random));
        ::kill(child, SIGKILL);
        int status = 0;
        ::waitpid(child, &status, 0);
        ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended with " << WEXITSTATUS(status);
        unsigned done = 0;
        while (::read(pipe_ends[0], &done, sizeof done) == sizeof done) {
            acknowledged[done % hosts] = done;
            acknowledged[hosts] = done;
            version = done;
        }
        ::close(pipe_ends[0]);

        const auto found = open()->take_found();
        ASSERT_TRUE(found.problems.empty()) << found.problems.front();
        std::map<unsigned, unsigned> present;
        for (const auto& host : found.hosts) {
            const auto stored = static_cast<unsigned>(host.wakes);
            ASSERT_EQ(host, some_host(host.id, stored));
            present[host.id] = stored;
        }
        for (const auto& [id, least] : acknowledged)
            ASSERT_GE(present[id], least) << "host " << id << " after kill " << i;
        if (!present.empty()) {
            ASSERT_EQ(present[hosts], present[present[hosts] % hosts]) << "half a batch after kill " << i;
        }
        for (const auto& [id, stored] : present) {
            acknowledged[id] = stored; // on disk by now
            version = std::max(version, stored);
        }
    }
    EXPECT_GE(version, kills / 2U);
}

TEST_F(StoreTest, a_copy_made_at_any_moment_is_whole) {
    const auto store = open();
    unsigned copied = 0;
    for (unsigned version = 1; version < 60; version++) {
        ASSERT_TRUE(store->commit({.hosts = {some_host(1, version), some_host(2, version)}, .removed = {}}));
        const std::string copy = root_.path() + "/copy" + std::to_string(version);
        fs::create_directory(copy);
        fs::copy_file(file(), copy + "/state.db");
        fs::copy_file(file() + "-wal", copy + "/state.db-wal");
        auto opened = Store::open(copy);
        ASSERT_TRUE(opened) << opened.error().message;
        const auto found = (*opened)->take_found();
        ASSERT_EQ(found.hosts, (std::vector{some_host(1, version), some_host(2, version)}));
        copied++;
    }
    EXPECT_GT(copied, 0U);
}

/// Whatever bytes are wrong: the file opens, what it says is what was written, and it takes new hosts.
TEST_F(StoreTest, damage_never_crashes_and_never_invents_a_host) {
    constexpr unsigned hosts = 120;
    fill(hosts);
    const std::string good = root_.path() + "/good.db";
    fs::copy_file(file(), good);
    const auto size = fs::file_size(good);
    std::mt19937 random(2); // NOLINT: the same damage each time
    unsigned damaged = 0;
    std::size_t kept = 0;
    constexpr int rounds = 300;
    for (int round = 0; round < rounds; round++) {
        fs::remove_all(folder());
        fs::create_directory(folder());
        fs::copy_file(good, file());
        {
            std::fstream stream(file(), std::ios::binary | std::ios::in | std::ios::out);
            const int flips = 1 << (round % 6);
            for (int flip = 0; flip < flips; flip++) {
                // a third of them in the header and the schema, where the most may go wrong
                const auto end = round % 3 == 0 ? std::uintmax_t{512} : size;
                const auto at = std::uniform_int_distribution<std::uintmax_t>(0, end - 1)(random);
                stream.seekp(static_cast<std::streamoff>(at));
                stream.put(static_cast<char>(random()));
            }
        }
        if (round % 10 == 9)
            fs::resize_file(file(), std::uniform_int_distribution<std::uintmax_t>(1, size)(random));
        auto store = Store::open(folder());
        ASSERT_TRUE(store) << "round " << round << ": " << store.error().message;
        const auto found = (*store)->take_found();
        for (const auto& host : found.hosts)
            ASSERT_EQ(host, some_host(host.id)) << "round " << round;
        if (found.hosts.size() < hosts) {
            ASSERT_FALSE(found.problems.empty()) << "round " << round << ": hosts are missing, and nobody is told";
            damaged++;
        }
        kept += found.hosts.size();
        const auto added = (*store)->commit({.hosts = {some_host(500)}, .removed = {}});
        ASSERT_TRUE(added) << "round " << round << ": " << added.error().message;
        store->reset();
        auto again = Store::open(folder());
        ASSERT_TRUE(again);
        const auto present = (*again)->take_found();
        ASSERT_GE(present.hosts.size(), found.hosts.size() + 1) << "round " << round;
    }
    EXPECT_GT(damaged, 0U);
    // what is intact is kept: few pages of many are damaged
    EXPECT_GT(kept, std::size_t{rounds} * hosts / 2) << "of " << std::size_t{rounds} * hosts;
    std::printf("%u rounds lost hosts; %zu of %zu kept\n", damaged, kept, std::size_t{rounds} * hosts);
}

TEST_F(StoreTest, a_damaged_file_is_moved_aside_and_what_is_intact_is_kept) {
    fill(50);
    {
        std::fstream stream(file(), std::ios::binary | std::ios::in | std::ios::out);
        stream.write("not a database at all", 21); // the header
    }
    const auto found = open()->take_found();
    EXPECT_EQ(found.hosts.size(), 50U);
    ASSERT_FALSE(found.problems.empty());
    EXPECT_NE(found.problems.front().find(file() + ".corrupt-1"), std::string::npos) << found.problems.front();
    EXPECT_TRUE(fs::exists(file() + ".corrupt-1"));
    EXPECT_TRUE(open()->take_found().problems.empty()) << "it is new and right";
    EXPECT_EQ(open()->take_found().hosts.size(), 50U);
}

TEST_F(StoreTest, what_cannot_be_written_is_refused_and_not_there_afterwards) {
    fill(3);
    const auto store = open();
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
    rlimit none = before;
    none.rlim_cur = 0; // no file grows, as on a full disk
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &none), 0);
    const auto refused = store->commit({.hosts = {some_host(7)}, .removed = {"host1"}});
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    std::signal(SIGXFSZ, old_handler);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find(file()), std::string::npos) << refused.error().message;
    ASSERT_TRUE(store->commit({.hosts = {some_host(8)}, .removed = {}})) << "there is room again";
    std::vector<std::string> names;
    {
        const std::string copy = root_.path() + "/copy";
        fs::create_directory(copy);
        fs::copy_file(file(), copy + "/state.db");
        fs::copy_file(file() + "-wal", copy + "/state.db-wal");
        for (const auto& host : Store::open(copy).value()->take_found().hosts)
            names.push_back(host.name);
    }
    EXPECT_EQ(names, (std::vector<std::string>{"host0", "host1", "host2", "host8"}));
}

} // namespace
} // namespace pz
