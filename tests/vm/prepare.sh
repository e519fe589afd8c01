#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# prepare.sh 6.1|6.12 FOLDER: unpacks that kernel of Debian 12 (6.12: from bookworm-backports) below FOLDER and makes an
# initial RAM disk that starts tests/vm/guest.sh on the host's own root file system.  Nothing is installed.  Done once
# for each version of this file.
set -euo pipefail
release=$1 folder=$2
declare -A suites=([6.1]=bookworm [6.12]=bookworm-backports)
suite=${suites[$release]}

mkdir -p "$folder"
exec {lock}>"$folder/lock"
flock "$lock" # release and debug may come at once
[[ ! $folder/ready -nt $0 ]] || exit 0
rm -rf "$folder"/{apt,root,initrd,ready}
mkdir -p "$folder"/apt/{lists,archives}/partial "$folder"/initrd/{bin,proc,sys,dev,newroot,modules,run}

# apt with a state of its own: the machine's list of sources stays as it is
mirror=$(apt-get indextargets --format "\$(REPO_URI)" "Codename: bookworm" "Created-By: Packages" 2>/dev/null | head -n 1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:-http://deb.debian.org/debian} $suite main" \
    >"$folder/apt/sources.list"
apt=(-q -o "Dir::State::Lists=$folder/apt/lists" -o "Dir::Etc::SourceList=$folder/apt/sources.list"
    -o Dir::Etc::SourceParts=/dev/null -o "Dir::Cache=$folder/apt" -o APT::Sandbox::User=root)
apt-get "${apt[@]}" update
package=$(apt-cache "${apt[@]}" depends linux-image-amd64 | sed -n 's/^ *Depends: //p;T;q')
[[ $package == linux-image-"$release".* ]] || {
    echo "$suite has '$package', not $release" >&2
    exit 1
}
(cd "$folder/apt" && apt-get "${apt[@]}" download "$package")
dpkg -x "$folder"/apt/linux-image-*.deb "$folder/root"
version=$(ls "$folder/root/lib/modules")
depmod -b "$folder/root" "$version"
mv "$folder/root/boot/vmlinuz-$version" "$folder/vmlinuz"
ln -sfn "root/lib/modules/" "$folder/modules"

initrd=$folder/initrd
cp "$(command -v busybox)" "$initrd/bin/busybox"
ln -s busybox "$initrd/bin/sh"
for module in virtio_pci 9pnet_virtio 9p overlay; do
    modprobe -d "$folder/root" -S "$version" --show-depends "$module"
done | awk '/^insmod/ && !seen[$2]++ {print $2}' >"$folder/apt/modules"
while read -r path; do
    name=$(basename "$path" .xz)
    if [[ $path == *.xz ]]; then xz -dc "$path"; else cat "$path"; fi >"$initrd/modules/$name"
    echo "$name" >>"$initrd/modules/order"
done <"$folder/apt/modules"
cat >"$initrd/init" <<'EOF'
#!/bin/sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sysfs /sys; $b mount -t devtmpfs dev /dev
for m in $($b cat /modules/order); do $b insmod /modules/$m; done
options=trans=virtio,version=9p2000.L,msize=262144
$b mkdir -p /run/host /run/rw
$b mount -t 9p -o $options,ro,cache=loose hostroot /run/host
$b mount -t tmpfs rw /run/rw; $b mkdir /run/rw/upper /run/rw/work
$b mount -t overlay -o lowerdir=/run/host,upperdir=/run/rw/upper,workdir=/run/rw/work overlay /newroot
$b mount -t proc proc /newroot/proc; $b mount -t sysfs sysfs /newroot/sys; $b mount -t devtmpfs dev /newroot/dev
$b mount -t tmpfs run /newroot/run; $b mkdir -p /newroot/run/vm
$b mount -t 9p -o $options vm /newroot/run/vm
exec $b switch_root /newroot /bin/bash /run/vm/guest.sh
EOF
chmod +x "$initrd/init"
(cd "$initrd" && find . | cpio -o -H newc --quiet | gzip -1) >"$folder/initrd.gz"
rm -rf "$folder/apt" "$initrd"
chown -R --reference="$(dirname "$0")" "$(dirname "$folder")" # who ran sudo can remove it
touch "$folder/ready"
