// SPDX-License-Identifier: Apache-2.0
// The kinds of events: the one list that the daemon, its log and docs/messages.md share.
#pragma once

/// X(IDENTIFIER, "name", level of pz::log, "message id of the log", "sentence").  Names and ids stay what they are:
/// people filter by them.
// clang-format off
#define PZ_EVENT_KINDS(X) \
    X(state, "state", info, "9a5799016e134160ae58ba3f1739ac02", \
      "a host went from one state to another") \
    X(trigger, "trigger", info, "b808c52af1e74f189af5dd200a3b42bf", \
      "a packet came that wakes a sleeping host") \
    X(trigger_again, "trigger-again", debug, "6ad2c694a0984659a496960c6785d66b", \
      "one more packet came that wakes a host which is being woken or was just woken") \
    X(not_held, "not-held", warning, "a744d48ef89745fa950155fd27e15e4d", \
      "a packet that wakes a host could not be held for it: its sender must repeat it") \
    X(non_wake, "non-wake", debug, "ce011756c0184561898bebf7ddf59dc9", \
      "a packet came for a sleeping host that sleeps on") \
    X(refused, "refused", info, "4b23c44fdfbe4b6ca289a6873fa43d64", \
      "a packet came that could wake a sleeping host, and the host's wake policy refused it") \
    X(delivered, "delivered", info, "38e32bfae88f41d08b2d90d21f9bddab", \
      "held packets were delivered to the host that was woken for them") \
    X(dropped, "dropped", warning, "da9a47dafa854139957b7daec22e7e1b", \
      "held packets were dropped") \
    X(address_not_back, "address-not-back", warning, "56e32a3557354021a40e0257ce1fd642", \
      "a host is back, but one of its addresses was not seen in use in time") \
    X(unreachable, "unreachable", warning, "4781224b13ff421fbb0db6cb865f48b6", \
      "a host showed no sign of life in time after it was woken") \
    X(sleep_abandoned, "sleep-abandoned", warning, "0a901620591e4a7db744962819f06da8", \
      "a host that was said to sleep went on talking") \
    X(address_expired, "address-expired", info, "a1114ed43e5e4dffbe284b0d8efde8f9", \
      "an address of a host is past its validity and no longer answered for") \
    X(address_learned, "address-learned", info, "e118f4773c9f4590b64071dff165be7b", \
      "a host uses an address that is answered for too from now on when it sleeps") \
    X(address_forgotten, "address-forgotten", info, "fec1559828b34eedaeab31d2a88a8e78", \
      "a learned address of a host is its own no more, and not answered for") \
    X(not_learned, "not-learned", warning, "898b92524ffe489fa874460245a4741d", \
      "a host uses an address that is not learned, since another host has it or there is no room") \
    X(conflict, "conflict", warning, "ce8f8b3473eb4e5ca459c3eb69c4f911", \
      "another node claims an address of a sleeping host") \
    X(second_proxy, "second-proxy", warning, "396d349d8b6240d3b38f8d705a4d72eb", \
      "another gateway stands in for a sleeping host too") \
    X(nic_answers, "nic-answers", info, "a9e13aa6b32e4f1a85be3bf321a74edc", \
      "the NIC of a sleeping host answers ARP or Neighbour Discovery by itself") \
    X(ring_loss, "ring-loss", warning, "1799c96b21854b8f9b45dc739af5b067", \
      "events of the kernel found their ring full; every sleeper is looked at instead") \
    X(request, "request", info, "30dbe1e4f0704c8ea371235b45f84cfc", \
      "a client of the control socket changed something") \
    X(request_refused, "request-refused", info, "4d7cc72506294765ab3661c44ed06d7b", \
      "a request on the control socket was refused") \
    X(failed, "failed", error, "d1bdc7ecf255416a8d2bb24ca6c72b75", \
      "something that the daemon had to do did not work") \
    X(interface, "interface", info, "51c6638861064c7b8d4ed437a824af51", \
      "an interface is served") \
    X(link_lost, "link-lost", warning, "a0e736eb1eda4b39bf5a8797ffb624eb", \
      "a served interface has no link, is gone or has another name: work on it stops") \
    X(link_back, "link-back", info, "5c3a7f5181eb44e7a2607f2819b2aa24", \
      "a served interface has its link again") \
    X(ready, "ready", info, "263313cf596647ebacfcb6ebd9fad06d", \
      "the daemon serves") \
    X(restored, "restored", info, "4a17c31520654db7ab79ee765f56b66b", \
      "hosts came back from the state file") \
    X(configuration, "configuration", info, "6c8fea38b0a44f34855d8f077a141a39", \
      "a host or an option changed in its file, or will change later") \
    X(reloaded, "reloaded", info, "1511e6a7e69c4e76b97736778d5da017", \
      "the daemon has read its configuration again") \
    X(stopping, "stopping", info, "0276d672fb104aeeaac2c72c07538738", \
      "the daemon stops") \
    X(lost, "lost", warning, "067febf7efaa469ba6ad0b75bd333c5d", \
      "a reader of events fell behind and missed some")
// clang-format on
