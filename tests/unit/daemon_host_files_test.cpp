// SPDX-License-Identifier: Apache-2.0
// hosts.d: what is read, what is refused, and how the table follows the files.
#include "daemon/host_files.h"

#include <gtest/gtest.h>

#include "../support/folder.h"
#include "hosts/host_options.h"
#include "hosts/table.h"

#include <spdlog/fmt/fmt.h>

namespace pz {
namespace {

using Names = std::vector<std::string>;

std::string host_text(int number, const std::string& more = "") {
    return fmt::format("mac = 00:00:5e:00:53:{0:02x}\nip = 192.0.2.{0}\n{1}", number, more);
}

std::vector<std::string> messages(const std::vector<Error>& errors) {
    std::vector<std::string> texts;
    for (const auto& error : errors)
        texts.push_back(error.message);
    return texts;
}

class HostsFolder : public testing::Test {
protected:
    HostFiles read() {
        auto files = read_host_files(folder_.path());
        EXPECT_TRUE(files) << files.error().message;
        return files ? *std::move(files) : HostFiles{};
    }
    FileHosts::Report apply() { return file_hosts_.apply(read()); }
    void write(const std::string& name, const std::string& text) { (void)folder_.write(name, text); }
    std::string path(const std::string& name) const { return folder_.path() + "/" + name; }
    void sleep(const std::string& name) { ASSERT_TRUE(table_.request_sleep(name, Instant{})); }
    void wake(const std::string& name) { ASSERT_TRUE(table_.request_release(name, Instant{})); }

