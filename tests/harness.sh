#!/bin/sh
# Builds the harness and becomes it. Not `cargo run`, because a failed build would end with the status of a panic.
cd "$(dirname "$0")/.." || exit 2
PATH=$(realpath "${CARGO_TARGET_DIR:-target}")/setup/bin:$PATH
cargo build --quiet --locked --package tests --bin harness || exit 2
exec "${CARGO_TARGET_DIR:-target}/debug/harness" "$@"
