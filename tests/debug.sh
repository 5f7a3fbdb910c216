#!/bin/sh
# debug.sh ARCH HARNESS [GDB OPTION...]: a stopped machine with gdb attached and the kernel's symbols loaded. The kernel is
# built for it: with all names and types, and little optimised. The serial console goes to target/last-ARCH.log; the
# machine ends with gdb.
set -eu
arch=$1; harness=$2; shift 2
cd "$(dirname "$0")/.."
out=${CARGO_TARGET_DIR:-target}
if ! command -v gdb-multiarch >/dev/null; then
    echo "debug: installing gdb-multiarch (the debugger for both architectures)" >&2
    if [ "$(id -u)" = 0 ]; then apt-get -q install -y gdb-multiarch >&2; else sudo apt-get -q install -y gdb-multiarch >&2; fi
fi
image=$($harness debug-image "$arch")
initrd=$($harness initramfs "$arch" "${POLLUX_RECIPE:-busybox}")
case $arch in
x86_64) qemu="qemu-system-x86_64 -M q35 -cpu max"; console=ttyS0; elf=$out/x86_64-unknown-none/debug/pollux ;;
aarch64) qemu="qemu-system-aarch64 -M virt,gic-version=3 -cpu max,pauth-impdef=on"; console=ttyAMA0
    elf=$out/aarch64-unknown-none-softfloat/debug/pollux ;;
*) echo "debug: '$arch' is not an architecture: say x86_64 or aarch64" >&2; exit 2 ;;
esac
# gdb starts the machine itself and speaks to it by a pipe, so that no port is taken and both end together.
exec gdb-multiarch -q "$elf" -ex "target remote | exec $qemu -accel tcg -m ${POLLUX_MEM:-1G} -smp ${POLLUX_SMP:-1} \
-nodefaults -display none -no-reboot -S -gdb stdio -serial file:$out/last-$arch.log -kernel $image -initrd $initrd \
-append 'console=$console ${POLLUX_APPEND:-}'" "$@"
