#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# objects.sh FOLDER: the kernel programs, compiled into FOLDER by each clang that is here.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
for clang in clang-14 clang-19; do
    command -v "$clang" >/dev/null || continue
    for direction in INGRESS EGRESS; do
        "$clang" -D"PZ_$direction" -target bpf -mcpu=v3 -O2 -g -std=gnu11 -I"$root/include" -I"$root/bpf" \
            -idirafter "/usr/include/$(uname -m)-linux-gnu" -c "$root/bpf/proxzzy.bpf.c" \
            -o "$1/$clang-$direction.o"
    done
done
