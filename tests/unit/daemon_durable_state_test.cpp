// SPDX-License-Identifier: Apache-2.0
#include "daemon/durable_state.h"

#include <filesystem>
#include <map>

#include <gtest/gtest.h>

#include "../support/folder.h"

namespace pz {
namespace {

/// A table in which a host is a number; the state file is on a disk that can be taken away.
class DurableStateTest : public testing::Test {
protected:
    DurableStateTest() { start(); }

    void start() {
        auto store = Store::open(root_.path() + "/state");
        ASSERT_TRUE(store) << store.error().message;
        stored_ = (*store)->take_found().hosts;
        state_ = std::make_unique<DurableState>(
            loop_, std::move(*store),
            DurableState::Hooks{.row = [this](const std::string& name) { return row(name); },
                                .put_back =
                                    [this](const std::string& name, const std::optional<StoredHost>& before) {
                                        if (before)
                                            hosts_[name] = before->wakes;
                                        else
                                            hosts_.erase(name);
                                        state_->changed(name);
                                    },
                                .failed = [this](const Error& error) { failures_.push_back(error.message); }});
    }
    std::optional<StoredHost> row(const std::string& name) const {
        const auto found = hosts_.find(name);
        if (found == hosts_.end())
            return std::nullopt;
        return StoredHost{
            .name = name, .file = {}, .since_reason = {}, .wakes = found->second, .addresses = {}, .config = {1}};
    }
    /// A request: the host becomes `value`, nullopt: it goes.
    void request(const std::string& name, std::optional<std::uint64_t> value, bool undo = true) {
        DurableState::Change change{.name = name, .before = std::nullopt, .done = {}};
        if (undo)
            change.before = row(name);
        if (value)
            hosts_[name] = *value;
        else
            hosts_.erase(name);
        change.done = [this, text = name + (value ? "=" + std::to_string(*value) : " gone")](const Result<>& result) {
            answers_.push_back(text + (result ? "" : " refused"));
        };
        state_->commit(std::move(change));
    }
    /// Runs the loop until so many requests are answered.
    void wait(std::size_t answers) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (answers_.size() < answers && std::chrono::steady_clock::now() < end) {
            loop_.restart();
            loop_.run_one_for(std::chrono::seconds(1));
        }
        ASSERT_EQ(answers_.size(), answers);
    }
    /// The disk cannot be written from the next start on: something else is where the file has to be.
    void break_disk() {
        state_.reset();
        std::filesystem::remove_all(root_.path() + "/state");
        std::filesystem::create_directories(root_.path() + "/state/state.db");
        start();
    }
    static StoreBatch part_of(std::initializer_list<const char*> names) {
        StoreBatch part;
        for (const char* name : names)
            part.hosts.push_back(
                {.name = name, .file = {}, .since_reason = {}, .wakes = 7, .addresses = {}, .config = {1}});
        return part;
    }
    void end_bulk(bool keep) {
        state_->end_bulk(keep,
                         [this](const Result<>& result) { answers_.push_back(result ? "bulk" : "bulk refused"); });
    }
    void repair_disk() { std::filesystem::remove_all(root_.path() + "/state/state.db"); }
    std::map<std::string, std::uint64_t> stored() {
        state_.reset();
        start();
        std::map<std::string, std::uint64_t> found;
        for (const auto& host : stored_)
            found[host.name] = host.wakes;
        return found;
    }

