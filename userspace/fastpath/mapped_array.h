// SPDX-License-Identifier: Apache-2.0
// A BPF array that the kernel lets be written as memory.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include <bpf/libbpf.h>

#include "base/result.h"

namespace pz::fastpath {

static_assert(std::endian::native == std::endian::little, "the maps and the control protocol are little-endian");

/// All values of a loaded map that has BPF_F_MMAPABLE.
template <class T>
    requires(std::is_trivially_copyable_v<T> && sizeof(T) % 8 == 0)
class MappedArray {
public:
    static Result<MappedArray> open(const bpf_map* map) {
        const std::size_t size = bpf_map__max_entries(map);
        void* memory = ::mmap(nullptr, size * sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
        if (memory == MAP_FAILED)
            return fail_errno(std::string("cannot map ") + bpf_map__name(map), errno);
        return MappedArray({static_cast<T*>(memory), size});
    }
    MappedArray(MappedArray&& other) noexcept : values_(std::exchange(other.values_, {})) {}
    MappedArray& operator=(MappedArray&& other) noexcept {
        std::swap(values_, other.values_);
        return *this;
    }
    MappedArray(const MappedArray&) = delete;
    MappedArray& operator=(const MappedArray&) = delete;
    ~MappedArray() {
        if (!values_.empty())
            ::munmap(values_.data(), values_.size_bytes());
    }

    [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(values_.size()); }
    T& operator[](std::size_t index) const { return values_[index]; }

private:
    explicit MappedArray(std::span<T> values) : values_(values) {}
    std::span<T> values_;
};

/// The eight bytes at `at` of a value that the kernel may be reading or writing.
inline std::atomic_ref<std::uint64_t> word_at(void* value, std::size_t at = 0) {
    return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(static_cast<std::byte*>(value) + at));
}

} // namespace pz::fastpath
