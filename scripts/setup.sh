# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by the other scripts: installs Debian packages and builds presets.  What is done already costs nothing.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Debian 12 packages.  The compilers of `clang` serve the asan and tsan presets; `peers` are the real programs that the
# lab and the tests talk to; `bench` has libraries of what is measured next to proxzzy; `vm` has what runs other kernels.
declare -A packages=(
    [build]="g++ cmake ninja-build pkg-config clang bpftool libbpf-dev libnl-3-dev libnl-route-3-dev libpcap-dev
        libboost-program-options1.81-dev libspdlog-dev libsqlite3-dev libsystemd-dev libldns-dev libxdp-dev libgtest-dev libbenchmark-dev
        python3"
    [clang]="clang-19 llvm-19 libclang-rt-19-dev"
    [peers]="iproute2 ethtool iputils-arping iputils-ping ndisc6 netcat-openbsd wakeonlan netbase etherwake
        systemd tshark zsh bind9-dnsutils dbus-daemon hostname libavahi-client3 libavahi-core7 libdaemon0 libgdbm6"
    [bench]="libdumbnet1 libevent-2.1-7"
    [vm]="qemu-system-x86 busybox-static cpio kmod xz-utils clang-19"
    [lint]="clang-format-19 clang-tidy-19 shellcheck"
)

say() {
    echo "$(basename "$0"): $*"
}

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

bad_usage() {
    usage >&2
    echo "$(basename "$0"): $*" >&2
    exit 2
}

need_root() {
    ((EUID == 0)) || die "needs root: sudo $0 $*"
}

# install_packages SET...: those of build, clang, peers, bench, vm, lint that are missing.
install_packages() {
    local set package missing=()
    for set in "$@"; do
        for package in ${packages[$set]}; do
            [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
        done
    done
    ((${#missing[@]})) || return 0
    ((EUID == 0)) || die "these packages are missing: ${missing[*]}; install them or run with sudo"
    say "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# unpack_packages FOLDER PACKAGE...: puts their files below FOLDER and installs nothing, for a package that would start a
# service.
unpack_packages() {
    local folder=$1 package archives
    shift
    for package in "$@"; do
        [[ ! -e $folder/$package.unpacked ]] || continue
        say "unpacking $package"
        archives=$(mktemp -d)
        chmod 755 "$archives" # apt downloads as another user
        (cd "$archives" && { apt-get download -qq "$package" 2>/dev/null ||
            { apt-get update -qq && apt-get download -qq "$package"; }; }) || die "cannot download $package"
        mkdir -p "$folder"
        dpkg -x "$archives"/*.deb "$folder"
        rm -r "$archives"
        touch "$folder/$package.unpacked"
    done
}

# unpack_peers PACKAGE...: to where PATH then finds their programs, if nothing of that name is installed.
unpack_peers() {
    local folder=$root/build/peers
    as_caller mkdir -p "$folder"
    unpack_packages "$folder" "$@"
    PATH=$PATH:$folder/usr/sbin:$folder/usr/bin:$folder/lib/systemd
}

# Runs a command as the person who called sudo, so that the build folder stays theirs.
as_caller() {
    local folder=$root/build
    [[ -e $folder ]] || folder=$root
    if ((EUID == 0)) && [[ ${SUDO_UID:-0} != 0 && $(stat -c %u "$folder") == "$SUDO_UID" ]]; then
        sudo -H -u "#$SUDO_UID" "$@"
    else
        "$@"
    fi
}

# build PRESET [TARGET...]: all targets by default.
build() {
    local preset=$1 folder=$root/build/$1 launcher=()
    shift
    if [[ ! -e $folder/build.ninja || $root/CMakePresets.json -nt $folder/build.ninja ]]; then
        say "configuring build/$preset"
        if command -v ccache >/dev/null; then
            launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
        fi
        (cd "$root" && as_caller cmake --log-level=WARNING --preset "$preset" "${launcher[@]}")
    fi
    say "building ${*:-all} in build/$preset"
    as_caller cmake --build "$folder" --parallel "$(nproc)" ${1:+--target "$@"}
}
