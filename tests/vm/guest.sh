# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The first process of a guest, on the host's file system below a layer that forgets: runs one group of tests.  /run/vm
# is shared with the host: settings, log, status.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
export PROXZZY_PATIENCE=10
# shellcheck source=/dev/null
source /run/vm/settings
: "${group:?}" "${root:?}" "${modules:?}"

prepare() {
    mkdir -p /run/lock /run/netns /usr/lib/modules
    mount -t bpf bpf /sys/fs/bpf
    mount -t tmpfs tmp /tmp
    mount --bind "$modules" /usr/lib/modules
    ip link set lo up
}

passed=true
try() {
    local begin=$SECONDS status=passed
    "$@" || { status=FAILED && passed=false; }
    echo "--- $status after $((SECONDS - begin)) s: $*"
}

# What the verifier has to look at, of the compiler that the product is built with, is bounded: tests/bench/rows_kernels.py.
load_objects() (
    set -o pipefail
    "$PROXZZY_BUILD/tests/bench/object_load" /run/vm/*.o | tee /tmp/loads &&
        awk '/^clang-14-/ { seen = 1; if ($2 > 120000) many = 1 } END { exit many || !seen }' /tmp/loads
)

count_tests() {
    try load_objects
}

bpf_tests() {
    local name
    count_tests
    local names=(object arp ndisc egress echo ip options)
    if [[ $(uname -r) == 6.1.* ]]; then # the oldest; what both it and the machine's own do, those between do
        names+=(wake magic non_wake owner router unanswered explain)
    fi
    for name in "${names[@]}"; do # what goes through all there is costs minutes here, and asks the kernel nothing new
        try "$PROXZZY_BUILD/tests/bpf/bpf_$name" --gtest_brief=1 --gtest_filter=-*Every*:*Damaged*:*Random*:*AsItHappens
    done
}

net_tests() {
    local name
    for name in a_sleeper_is_answered_for_woken_and_given_back_also_when_the_daemon_was_killed \
        a_host_on_a_vlan_device_is_woken_and_gets_its_packet \
        a_program_on_the_gateway_reaches_a_sleeper_by_its_vlan_device; do
        try python3 "$root/tests/vm/net.py" "$name"
    done
}

vlan_tests() {
    local name
    for name in two_vlans_of_a_trunk_are_two_networks \
        hosts_behind_a_bridge_that_filters_vlans_are_served_in_their_own_alone; do
        try python3 "$root/tests/vm/net.py" "$name"
    done
}

{
    echo "Linux $(uname -r), $(nproc) processors, $(cut -d ' ' -f 1 /proc/uptime) s after the start"
    prepare && "${group}_tests" || passed=false
} >/run/vm/log 2>&1
$passed
echo $? >/run/vm/status
sync
echo o >/proc/sysrq-trigger
while :; do sleep 1; done
