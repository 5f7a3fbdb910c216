#!/bin/sh
# test-debug.sh ARCH HARNESS: what `just debug` promises, by a debugger that follows a script; and with its help what no
# program can provoke: that the kernel's text cannot be written, that its data cannot be executed, and that below each
# CPU's stack lies nothing.
set -u
arch=$1; harness=$2
cd "$(dirname "$0")/.."
out=${CARGO_TARGET_DIR:-target}
passed=0; failed=0
# Built before any clock runs.
$harness debug-image "$arch" >/dev/null || exit 1

debug() { POLLUX_APPEND='rdinit=/bin/true' timeout 300 tests/debug.sh "$arch" "$harness" -nx -batch -ex 'set confirm off' "$@" 2>&1; }

# check NAME TEXT PATTERN...: each pattern is in the text
check() {
    name=$1; seen=$2; shift 2
    for pattern in "$@"; do
        if ! printf '%s\n' "$seen" | grep -qE -- "$pattern"; then
            echo "test debug: $name ... FAILED: no '$pattern' in:"; printf '%s\n' "$seen" | tail -n 25
            failed=$((failed + 1)); return
        fi
    done
    echo "test debug: $name ... ok"; passed=$((passed + 1))
}

# provoke GDB-COMMAND: once the kernel is on its own page tables, changes a register and goes on; prints the panic
provoke() {
    debug -ex 'hbreak kernel::boot::boot' -ex continue -ex delete -ex 'break arch::imp::power::halt' \
        -ex 'set language c' -ex "$1" -ex continue -ex kill >"$out/test-debug.txt"
    cat "$out/test-debug.txt" "$out/last-$arch.log"
}

case $arch in
x86_64)
    stack='set $rsp = 0xffffffffc0001000'; below='cr2 0xffffffffc0000ff8'
    text='set $rsp = 0xffffffff80201000'; write='cr2 0xffffffff80200ff8'
    data='set $pc = $rsp'; fetch='exception 14 in kernel mode, error 0x11' ;;
aarch64)
    stack='set $sp = (long)$sp & ~0xffff'; below='kernel stack overflow on CPU'
    text='set $sp = (long)$pc & ~0xfff'; write='ESR 0x9600004f'
    data='set $pc = $sp'; fetch='ESR 0x8600000f' ;;
esac

check breakpoints_stop_and_a_backtrace_has_names "$(debug -ex 'hbreak process::exit::finish' -ex continue -ex bt -ex kill)" \
    'process::exit::finish .*status=0' 'syscalls::run' 'executor::cpu' 'kernel::boot::boot'
check a_stack_that_overflows_meets_an_unmapped_page "$(provoke "$stack")" 'Kernel panic' "$below"
check the_kernel_s_text_cannot_be_written "$(provoke "$text")" 'Kernel panic' "$write"
check the_kernel_s_data_cannot_be_executed "$(provoke "$data")" 'Kernel panic' "$fetch"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
