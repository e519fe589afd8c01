// SPDX-License-Identifier: Apache-2.0
// What the kernel would do with a frame: the same programs on the same maps, their side effects compiled out.
#pragma once

#include <cstdint>
#include <memory>

#include <proxzzy/abi/explain.h>

#include "base/result.h"
#include "net/frame.h"

struct bpf_object;
struct proxzzy_bpf;
struct proxzzy_egress_bpf;

namespace pz::fastpath {

inline constexpr std::size_t smallest_frame = 14; // an Ethernet header
inline constexpr std::size_t largest_frame = 9216; // what the program searches for Magic Packets

/// Makes every map of `to`, which is not loaded yet, the one of that name in `from`, which is.
Result<> share_maps(const bpf_object& from, bpf_object& to);

enum class Direction : std::uint8_t { ingress, egress };

struct Verdict {
    std::uint32_t action = 0;      // enum xdp_action, also of a frame that leaves
    Bytes frame;                   // as the program leaves it: the reply, if the action is XDP_TX
    pz_explanation found{};
};

class DryRun {
public:
    /// Loads the programs of `running` once more, on the maps of `running`, which must be loaded.
    static Result<std::unique_ptr<DryRun>> open(const proxzzy_bpf& running);
    ~DryRun();
    DryRun(const DryRun&) = delete;
    DryRun& operator=(const DryRun&) = delete;

    /// The verdict on a frame that comes in on the interface, or leaves by it, which is in this network namespace.
    /// Nothing that anybody else can see changes.  Errc::invalid: `frame` is shorter or longer than an Ethernet frame
    /// can be, or than the kernel takes here.
    Result<Verdict> run(int ifindex, ByteView frame, Direction direction = Direction::ingress);
    [[nodiscard]] int program(Direction direction = Direction::ingress) const;

private:
    DryRun(proxzzy_bpf* ingress, proxzzy_egress_bpf* egress) : ingress_(ingress), egress_(egress) {}

    proxzzy_bpf* ingress_;
    proxzzy_egress_bpf* egress_;
};

} // namespace pz::fastpath
