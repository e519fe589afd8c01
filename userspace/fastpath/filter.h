// SPDX-License-Identifier: Apache-2.0
// The bitmaps in front of the tables.  Several keys may share a bit, so bits are counted here.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <proxzzy/abi/maps.h>

#include "base/result.h"
#include "net/address.h"

namespace pz::fastpath {

std::uint32_t filter_hash(const IpAddress& address);
std::uint32_t filter_hash(const MacAddress& mac);

/// One mmapped bitmap of the kernel.
class FilterBitmap {
public:
    /// `map_fd` is an mmapable array of pz_filter_word with `bits`/64 entries; `bits` is a power of two.
    static Result<FilterBitmap> open(int map_fd, std::uint32_t bits);
    FilterBitmap(FilterBitmap&& other) noexcept;
    FilterBitmap& operator=(FilterBitmap&&) = delete;
    FilterBitmap(const FilterBitmap&) = delete;
    FilterBitmap& operator=(const FilterBitmap&) = delete;
    ~FilterBitmap();

    void add(std::uint32_t hash);
    void remove(std::uint32_t hash);

private:
    FilterBitmap(std::span<pz_filter_word> words, std::uint32_t bits) : words_(words), counts_(bits) {}
    std::span<pz_filter_word> words_;
    std::vector<std::uint16_t> counts_;
};

} // namespace pz::fastpath