    using Hosts = std::map<std::string, std::uint64_t>;
    using Lines = std::vector<std::string>;
    test::Folder root_;
    boost::asio::io_context loop_;
    Hosts hosts_;
    Lines answers_;
    Lines failures_;
    std::vector<StoredHost> stored_;
    std::unique_ptr<DurableState> state_;
};

TEST_F(DurableStateTest, RequestsAreAnsweredInOrderWhenTheyAreOnDisk) {
    request("a", 1);
    request("b", 2);
    request("a", 3);
    EXPECT_TRUE(answers_.empty()) << "nothing is on disk yet";
    wait(3);
    request("b", std::nullopt);
    wait(4);
    EXPECT_EQ(answers_, (Lines{"a=1", "b=2", "a=3", "b gone"}));
    EXPECT_EQ(stored(), (Hosts{{"a", 3}}));
}

TEST_F(DurableStateTest, WhatNobodyWaitsForIsWrittenToo) {
    hosts_["a"] = 5;
    state_->changed("a");
    EXPECT_EQ(stored(), (Hosts{{"a", 5}})) << "at the latest when it ends";
}

TEST_F(DurableStateTest, WhatCannotBeWrittenIsUndoneLastFirst) {
    hosts_ = {{"a", 1}, {"b", 1}};
    break_disk();
    request("a", 2);
    request("a", 3); // builds on what will fail
    request("b", std::nullopt);
    request("c", 4);
    request("c", std::nullopt);
    loop_.run_one(); // the batch is on its way
    request("a", 7); // and this waits behind it
    wait(6);
    EXPECT_EQ(answers_,
              (Lines{"a=2 refused", "a=3 refused", "b gone refused", "c=4 refused", "c gone refused", "a=7 refused"}));
    EXPECT_EQ(hosts_, (Hosts{{"a", 1}, {"b", 1}}));
    EXPECT_FALSE(failures_.empty());
}

TEST_F(DurableStateTest, SomeChangesHoldAllTheSame) {
    hosts_ = {{"a", 1}};
    break_disk();
    request("a", 2, false);
    wait(1);
    EXPECT_EQ(answers_, Lines{"a=2 refused"});
    EXPECT_EQ(hosts_, (Hosts{{"a", 2}}));
}

TEST_F(DurableStateTest, WhenTheDiskIsBackEverythingIsWrittenByItself) {
    hosts_ = {{"a", 1}};
    break_disk();
    request("a", 2, false);
    wait(1);
    repair_disk();
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    const auto file = root_.path() + "/state/state.db";
    while (!std::filesystem::is_regular_file(file) && std::chrono::steady_clock::now() < end) {
        loop_.restart();
        loop_.run_one_for(std::chrono::seconds(1));
    }
    EXPECT_TRUE(std::filesystem::is_regular_file(file)) << "nobody asked for anything";
    EXPECT_EQ(stored(), (Hosts{{"a", 2}}));
}

TEST_F(DurableStateTest, WhatIsToStayOnDiskIsNotErased) {
    hosts_ = {{"a", 1}};
    state_->changed("a");
    EXPECT_EQ(stored(), (Hosts{{"a", 1}}));
    hosts_.clear(); // it could not be restored
    state_->changed("a");
    state_->unchanged("a");
    EXPECT_EQ(stored(), (Hosts{{"a", 1}}));
}

TEST_F(DurableStateTest, ABulkIsOnDiskAsAWholeAndOthersWaitForIt) {
    state_->begin_bulk();
    state_->add_bulk(part_of({"a", "b"}));
    request("z", 1);
    state_->add_bulk(part_of({"c"}));
    end_bulk(true);
    wait(2);
    EXPECT_EQ(answers_, (Lines{"bulk", "z=1"}));
    EXPECT_EQ(stored(), (Hosts{{"a", 7}, {"b", 7}, {"c", 7}, {"z", 1}}));
}

TEST_F(DurableStateTest, OfABulkThatIsGivenUpNothingIsOnDisk) {
    state_->begin_bulk();
    state_->add_bulk(part_of({"a", "b"}));
    end_bulk(false);
    wait(1);
    state_->begin_bulk();
    state_->add_bulk(part_of({"c"}));
    request("z", 1); // and the daemon ends before the bulk does
    EXPECT_EQ(stored(), (Hosts{{"z", 1}}));
}

TEST_F(DurableStateTest, ABulkThatCannotBeWrittenIsRefused) {
    break_disk();
    state_->begin_bulk();
    state_->add_bulk(part_of({"a"}));
    end_bulk(true);
    wait(1);
    EXPECT_EQ(answers_, Lines{"bulk refused"});
}

TEST_F(DurableStateTest, WhoMakesPartsFasterThanTheDiskHasToWait) {
    state_->begin_bulk();
    int waited = 0;
    for (int i = 0; i < 20; i++) {
        bool ready = false;
        state_->add_bulk(part_of({"a"}));
        state_->when_bulk_ready([&] { ready = true; });
        while (!ready) {
            loop_.restart();
            loop_.run_one_for(std::chrono::seconds(1));
            waited++;
        }
    }
    EXPECT_GT(waited, 0);
    end_bulk(true);
    wait(1);
    EXPECT_EQ(answers_, Lines{"bulk"});
}

} // namespace
} // namespace pz