    test::Folder folder_;
    PresenceTable table_{TableOptions{}};
    FileHosts file_hosts_{{.set = [this](HostConfig config) -> Result<> {
                               (void)PZ_TRY(table_.set(std::move(config), 1, true, Instant{}));
                               return {};
                           },
                           .remove = [this](std::string_view name) -> Result<> {
                               (void)PZ_TRY(table_.remove(name));
                               return {};
                           },
                           .in_care =
                               [this](std::string_view name) {
                                   const Host* host = table_.find(name);
                                   return host != nullptr && host->state != HostState::awake;
                               }}};
};

TEST_F(HostsFolder, EveryConfFileIsAHost) {
    write("nas.conf", host_text(1));
    write("desk.conf", host_text(2));
    write("desk.conf~", "old");
    write("desk.conf.dpkg-new", "newer");
    write(".desk.conf", "an editor's");
    write("README", "not a host");
    const auto files = read();
    EXPECT_EQ(files.hosts.size(), 2U);
    EXPECT_EQ(files.hosts.at("nas").path, path("nas.conf"));
    EXPECT_EQ(messages(files.errors), Names{});
}

TEST_F(HostsFolder, EveryBrokenFileIsNamed) {
    write("a.conf", "nonsense\n");
    write("b.conf", host_text(1));
    write("c.conf/d", "a folder\n");
    const auto files = read();
    EXPECT_EQ(files.hosts.size(), 1U);
    EXPECT_EQ(files.broken, (std::set<std::string>{"a", "c"}));
    EXPECT_EQ(messages(files.errors), (Names{path("a.conf") + ": line \"nonsense\": must be KEY = VALUE",
                                             path("c.conf") + ": Is a directory"}));
}

TEST_F(HostsFolder, AFolderThatIsMissingIsToldFromAnEmptyOne) {
    EXPECT_TRUE(read_host_files(folder_.path()));
    EXPECT_EQ(read_host_files(path("gone")).error().code, Errc::not_found);
    write("file", "");
    EXPECT_EQ(read_host_files(path("file")).error().code, Errc::system);
}

TEST_F(HostsFolder, WhatDoesNotFitTogetherIsRefused) {
    write("a.conf", host_text(1));
    write("b.conf", "mac = 00:00:5e:00:53:02\nip = 192.0.2.1\n");
    write("c.conf", "mac = 00:00:5e:00:53:03\nip = 192.0.2.1\nvlan = 7\n"); // another network
    write("d.conf", host_text(4, "interface = lan9\n"));
    DaemonOptions options;
    options.interfaces = {"lan0"};
    EXPECT_EQ(
        messages(check_host_files(options, read())),
        (Names{path("b.conf") + ": ip 192.0.2.1: belongs to host 'a' on the same network, must be this host's own",
               path("d.conf") + ": interface 'lan9' is not served: lan0"}));
    options.interfaces = {"lan0", "lan9"};
    EXPECT_EQ(messages(check_host_files(options, read())).front(),
              path("a.conf") + ": interface is missing: several are served, so name the one that the host is on");
    options.interfaces = {"lan0"};
    options.max_hosts = 1;
    folder_.remove("b.conf");
    folder_.remove("d.conf");
    EXPECT_EQ(messages(check_host_files(options, read())),
              Names{path("c.conf") + ": name 'c': the table is full with 1 hosts; remove one first"});
}

TEST_F(HostsFolder, TheTableFollowsTheFiles) {
    write("a.conf", host_text(1));
    write("b.conf", host_text(2));
    auto report = apply();
    EXPECT_EQ(report.added, (Names{"a", "b"}));
    EXPECT_EQ(*file_hosts_.file_of("a"), path("a.conf"));
    EXPECT_EQ(file_hosts_.file_of("c"), nullptr);

    write("a.conf", host_text(1, "echo = wake\n"));
    write("c.conf", host_text(3));
    folder_.remove("b.conf");
    report = apply();
    EXPECT_EQ(report.added, Names{"c"});
    EXPECT_EQ(report.changed, Names{"a"});
    EXPECT_EQ(report.removed, Names{"b"});
    EXPECT_EQ(table_.names(), (Names{"a", "c"}));
    EXPECT_EQ(table_.find("a")->config().echo, EchoMode::wake);

    report = apply();
    EXPECT_EQ(report.added.size() + report.changed.size() + report.removed.size() + report.errors.size(), 0U);
}

TEST_F(HostsFolder, ABrokenFileChangesNothing) {
    write("a.conf", host_text(1));
    write("b.conf", host_text(2));
    apply();
    write("a.conf", "nonsense\n");
    write("b.conf", host_text(2, "echo = wake\n"));
    const auto report = apply();
    EXPECT_EQ(messages(report.errors), Names{path("a.conf") + ": line \"nonsense\": must be KEY = VALUE"});
    EXPECT_EQ(report.changed, Names{"b"});
    EXPECT_EQ(report.removed, Names{});
    EXPECT_EQ(table_.names(), (Names{"a", "b"}));
    EXPECT_NE(file_hosts_.file_of("a"), nullptr);
}

TEST_F(HostsFolder, AHostInCareFollowsItsFileWhenItIsAwake) {
    write("a.conf", host_text(1));
    write("b.conf", host_text(2));
    apply();
    sleep("a");
    sleep("b");
    write("a.conf", host_text(1, "echo = wake\n"));
    folder_.remove("b.conf");
    EXPECT_EQ(apply().waiting, (Names{"b", "a"}));
    EXPECT_EQ(file_hosts_.retry().changed, Names{});
    EXPECT_EQ(table_.find("a")->config().echo, EchoMode::answer);
    EXPECT_NE(table_.find("b"), nullptr);

    wake("a");
    EXPECT_EQ(file_hosts_.retry().changed, Names{"a"});
    EXPECT_EQ(table_.find("a")->config().echo, EchoMode::wake);
    wake("b");
    EXPECT_EQ(file_hosts_.retry().removed, Names{"b"});
    EXPECT_EQ(table_.names(), Names{"a"});
    EXPECT_EQ(file_hosts_.retry().removed, Names{});
}

TEST_F(HostsFolder, AHostThatIsToGoWhenItIsAwakeSurvivesNoSecondReload) {
    write("a.conf", host_text(1));
    write("b.conf", host_text(2));
    apply();
    sleep("b");
    folder_.remove("b.conf");
    EXPECT_EQ(apply().waiting, Names{"b"});
    write("a.conf", host_text(1, "echo = wake\n"));
    EXPECT_EQ(apply().changed, Names{"a"});
    wake("b");
    EXPECT_EQ(file_hosts_.retry().removed, Names{"b"});
    EXPECT_EQ(table_.names(), Names{"a"});
}

TEST_F(HostsFolder, ARequestDoesNotUndoAFileThatWaits) {
    write("a.conf", host_text(1));
    apply();
    sleep("a");
    write("a.conf", host_text(1, "echo = wake\n"));
    EXPECT_EQ(apply().waiting, Names{"a"});
    file_hosts_.forget("a");
    wake("a");
    EXPECT_EQ(file_hosts_.retry().changed, Names{"a"});
}

TEST_F(HostsFolder, WhatWaitsIsForgottenWhenTheFileChangesBack) {
    write("a.conf", host_text(1));
    write("b.conf", host_text(2));
    apply();
    sleep("a");
    sleep("b");
    write("a.conf", host_text(1, "echo = wake\n"));
    folder_.remove("b.conf");
    apply();
    write("a.conf", host_text(1));
    write("b.conf", host_text(2));
    EXPECT_EQ(apply().waiting, Names{"b"}); // known no longer, so it is taken over again
    wake("a");
    wake("b");
    const auto report = file_hosts_.retry();
    EXPECT_EQ(report.changed, Names{});
    EXPECT_EQ(report.removed, Names{});
    EXPECT_EQ(report.added, Names{"b"});
    EXPECT_EQ(table_.names(), (Names{"a", "b"}));
}

TEST_F(HostsFolder, AFilelessHostIsFreeAndIsTakenOverByItsFile) {
    HostConfig config = *parse_host_file("a.conf", host_text(1));
    ASSERT_TRUE(table_.set(config, 1, false, Instant{}));
    EXPECT_EQ(apply().removed, Names{});
    EXPECT_EQ(file_hosts_.file_of("a"), nullptr);
    write("a.conf", host_text(1, "echo = wake\n"));
    EXPECT_EQ(apply().added, Names{"a"});
    EXPECT_EQ(table_.find("a")->config().echo, EchoMode::wake);

    // its file goes while it sleeps, and somebody sets it by hand before it is awake: then it stays
    sleep("a");
    folder_.remove("a.conf");
    EXPECT_EQ(apply().waiting, Names{"a"});
    EXPECT_EQ(file_hosts_.file_of("a"), nullptr);
    file_hosts_.forget("a");
    wake("a");
    EXPECT_EQ(file_hosts_.retry().removed, Names{});
    EXPECT_NE(table_.find("a"), nullptr);
}

TEST_F(HostsFolder, OneHostMayTakeWhatAnotherGivesUp) {
    write("a.conf", host_text(1));
    write("b.conf", host_text(2));
    write("c.conf", host_text(3));
    apply();
    write("a.conf", host_text(2));
    write("b.conf", host_text(3));
    folder_.remove("c.conf");
    const auto report = apply();
    EXPECT_EQ(messages(report.errors), Names{});
    EXPECT_EQ(report.changed, (Names{"b", "a"}));
}

TEST_F(HostsFolder, AFileThatWasRenamedFollowsWhenTheSleeperIsAwake) {
    write("a.conf", host_text(1));
    apply();
    sleep("a");
    folder_.remove("a.conf");
    write("c.conf", host_text(1));
    const auto report = apply();
    EXPECT_EQ(report.waiting, Names{"a"});
    EXPECT_EQ(messages(report.errors),
              Names{path("c.conf") + ": mac 00:00:5e:00:53:01: belongs to host 'a' on the same "
                                     "network, must be this host's own"});
    EXPECT_EQ(file_hosts_.origin_of("a"), path("a.conf")) << "a restart is to know that it goes";
    EXPECT_EQ(file_hosts_.origin_of("c"), "");
    EXPECT_EQ(messages(file_hosts_.retry().errors), Names{}) << "that is told already";
    wake("a");
    const auto followed = file_hosts_.retry();
    EXPECT_EQ(followed.removed, Names{"a"});
    EXPECT_EQ(followed.added, Names{"c"});
    EXPECT_EQ(messages(followed.errors), Names{});
    EXPECT_EQ(file_hosts_.origin_of("c"), path("c.conf"));
    EXPECT_EQ(file_hosts_.origin_of("a"), "");
}

TEST_F(HostsFolder, ARefusalByTheTableIsReportedAndTriedAgain) {
    HostConfig config = *parse_host_file("made-by-hand.conf", host_text(1));
    ASSERT_TRUE(table_.set(config, 1, false, Instant{}));
    write("a.conf", host_text(1));
    const std::string why = path("a.conf") +
                            ": mac 00:00:5e:00:53:01: belongs to host 'made-by-hand' on the same network, must be this "
                            "host's own";
    EXPECT_EQ(messages(apply().errors), Names{why});
    EXPECT_EQ(messages(apply().errors), Names{why}) << "each reload says so";
    EXPECT_EQ(file_hosts_.retry().added, Names{});
    ASSERT_TRUE(table_.remove("made-by-hand"));
    EXPECT_EQ(file_hosts_.retry().added, Names{"a"});
    EXPECT_EQ(apply().added, Names{});
}

} // namespace
} // namespace pz
