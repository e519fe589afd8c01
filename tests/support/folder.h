// SPDX-License-Identifier: Apache-2.0
// A folder of a test's own.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

namespace pz::test {

/// Is there, with what is in it, until it goes out of scope.
class Folder {
public:
    Folder() { EXPECT_NE(::mkdtemp(path_.data()), nullptr); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() { std::filesystem::remove_all(path_); }

    [[nodiscard]] const std::string& path() const { return path_; }
    /// The path of a file `name` that holds `text`.
    [[nodiscard]] std::string write(const std::string& name, const std::string& text) const {
        const auto file = std::filesystem::path(path_) / name;
        std::filesystem::create_directories(file.parent_path());
        std::ofstream(file, std::ios::binary) << text;
        return file.string();
    }
    void remove(const std::string& name) const { std::filesystem::remove_all(std::filesystem::path(path_) / name); }

private:
    std::string path_ = "/tmp/proxzzy-test-XXXXXX";
};

} // namespace pz::test
