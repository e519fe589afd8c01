// SPDX-License-Identifier: Apache-2.0
// A network namespace of a test's own, where that is allowed.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <string>

#include "base/fd.h"

namespace pz::test {

/// The test's thread is in a new network namespace until the test ends.  Skips where that needs a right; who derives
/// from it looks at IsSkipped() and HasFatalFailure() after SetUp().
class NetworkNamespace : public testing::Test {
protected:
    void SetUp() override {
        home_ = Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
        ASSERT_TRUE(home_);
        if (::unshare(CLONE_NEWNET) != 0)
            GTEST_SKIP() << "needs the right to make a network namespace";
        away_ = true;
    }
    void TearDown() override {
        if (away_) {
            EXPECT_EQ(::setns(home_.get(), CLONE_NEWNET), 0);
        }
    }

    static void run(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }

private:
    Fd home_;
    bool away_ = false;
};

} // namespace pz::test
