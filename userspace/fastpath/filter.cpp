// SPDX-License-Identifier: Apache-2.0
#include "fastpath/filter.h"

#include <sys/mman.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>

namespace pz::fastpath {

static_assert(std::endian::native == std::endian::little, "the maps and the control protocol are little-endian");

std::uint32_t filter_hash(const IpAddress& address) {
    if (address.is_v4()) {
        std::uint32_t word = 0;
        std::memcpy(&word, address.bytes.data(), sizeof(word));
        return pz_hash4(word);
    }
    std::array<std::uint64_t, 2> words{};
    std::memcpy(words.data(), address.bytes.data(), sizeof(words));
    return pz_hash6(words[0], words[1]);
}

std::uint32_t filter_hash(const MacAddress& mac) {
    std::uint64_t word = 0;
    std::memcpy(&word, mac.bytes.data(), mac.bytes.size());
    return pz_hash_mac(word);
}

Result<FilterBitmap> FilterBitmap::open(int map_fd, std::uint32_t bits) {
    const std::size_t words = bits / 64;
    void* memory = ::mmap(nullptr, words * sizeof(pz_filter_word), PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
    if (memory == MAP_FAILED)
        return fail_errno("cannot map a filter bitmap", errno);
    return FilterBitmap({static_cast<pz_filter_word*>(memory), words}, bits);
}

FilterBitmap::FilterBitmap(FilterBitmap&& other) noexcept
    : words_(std::exchange(other.words_, {})), counts_(std::move(other.counts_)) {}

FilterBitmap::~FilterBitmap() {
    if (!words_.empty())
        ::munmap(words_.data(), words_.size_bytes());
}

void FilterBitmap::add(std::uint32_t hash) {
    const std::uint32_t bit = hash & static_cast<std::uint32_t>(counts_.size() - 1);
    if (counts_[bit] == std::numeric_limits<std::uint16_t>::max())
        return; // stays set for good: a set bit costs a lookup, a lost one would cost an answer
    if (counts_[bit]++ == 0)
        std::atomic_ref(words_[bit / 64].bits).fetch_or(1ULL << (bit % 64));
}

void FilterBitmap::remove(std::uint32_t hash) {
    const std::uint32_t bit = hash & static_cast<std::uint32_t>(counts_.size() - 1);
    if (counts_[bit] == std::numeric_limits<std::uint16_t>::max() || counts_[bit] == 0)
        return;
    if (--counts_[bit] == 0)
        std::atomic_ref(words_[bit / 64].bits).fetch_and(~(1ULL << (bit % 64)));
}

} // namespace pz::fastpath
