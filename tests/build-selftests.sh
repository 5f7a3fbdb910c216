#!/bin/sh
# Builds some of the kernel's own selftests (tools/testing/selftests) for the guest, with Debian's compiler for it:
#
#   build-selftests.sh ARCH SOURCE SYSROOT OUT DIRECTORY...
#
# SOURCE is the tree that Debian's package linux-source-6.1 holds, SYSROOT has the libraries that the C library does not
# come with, OUT/DIRECTORY gets the programs and `list`, the names of those that are tests by themselves. What does not
# build is left out there; OUT/DIRECTORY/log says why.
set -eu
exec 1>&2
cd "$(dirname "$0")/.."
. tests/install.sh
arch=$1 source=$(realpath "$2") sysroot=$(realpath "$3") out=$(realpath -m "$4")
shift 4

triple=$arch-linux-gnu
prefix=
if [ "$arch" != "$(uname -m)" ]; then prefix=$triple-; fi
packages=
have make || packages="$packages make"
case $prefix in
'') { have gcc && [ -e /usr/include/linux/futex.h ]; } || packages="$packages gcc libc6-dev" ;;
aarch64-*) have ${prefix}gcc || packages="$packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;;
x86_64-*) have ${prefix}gcc || packages="$packages gcc-x86-64-linux-gnu libc6-dev-amd64-cross" ;;
esac
# shellcheck disable=SC2086
[ -z "$packages" ] || install "builds the kernel's selftests for $arch" $packages

case $arch in aarch64) arch=arm64 ;; x86_64) arch=x86 ;; esac
selftests=$source/tools/testing/selftests
for directory; do
    to=$out/$directory
    rm -rf "$to" && mkdir -p "$to"
    # -k: one that does not build here does not keep the others back.
    make -s -k -C "$selftests/$directory" OUTPUT="$to" ARCH="$arch" CROSS_COMPILE="$prefix" \
        KHDR_INCLUDES="-I$sysroot/usr/include" USERCFLAGS="-I$sysroot/usr/include -I$selftests" \
        USERLDFLAGS="-L$sysroot/usr/lib/$triple" all >"$to/log" 2>&1 \
        || say "$directory: not all of it builds, see $to/log"
    make -s -C "$selftests/$directory" OUTPUT="$to" ARCH="$arch" CROSS_COMPILE="$prefix" emit_tests \
        2>/dev/null | sed -n 's/^.*://p' >"$to/list"
    # Tests that are scripts are not built, and so not there yet.
    while read -r name; do
        [ -e "$to/$name" ] || cp "$selftests/$directory/$name" "$to/" 2>/dev/null || true
    done <"$to/list"
done
