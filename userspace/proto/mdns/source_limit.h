// SPDX-License-Identifier: Apache-2.0
// How many messages one source may have processed: a token bucket each, for a bounded number of sources.
#pragma once

#include <algorithm>
#include <list>
#include <unordered_map>

#include "base/clock.h"
#include "net/address.h"

namespace pz::mdns {

class SourceLimit {
public:
    SourceLimit(double per_second, double burst, std::size_t sources)
        : per_second_(per_second), burst_(burst), sources_(sources) {}

    /// Whether one more is within the limit.  The source not heard for longest makes room for a new one.
    bool take(const IpAddress& source, Instant now) {
        if (const auto found = index_.find(source); found != index_.end()) {
            buckets_.splice(buckets_.begin(), buckets_, found->second);
        } else {
            if (index_.size() >= sources_) {
                index_.erase(buckets_.back().source);
                buckets_.pop_back();
            }
            buckets_.push_front({source, burst_, now});
            index_.emplace(source, buckets_.begin());
        }
        Bucket& bucket = buckets_.front();
        const std::chrono::duration<double> passed = now - bucket.updated;
        bucket.tokens = std::min(burst_, bucket.tokens + passed.count() * per_second_);
        bucket.updated = now;
        if (bucket.tokens < 1)
            return false;
        bucket.tokens -= 1;
        return true;
    }

    /// What it asked for was more work than one message usually is.
    void charge(const IpAddress& source, double messages) {
        if (const auto found = index_.find(source); found != index_.end())
            found->second->tokens = std::max(-burst_, found->second->tokens - messages);
    }

private:
    struct Bucket {
        IpAddress source;
        double tokens;
        Instant updated;
    };

    double per_second_;
    double burst_;
    std::size_t sources_;
    std::list<Bucket> buckets_; // the one heard last comes first
    std::unordered_map<IpAddress, std::list<Bucket>::iterator> index_;
};

} // namespace pz::mdns
