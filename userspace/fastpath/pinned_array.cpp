// SPDX-License-Identifier: Apache-2.0
#include "fastpath/pinned_array.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include <bpf/bpf.h>

namespace pz::fastpath {

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
    return array;
}

void PinnedArray::read(std::uint32_t index, std::span<std::byte> begin) const {
    std::vector<std::byte> value(value_size_);
    if (fd_ && bpf_map_lookup_elem(fd_.get(), &index, value.data()) == 0)
        std::memcpy(begin.data(), value.data(), std::min(begin.size(), value.size()));
}

} // namespace pz::fastpath
