// SPDX-License-Identifier: Apache-2.0
// A pinned BPF array whose values may be of an older or a newer version than ours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>

#include "base/fd.h"

namespace pz::fastpath {

class PinnedArray {
public:
    PinnedArray() = default;
    /// Empty if there is no array at `path`.
    static PinnedArray open(const std::string& path);

    explicit operator bool() const { return static_cast<bool>(fd_); }
    [[nodiscard]] std::uint32_t size() const { return size_; }
    /// As much of the value as there is and T knows; the rest is 0.
    template <class T>
        requires std::is_trivially_copyable_v<T>
    [[nodiscard]] T at(std::uint32_t index) const {
        T value{};
        read(index, std::as_writable_bytes(std::span(&value, 1)));
        return value;
    }

private:
    struct Unmap {
        std::size_t length;
        void operator()(const std::byte* values) const;
    };
    void read(std::uint32_t index, std::span<std::byte> begin) const;

    Fd fd_;
    std::uint32_t size_ = 0;
    std::uint32_t value_size_ = 0;
    std::unique_ptr<const std::byte, Unmap> values_; // null: each is a call of the kernel
};

} // namespace pz::fastpath
