// SPDX-License-Identifier: Apache-2.0
// Reading the kernel's rings.
#pragma once

#include <functional>
#include <memory>

#include <proxzzy/abi/events.h>

#include "base/result.h"
#include "net/frame.h"

struct ring_buffer;

namespace pz::fastpath {

class EventRing {
public:
    /// `frame` holds event.frame_captured bytes and is valid during the call only.
    using Handler = std::function<void(const pz_event& event, ByteView frame)>;

    static Result<EventRing> open(int map_fd, Handler handler);

    /// Readable when events wait.
    [[nodiscard]] int poll_fd() const;
    /// Hands waiting events to the handler, as many as fit in one turn of a loop; true if none is left.
    bool consume();

private:
    struct Deleter {
        void operator()(ring_buffer* ring) const;
    };
    struct Reader {
        Handler handler;
        int left_in_turn = 0;
    };
    static int on_record(void* context, void* data, std::size_t size);
    EventRing(std::unique_ptr<ring_buffer, Deleter> ring, std::unique_ptr<Reader> reader)
        : ring_(std::move(ring)), reader_(std::move(reader)) {}

    std::unique_ptr<ring_buffer, Deleter> ring_;
    std::unique_ptr<Reader> reader_; // libbpf keeps its address
};

} // namespace pz::fastpath
