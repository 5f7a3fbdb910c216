#!/bin/sh
# Installs what building and running need, and says what and why. Does nothing, quickly and offline, when it has run
# before; `just clean` makes it look again. Everything it says goes to standard error, so that other recipes'
# output stays their own.
#
# It records the compiler for the bare-metal targets in target/setup/toolchain (cargo=, rustc=, linker=), which
# tests/src/toolchain.rs reads. The host's own cargo only has to build the harness.
set -eu
exec 1>&2
cd "$(dirname "$0")/.."
out=${CARGO_TARGET_DIR:-target}
mkdir -p "$out/setup"
key=$(cat tests/setup.sh tests/install.sh userland/recipes/* Cargo.lock userland/Cargo.lock 2>/dev/null | cksum)
[ "$(cat "$out/setup/done" 2>/dev/null)" = "$key" ] && exit 0

X86=x86_64-unknown-none
ARM=aarch64-unknown-none-softfloat
# The oldest compiler that builds the harness and the kernel.
OLDEST=88

. tests/install.sh

# minor CARGO: the minor version of a cargo that works, or nothing
minor() { "$1" --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p'; }

new_enough() { version=$(minor "$1"); [ -n "$version" ] && [ "$version" -ge "$OLDEST" ]; }

debian_rust() {
    have apt-get || give_up "no usable Rust: install rustup, and with it: rustup target add $X86 $ARM"
    if ! { [ -x /usr/bin/rustc ] && new_enough /usr/bin/cargo && [ -d /usr/lib/rustlib/src/rust/library ]; }; then
        apt_update
        if available rustc-web; then
            install "Rust, and the source of its core library" rustc-web cargo-web rust-web-src
        elif available rustc && available rust-src; then
            install "Rust, and the source of its core library" rustc cargo rust-src
        fi
        new_enough /usr/bin/cargo || give_up "this system packages no Rust 1.$OLDEST or later.
setup: Install rustup, then: rustup target add $X86 $ARM; and run this again."
    fi
    linker=
    for name in ld.lld-19 ld.lld-20 ld.lld-21 ld.lld; do
        have $name && { linker=$name; break; }
    done
    if [ -z "$linker" ]; then
        apt_update
        if available lld-19; then install "the linker for both architectures" lld-19; linker=ld.lld-19
        else install "the linker for both architectures" lld; linker=ld.lld; fi
    fi
    printf 'cargo=/usr/bin/cargo\nrustc=/usr/bin/rustc\nlinker=%s\n' "$linker" >"$out/setup/toolchain"
    say "bare-metal targets: Debian's compiler, with the core library built from source; linker $linker"
}

rustup_targets() { rustup target list --installed 2>/dev/null | grep -cxE "$X86|$ARM"; }

# Host tools.
have cc || install "the linker of programs for this machine" gcc libc6-dev
have qemu-system-x86_64 || install "runs the x86_64 guest" qemu-system-x86
have qemu-system-aarch64 || install "runs the aarch64 guest" qemu-system-arm
have bzip2 || install "unpacks the source of busybox, for its test suite" bzip2
have xz || install "unpacks Debian's part of that source" xz-utils
if have apt-get; then
    have dpkg-deb || install "unpacks the guest's packages" dpkg
    # The package lists also say where the guest's own packages come from.
    apt-get indextargets --format '$(ORIGIN)' 'Created-By: Packages' 2>/dev/null | grep -q . || apt_update
fi

# Compilers.
if new_enough cargo && have rustup; then
    if [ "$(rustup_targets)" != 2 ]; then
        say "adding the bare-metal targets $X86 and $ARM to rustup's toolchain (20 s at most)"
        timeout 20 rustup target add $X86 $ARM >/dev/null 2>&1 || say "they cannot be had here"
    fi
fi
if new_enough cargo && have rustup && [ "$(rustup_targets)" = 2 ]; then
    printf 'cargo=cargo\nrustc=\nlinker=\n' >"$out/setup/toolchain"
    say "bare-metal targets: rustup's, linked with its own linker"
else
    debian_rust
fi
new_enough cargo || give_up "the cargo that comes first in PATH is older than 1.$OLDEST or does not work"

say "fetching crates, and building the harness and the guest programs once"
cargo fetch -q --locked
tests/harness.sh prepare
echo "$key" >"$out/setup/done"
say "done"
