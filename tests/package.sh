#!/bin/sh
# The Debian package on a clean Debian 12: built by cpack, installed into a debootstrap root with its dependencies, and there
# netc compiles and trains a net, builds an executable, and the executable trains to the same weights.
#     tests/package.sh BUILD [ROOT]      as root, needs debootstrap and Debian's archive; ROOT (a new directory) is kept if it is given
# BUILD is a Release build without sanitizers. It takes some minutes, so it is not part of ctest.
set -eu
[ $# -ge 1 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd)
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
if [ $# -ge 2 ]; then
    root=$2
else
    root=$(mktemp -d)
fi

leave() {
    ! mountpoint -q "$root/proc" || umount "$root/proc"
    [ $# -ge 2 ] || rm -rf "$root"
}
trap 'leave "$@"' EXIT

say() { printf '\n== %s\n' "$*"; }

say "the package"
rm -f "$build"/netc_*.deb
(cd "$build" && cpack -G DEB >/dev/null)
package=$(ls "$build"/netc_*.deb)
dpkg-deb --info "$package" | grep -E '^ (Package|Version|Depends|Recommends)'

say "a clean Debian 12 in $root"
[ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.log" 2>&1 || {
    tail -5 "$root.log" >&2
    exit 1
}
rm -f "$root.log"
for file in /etc/resolv.conf /etc/apt/apt.conf.d; do # a proxy, if this machine has one
    [ ! -e "$file" ] || cp -rL "$file" "$root$(dirname "$file")/"
done
cp "$package" "$root/tmp/netc.deb"
cp "$here/tests/e2e/small.net" "$root/tmp/"

mount -t proc proc "$root/proc" # netc finds its models and archives through /proc/self/exe
say "installing, with what it depends on and what netc build recommends"
in_root() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive "$@"; }
in_root apt-get update -q >/dev/null
in_root apt-get install -q -y --no-install-recommends /tmp/netc.deb gcc libc6-dev >"$root/tmp/apt.log" 2>&1 || {
    tail -20 "$root/tmp/apt.log" >&2
    exit 1
}

say "training, building, and training again"
in_root sh -euc '
    cd /tmp
    netc --version
    run="--data synthetic --steps 5 --seed 3"
    netc train small.net $run --out there
    netc train resnet20 --data synthetic --steps 1 --batch 8 --out shipped
    netc build small.net -o exe
    netc build small.net --static -o static
    ldd exe
    ./exe $run --out here
    ./static $run --out alone
    for weights in here alone; do cmp there/last.safetensors $weights/last.safetensors; done
    netc build small.net --cpu native --conv gemm -o plain && ./plain $run --out plain-run'
say "the package works"
