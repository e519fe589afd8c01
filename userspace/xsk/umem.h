// SPDX-License-Identifier: Apache-2.0
// The memory that an AF_XDP socket shares with the kernel: frames, and who has each of them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <xdp/xsk.h>

#include <proxzzy/abi/maps.h>

#include "base/result.h"

namespace pz::xsk {

inline constexpr std::uint32_t frame_size = PZ_XSK_FRAME_SIZE;
/// Frames to receive in, each of which may carry its answer; and others, for what is sent by itself.
inline constexpr std::uint32_t rx_frames = 256, tx_frames = 64;
/// Of all four rings: there is a place for every frame that can be in one, so none but RX is ever full.
inline constexpr std::uint32_t ring_size = 256;

/// Who may touch a frame.
enum class Owner : std::uint8_t {
    free,       // nobody: it may be taken to send in
    fill,       // the kernel, to receive in; or received, and not looked at yet
    hand,       // us: it was received
    tx,         // the kernel, to send
    completion, // us: it was sent
};
inline constexpr std::size_t owners = 5;
std::string_view to_string(Owner owner);

/// Every frame has one owner.  A frame that is given back twice, or by somebody who does not have it, would be written
/// by two at once: it is an error here first.
class Ledger {
public:
    explicit Ledger(std::uint32_t frames) : owner_(frames, Owner::free) { counts_[index(Owner::free)] = frames; }

    /// The frame that `address` lies in goes from one owner to another.
    Result<> move(std::uint64_t address, Owner from, Owner to);
    [[nodiscard]] std::uint32_t count(Owner owner) const { return counts_[index(owner)]; }
    /// Between two turns nothing is in our hands; what is was lost.
    [[nodiscard]] Result<> check_settled() const;

private:
    static std::size_t index(Owner owner) { return static_cast<std::size_t>(owner); }

    std::vector<Owner> owner_; // by frame
    std::array<std::uint32_t, owners> counts_{};
};

struct Rings {
    xsk_ring_prod fill{};
    xsk_ring_cons completion{};
    xsk_ring_cons rx{};
    xsk_ring_prod tx{};
};

/// The memory of one socket, registered with the kernel.
class Umem {
public:
    /// The error is an errno value: what it means depends on what the memory is for.
    static std::expected<Umem, int> create();

    /// The frame's bytes from `address` on.
    [[nodiscard]] std::span<std::uint8_t> at(std::uint64_t address) const;
    static bool is_rx(std::uint64_t address) { return address / frame_size < rx_frames; }
    [[nodiscard]] Ledger& ledger() { return ledger_; }
    [[nodiscard]] const Ledger& ledger() const { return ledger_; }
    [[nodiscard]] Rings& rings() const { return *rings_; }
    [[nodiscard]] xsk_umem* get() const { return umem_.get(); }

    /// Gives a frame to the kernel to receive in.
    Result<> fill(std::uint64_t address, Owner from);
    /// A frame to send in.  It stays free until it moves.
    [[nodiscard]] std::optional<std::uint64_t> spare() const;
    /// What was sent is to be received in again, or free.
    Result<> complete(std::uint64_t address);
    Result<> send(std::uint64_t address, std::size_t length, Owner from);

private:
    struct Unmap {
        void operator()(std::uint8_t* memory) const;
    };
    struct Delete {
        void operator()(xsk_umem* umem) const { xsk_umem__delete(umem); }
    };
    Umem(std::unique_ptr<std::uint8_t, Unmap> memory, std::unique_ptr<Rings> rings,
         std::unique_ptr<xsk_umem, Delete> umem);

    std::unique_ptr<std::uint8_t, Unmap> memory_;
    std::unique_ptr<Rings> rings_; // libxdp keeps their addresses
    std::unique_ptr<xsk_umem, Delete> umem_;
    Ledger ledger_;
    std::vector<std::uint64_t> spare_; // free frames
};

} // namespace pz::xsk
