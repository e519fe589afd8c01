#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh 6.1|6.12 bpf|net|vlan|count: starts a guest with that kernel of Debian in QEMU (TCG: as slow as it may be, it runs anywhere),
# with this machine's file system and what is built, and runs the group's tests in it, or counts what its verifier looks at.
# PROXZZY_BUILD is the build folder.
# Exit status: 0 passed, 1 failed, 77 skipped (a failure with PROXZZY_REQUIRE_ALL=1).
set -euo pipefail
release=$1 group=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
kernel=$root/build/vm/$release
limit=800 # seconds

skip() {
    echo "skipped: $*"
    [[ ${PROXZZY_REQUIRE_ALL:-} != 1 ]] || exit 1
    exit 77
}

((EUID == 0)) || skip "not root"
for program in qemu-system-x86_64 busybox cpio modprobe; do
    command -v "$program" >/dev/null || skip "not installed: $program"
done

shared=$(mktemp -d)
trap 'rm -rf "$shared"' EXIT
"$root/tests/vm/prepare.sh" "$release" "$kernel" >"$shared/prepare" 2>&1 || {
    cat "$shared/prepare"
    skip "cannot get Debian's kernel $release"
}
cp "$root/tests/vm/guest.sh" "$shared"
printf '%s\n' "group=$group" "root='$root'" "modules='$kernel/modules'" "export PROXZZY_BUILD='$PROXZZY_BUILD'" \
    "export PROXZZY_REQUIRE_ALL='${PROXZZY_REQUIRE_ALL:-}'" >"$shared/settings"
[[ $group != @(bpf|count) ]] || "$root/tests/vm/objects.sh" "$shared" # the tests have one compiler's in them

timeout -k 5 "$limit" qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -m 2048 -smp 2 \
    -nodefaults -no-user-config -display none -no-reboot -serial "file:$shared/console" \
    -kernel "$kernel/vmlinuz" -initrd "$kernel/initrd.gz" -append "console=ttyS0 quiet panic=-1 mitigations=off" \
    -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=root,mount_tag=hostroot \
    -fsdev "local,id=vm,path=$shared,security_model=none" -device virtio-9p-pci,fsdev=vm,mount_tag=vm \
    </dev/null >"$shared/qemu" 2>&1 || echo "qemu: exit $?"
cat "$shared/log" || true
[[ $(cat "$shared/status" 2>/dev/null) == 0 ]] || {
    echo "the guest did not pass; the end of its console:"
    tail -n 30 "$shared/console" "$shared/qemu"
    exit 1
}
