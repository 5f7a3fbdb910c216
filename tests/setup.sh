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
# Where the guest's programs come from on a machine that is not Debian itself.
SUITE=bookworm
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
# The oldest compiler that builds the harness and the kernel.
OLDEST=88

. tests/install.sh
rm -f "$out/setup/bin"
PATH=$(realpath "$out")/setup/bin:$PATH

# minor CARGO: the minor version of a cargo that works, or nothing
minor() { "$1" --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p'; }

new_enough() { version=$(minor "$1"); [ -n "$version" ] && [ "$version" -ge "$OLDEST" ]; }

# The cargo of this machine's own programs can also check their form.
complete() { new_enough cargo && cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; }

# Where the system's own Rust is, if that is new enough and the source of its core library is there.
system_rust() {
    for bin in /usr/bin /usr/lib/rust-1.*/bin; do
        new_enough "$bin/cargo" && [ -d "$("$bin/rustc" --print sysroot)/lib/rustlib/src/rust/library" ] && return
    done
    return 1
}

# What the system's Rust consists of: Debian keeps a recent one for browsers, Ubuntu some beside one another.
rust_packages() {
    if available rustc-web; then
        echo rustc-web cargo-web rust-web-src rustfmt-web rust-web-clippy
        return
    fi
    newest=$(apt-cache pkgnames rustc-1. | sed -n 's/^rustc-1\.\([0-9]*\)$/\1/p' | sort -n | tail -n 1)
    if [ "${newest:-0}" -ge "$OLDEST" ]; then
        echo "rustc-1.$newest cargo-1.$newest rust-1.$newest-src rustfmt-1.$newest rust-1.$newest-clippy"
    else
        echo rustc cargo rust-src rustfmt rust-clippy
    fi
}

install_rust() {
    have apt-get || give_up "no usable Rust: install rustup, and with it: rustup target add $X86 $ARM"
    apt_update
    # One word for each package.
    # shellcheck disable=SC2046
    install "Rust, the source of its core library, and what checks form" $(rust_packages)
    system_rust || give_up "this system packages no Rust 1.$OLDEST or later.
setup: Install rustup, then: rustup target add $X86 $ARM; and run this again."
}

debian_rust() {
    system_rust || install_rust
    linker=
    for name in ld.lld-19 ld.lld-20 ld.lld-21 ld.lld-22; do
        have $name && { linker=$name; break; }
    done
    if [ -z "$linker" ]; then
        apt_update
        for version in 19 20 21 22; do
            available lld-$version && { install "the linker for both architectures" lld-$version; linker=ld.lld-$version; break; }
        done
        [ -n "$linker" ] || { install "the linker for both architectures" lld; linker=ld.lld; }
    fi
    printf 'cargo=%s/cargo\nrustc=%s/rustc\nlinker=%s\n' "$bin" "$bin" "$linker" >"$out/setup/toolchain"
    say "bare-metal targets: the system's compiler in $bin, with the core library built from source; linker $linker"
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
    origins() { apt-get indextargets --format '$(ORIGIN)' 'Created-By: Packages' 2>/dev/null; }
    origins | grep -q . || apt_update
    rm -f "$out/setup/debian.list"
    if [ -z "${POLLUX_APT_SOURCES:-}" ] && ! origins | grep -qx Debian; then
        # Ubuntu, say. Its debootstrap knows where Debian's packages are.
        [ -r "$KEYRING" ] || install "tells Debian's packages, which the guest runs, from others" debian-archive-keyring
        have debootstrap || install "knows where Debian's packages are" debootstrap
        mirror=$(sed -n 's/^DEF_MIRROR="\(.*\)"$/\1/p' "$(command -v debootstrap)")
        [ -n "$mirror" ] || give_up "please write a sources.list for Debian $SUITE and set POLLUX_APT_SOURCES to that file"
        echo "deb [signed-by=$KEYRING] $mirror $SUITE main" >"$out/setup/debian.list"
    fi
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
if ! complete && new_enough cargo && have rustup; then
    say "adding rustfmt and clippy to rustup's toolchain (60 s at most)"
    timeout 60 rustup component add rustfmt clippy >/dev/null 2>&1 || say "they cannot be had here"
fi
if ! complete; then
    # The other scripts and the recipes look here first.
    { system_rust && [ -x "$bin/cargo-fmt" ] && [ -x "$bin/cargo-clippy" ]; } || install_rust
    ln -sfn "$bin" "$out/setup/bin"
fi
complete || give_up "no cargo 1.$OLDEST or later with rustfmt and clippy was found or could be installed"

say "fetching crates, and building the harness and the guest programs once"
cargo fetch -q --locked
tests/harness.sh prepare
echo "$key" >"$out/setup/done"
say "done"
