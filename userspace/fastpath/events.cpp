// SPDX-License-Identifier: Apache-2.0
#include "fastpath/events.h"

#include <algorithm>
#include <cerrno>

#include <bpf/libbpf.h>

namespace pz::fastpath {

namespace {

constexpr int events_in_turn = 256;

} // namespace

int EventRing::on_record(void* context, void* data, std::size_t size) {
    if (size < sizeof(pz_event))
        return 0; // not ours
    auto& reader = *static_cast<Reader*>(context);
    const auto& event = *static_cast<const pz_event*>(data);
    const std::size_t captured = std::min<std::size_t>(event.frame_captured, size - sizeof(pz_event));
    const ByteView frame(static_cast<const std::uint8_t*>(data) + sizeof(pz_event), captured);
    reader.handler(event, frame);
    return --reader.left_in_turn > 0 ? 0 : -ECANCELED; // libbpf stops here, this event is taken
}

void EventRing::Deleter::operator()(ring_buffer* ring) const {
    ring_buffer__free(ring);
}

Result<EventRing> EventRing::open(int map_fd, Handler handler) {
    auto owned = std::make_unique<Reader>(Reader{.handler = std::move(handler)});
    std::unique_ptr<ring_buffer, Deleter> ring(ring_buffer__new(map_fd, on_record, owned.get(), nullptr));
    if (!ring)
        return fail_errno("cannot read a ring of the kernel programs", errno);
    return EventRing(std::move(ring), std::move(owned));
}

int EventRing::poll_fd() const {
    return ring_buffer__epoll_fd(ring_.get());
}

bool EventRing::consume() {
    reader_->left_in_turn = events_in_turn;
    return ring_buffer__consume(ring_.get()) >= 0;
}

} // namespace pz::fastpath
