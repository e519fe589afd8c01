// SPDX-License-Identifier: Apache-2.0
#include "fastpath/pinned_array.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include <bpf/bpf.h>

namespace pz::fastpath {

namespace {

constexpr std::size_t alignment = 8; // of the values of an array in the kernel

} // namespace

PinnedArray PinnedArray::open(const std::string& path) {
    PinnedArray array;
    Fd fd(bpf_obj_get(path.c_str()));
    bpf_map_info info{};
    std::uint32_t size = sizeof info;
    if (!fd || bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0 || info.type != BPF_MAP_TYPE_ARRAY)
        return array;
    array.fd_ = std::move(fd);
    array.size_ = info.max_entries;
    array.value_size_ = info.value_size;
    if ((info.map_flags & BPF_F_MMAPABLE) != 0 && info.value_size % alignment == 0) {
        const std::size_t length = std::size_t{info.value_size} * info.max_entries;
        void* const memory = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, array.fd_.get(), 0);
        if (memory != MAP_FAILED)
            array.values_ = {static_cast<const std::byte*>(memory), Unmap{length}};
    }
    return array;
}

void PinnedArray::Unmap::operator()(const std::byte* values) const {
    ::munmap(const_cast<std::byte*>(values), length);
}

void PinnedArray::read(std::uint32_t index, std::span<std::byte> begin) const {
    if (values_ && index < size_) {
        std::memcpy(begin.data(), values_.get() + std::size_t{index} * value_size_,
                    std::min<std::size_t>(begin.size(), value_size_));
        return;
    }
    if (!fd_)
        return;
    std::vector<std::byte> value(value_size_);
    if (bpf_map_lookup_elem(fd_.get(), &index, value.data()) == 0)
        std::memcpy(begin.data(), value.data(), std::min(begin.size(), value.size()));
}

} // namespace pz::fastpath
