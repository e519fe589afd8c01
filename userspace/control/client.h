// SPDX-License-Identifier: Apache-2.0
// A synchronous client of the control socket: one request at a time, answers waited for; some are if there are many.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "control/codec.h"

namespace pz::control {

class Client {
public:
    /// Errc::not_found: nobody listens at `path`.  Errc::permission: the path is closed to this user.
    /// An answer that takes longer than `limit` is an error of the request.
    static Result<Client> connect(const std::string& path, Duration limit = std::chrono::seconds(10));

    /// The answer to a request of `type`, PZ_MSG_..._GET.  What the daemon refuses comes back as it worded it.
    template <HasSchema Answer, HasSchema Body = Nothing>
    Result<Answer> get(std::uint16_t type, const Body& body = {}) {
        PZ_TRY(send(encode({type, NLM_F_REQUEST, ++sequence_, 0}, body)));
        return read<Answer>(PZ_TRY(receive(Schema<Answer>::message)));
    }

    /// All answers to a dump, in order, each as soon as it is there.
    template <HasSchema Answer, HasSchema Body = Nothing>
    Result<> dump(std::uint16_t type, const std::function<void(Answer)>& take, const Body& body = {}) {
        PZ_TRY(send(encode({type, NLM_F_REQUEST | NLM_F_DUMP, ++sequence_, 0}, body)));
        for (;;) {
            const Received message = PZ_TRY(receive(Schema<Answer>::message));
            if (message.header.nlmsg_type == NLMSG_DONE)
                return {};
            take(PZ_TRY(read<Answer>(message)));
        }
    }

    /// Answers may take for ever from now on: they are events.
    Result<> wait_for_ever();

    /// So many requests of post() may be under way.
    static constexpr std::uint32_t max_posted = 8;
    /// Like change(), but the answer is waited for later: by settle(), or when max_posted others came after it.  The
    /// error may be that of an earlier one.
    template <HasSchema Body>
    Result<> post(std::uint16_t type, const Body& body) {
        const auto message = encode({type, NLM_F_REQUEST | NLM_F_ACK, sequence_ + 1, 0}, body);
        if (!message)
            return std::unexpected(message.error());
        PZ_TRY(settle(max_posted - 1));
        ++sequence_;
        ++posted_;
        return send(message);
    }
    /// Waits for the answers to what was posted, all but the last `but` of them.  To be called before anything else is
    /// asked for.
    Result<> settle(std::uint32_t but = 0) {
        while (posted_ > but)
            PZ_TRY(receive(NLMSG_ERROR, sequence_ - --posted_));
        return {};
    }

    /// Has something changed; `flags` besides NLM_F_REQUEST and NLM_F_ACK.
    template <HasSchema Body = Nothing>
    Result<Acknowledgement> change(std::uint16_t type, std::uint16_t flags = 0, const Body& body = {}) {
        const auto all = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
        PZ_TRY(send(encode({type, all, ++sequence_, 0}, body)));
        return read<Acknowledgement>(PZ_TRY(receive(NLMSG_ERROR)));
    }

private:
    Client(Fd socket, std::string path) : socket_(std::move(socket)), path_(std::move(path)) {}

    Result<> send(const Result<Message>& message);
    /// The next message about the request: one of `type`, or NLMSG_DONE.  A refusal comes back as its error.
    /// Valid until the next call.
    Result<Received> receive(std::uint16_t type) { return receive(type, sequence_); }
    Result<Received> receive(std::uint16_t type, std::uint32_t sequence);

    template <HasSchema T>
    Result<T> read(const Received& message) {
        auto body = decode<T>(message, Unknown::skip);
        if (!body)
            return bad_answer(body.error().error.message);
        return std::move(*body);
    }
    [[nodiscard]] std::unexpected<Error> bad_answer(const std::string& why) const;

    Fd socket_;
    std::string path_;
    std::uint32_t sequence_ = 0;
    std::uint32_t posted_ = 0; // the last requests, whose answers are to come
    std::vector<std::uint8_t> buffer_ = std::vector<std::uint8_t>(PZ_CONTROL_MAX_MESSAGE);
};

} // namespace pz::control
