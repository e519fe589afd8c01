// SPDX-License-Identifier: Apache-2.0
#include "xsk/umem.h"

#include <sys/mman.h>

#include <cerrno>
#include <tuple>

#include <spdlog/fmt/fmt.h>

namespace pz::xsk {

namespace {

constexpr std::size_t memory_size = std::size_t{rx_frames + tx_frames} * frame_size;
static_assert(ring_size >= rx_frames && ring_size >= rx_frames / 2 + tx_frames);

} // namespace

std::string_view to_string(Owner owner) {
    constexpr std::array<std::string_view, owners> names{"free", "fill", "hand", "tx", "completion"};
    return names.at(static_cast<std::size_t>(owner));
}

Result<> Ledger::move(std::uint64_t address, Owner from, Owner to) {
    const std::uint64_t frame = address / frame_size;
    if (frame >= owner_.size())
        return fail(Errc::system, fmt::format("AF_XDP: there is no frame at {}", address));
    Owner& owner = owner_[frame];
    if (owner != from)
        return fail(Errc::system, fmt::format("AF_XDP: frame {} goes from {} to {}, but is in {}", frame,
                                              to_string(from), to_string(to), to_string(owner)));
    owner = to;
    counts_[index(from)]--;
    counts_[index(to)]++;
    return {};
}

Result<> Ledger::check_settled() const {
    for (const Owner owner : {Owner::hand, Owner::completion})
        if (count(owner) != 0)
            return fail(Errc::system, fmt::format("AF_XDP: {} frames are lost in {}", count(owner), to_string(owner)));
    return {};
}

void Umem::Unmap::operator()(std::uint8_t* memory) const {
    ::munmap(memory, memory_size);
}

Umem::Umem(std::unique_ptr<std::uint8_t, Unmap> memory, std::unique_ptr<Rings> rings,
           std::unique_ptr<xsk_umem, Delete> umem)
    : memory_(std::move(memory)), rings_(std::move(rings)), umem_(std::move(umem)), ledger_(rx_frames + tx_frames) {
    for (std::uint32_t frame = rx_frames; frame < rx_frames + tx_frames; frame++)
        spare_.push_back(std::uint64_t{frame} * frame_size);
}

std::expected<Umem, int> Umem::create() {
    void* memory =
        ::mmap(nullptr, memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        return std::unexpected(errno);
    std::unique_ptr<std::uint8_t, Unmap> owned(static_cast<std::uint8_t*>(memory));
    auto rings = std::make_unique<Rings>();
    const xsk_umem_config config{
        .fill_size = ring_size, .comp_size = ring_size, .frame_size = frame_size, .frame_headroom = 0, .flags = 0};
    xsk_umem* umem = nullptr;
    if (const int error = xsk_umem__create(&umem, owned.get(), memory_size, &rings->fill, &rings->completion, &config);
        error != 0)
        return std::unexpected(-error);
    return Umem(std::move(owned), std::move(rings), std::unique_ptr<xsk_umem, Delete>(umem));
}

std::span<std::uint8_t> Umem::at(std::uint64_t address) const {
    return {memory_.get() + address, frame_size - address % frame_size};
}

Result<> Umem::fill(std::uint64_t address, Owner from) {
    PZ_TRY(ledger_.move(address, from, Owner::fill));
    std::uint32_t at = 0;
    if (xsk_ring_prod__reserve(&rings_->fill, 1, &at) == 0)
        return fail(Errc::system, "AF_XDP: the fill ring is full, and should have room for every frame");
    *xsk_ring_prod__fill_addr(&rings_->fill, at) = address / frame_size * frame_size;
    xsk_ring_prod__submit(&rings_->fill, 1);
    return {};
}

std::optional<std::uint64_t> Umem::spare() const {
    return spare_.empty() ? std::nullopt : std::optional(spare_.back());
}

Result<> Umem::complete(std::uint64_t address) {
    PZ_TRY(ledger_.move(address, Owner::tx, Owner::completion));
    if (is_rx(address))
        return fill(address, Owner::completion);
    PZ_TRY(ledger_.move(address, Owner::completion, Owner::free));
    spare_.push_back(address / frame_size * frame_size);
    return {};
}

Result<> Umem::send(std::uint64_t address, std::size_t length, Owner from) {
    PZ_TRY(ledger_.move(address, from, Owner::tx));
    if (from == Owner::free)
        spare_.pop_back();
    std::uint32_t at = 0;
    if (xsk_ring_prod__reserve(&rings_->tx, 1, &at) == 0)
        return fail(Errc::system, "AF_XDP: the TX ring is full, and should have room for every frame");
    *xsk_ring_prod__tx_desc(&rings_->tx,
                            at) = {.addr = address, .len = static_cast<std::uint32_t>(length), .options = 0};
    xsk_ring_prod__submit(&rings_->tx, 1);
    return {};
}

} // namespace pz::xsk
