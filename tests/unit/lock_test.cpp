// SPDX-License-Identifier: Apache-2.0
#include "base/lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

namespace pz {
namespace {

Fd open_file(const std::string& path) {
    return Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
}

TEST(Lock, OneHolderAtATimeAndNoneThatIsLeftBehind) {
    std::string path = "/tmp/proxzzy-lock-XXXXXX";
    const Fd made(::mkstemp(path.data()));
    ASSERT_TRUE(made);
    const Fd second = open_file(path);
    {
        const Fd first = open_file(path);
        EXPECT_EQ(lock_exclusively(first, Duration::zero()), true);
        EXPECT_EQ(lock_exclusively(second, Duration::zero()), false);
        EXPECT_TRUE(is_still_at(second, path));
        std::remove(path.c_str());
    }
    EXPECT_EQ(lock_exclusively(second, Duration::zero()), true);
    EXPECT_FALSE(is_still_at(second, path)) << "it is gone";
    const Fd anew = open_file(path);
    EXPECT_FALSE(is_still_at(second, path)) << "another one has its name";
    EXPECT_TRUE(is_still_at(anew, path));
    std::remove(path.c_str());
    EXPECT_FALSE(lock_exclusively(Fd(), Duration::zero()).has_value());
}

} // namespace
} // namespace pz
