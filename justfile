# Everything a person runs. Longer logic lives in tests/ (the harness and its scripts).
set positional-arguments
set shell := ["sh", "-eu", "-c"]

# Variables: just smp=4 mem=2G append='...' limit=60 qemu-x86 ...
smp := ""
mem := ""
append := ""
limit := ""
# The root file system: a file in userland/recipes.
recipe := "busybox"
# The kernel: ours, peer (Debian's stock kernel), or the path of an image.
kernel := "ours"
# How long each stressor is run.
seconds := ""

# Setup leaves a cargo there if the one of the machine's own would not do.
export PATH := absolute_path(env("CARGO_TARGET_DIR", "target")) / "setup/bin" + ":" + env("PATH")
export POLLUX_SMP := smp
export POLLUX_MEM := mem
export POLLUX_APPEND := append
export POLLUX_LIMIT := limit
export POLLUX_RECIPE := recipe
export POLLUX_KERNEL := kernel
export POLLUX_SECONDS := seconds

harness := "tests/harness.sh"

# list the recipes
_default:
    @just --list --unsorted

# install what building and running need (implied by the others)
[no-exit-message]
setup:
    @tests/setup.sh

# boot x86_64: a shell, or one command: just qemu-x86 sh -c 'echo hi'
[no-exit-message]
qemu-x86 *command: setup
    @{{harness}} qemu x86_64 "$@"

# boot aarch64: a shell, or one command
[no-exit-message]
qemu-aarch64 *command: setup
    @{{harness}} qemu aarch64 "$@"

# build the kernel for x86_64 or aarch64; print the path of the file that QEMU's -kernel takes
[no-exit-message]
image arch: setup
    @{{harness}} image "$1"

# build a root file system; print the path of the archive that QEMU's -initrd takes
[no-exit-message]
initramfs arch name=recipe: setup
    @{{harness}} initramfs "$1" "$2"

# run a server in a guest and load it: just serve redis [x86_64|aarch64]
[no-exit-message]
serve name arch="x86_64": setup
    @POLLUX_RECIPE="$1" POLLUX_LIMIT="${POLLUX_LIMIT:-900}" {{harness}} qemu "$2" serve

# compare costs with Debian's stock kernel: just bench [x86_64|aarch64] [ROW...] [redis] [peer] [known=1] [record=1]
[no-exit-message]
bench *what: setup
    @{{harness}} bench "$@"

# show where a benchmark's instructions are spent: just profile x86_64 ROW [FUNCTION...] (then by line)
[no-exit-message]
profile arch row *functions: setup
    @{{harness}} profile "$@"

# run everything that tests something
test: lint test-host test-models test-sim (test-guest "x86_64") (test-guest "aarch64")

# run the tests of the development machine
test-host: setup
    cargo test --quiet --locked

# run the loom models of the executor: every interleaving of its lock-free parts
test-models: setup
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom" RUSTFLAGS="--cfg loom" cargo test --quiet --locked --package executor --release loom

# run random programs from seeds that no run had before
test-sim seeds="20000": setup
    @cargo build --quiet --locked --package sim --profile sim
    @"${CARGO_TARGET_DIR:-target}/sim/sim" fresh=1 seeds="$1"

# run the conformance tests in the guest (also with a kernel that checks its locks), use its shell, end it in every way: just test-guest x86_64 [1,4]
[no-exit-message]
test-guest arch cpus="1,4": setup
    @{{harness}} test-guest "$1" "$2"
    @{{harness}} test-shell "$1"
    @{{harness}} test-machine "$1"

# run the conformance tests on Debian's stock kernel, which is the reference
[no-exit-message]
test-peer arch="x86_64" cpus="1,4": setup
    @POLLUX_KERNEL=peer {{harness}} test-guest "$1" "$2"
    @POLLUX_KERNEL=peer {{harness}} test-shell "$1"
    @POLLUX_KERNEL=peer {{harness}} test-machine "$1"

# run busybox's own test suite on Debian's stock kernel and on ours, and compare: just test-busybox x86_64 [APPLET...]
[no-exit-message]
test-busybox arch *applets: setup
    @{{harness}} test-busybox "$@"

# run shell scripts about processes on Debian's stock kernel and on ours, and compare: just smp=4 test-scripts x86_64 [NAME...]
[no-exit-message]
test-scripts arch *names: setup
    @{{harness}} test-scripts "$@"

# drive Debian's shells and script(1) by expect, and look with its tools, on its stock kernel and on ours: just test-jobs x86_64 [TOPIC...]
[no-exit-message]
test-jobs arch *topics: setup
    @{{harness}} test-jobs "$@"

# run CPython's tests about processes on Debian's stock kernel and on ours, and compare: just smp=4 test-python x86_64 [MODULE...]
[no-exit-message]
test-python arch *modules: setup
    @{{harness}} test-python "$@"

# run the selftests of Debian's kernel about processes on it and on ours, and compare: just smp=4 selftests x86_64 [DIRECTORY...]
[no-exit-message]
selftests arch *directories: setup
    @{{harness}} selftests "$@"

# run Debian's stress-ng on its stock kernel and on ours, each stressor alone and all together: just smp=4 seconds=60 stress x86_64 [STRESSOR...]
[no-exit-message]
stress arch *stressors: setup
    @{{harness}} stress "$@"

# make and end a million processes and a million threads on all CPUs; memory in use must be as before: just smp=4 cycles x86_64 [COUNT]
[no-exit-message]
cycles arch count="1000000": setup
    @{{harness}} cycles "$1" "$2"

# run random programs on the simulated machine: just sim seeds=1000 [from=K], just sim seed=K [trace=1]
[no-exit-message]
sim *what: setup
    @cargo build --quiet --locked --package sim --profile sim
    @"${CARGO_TARGET_DIR:-target}/sim/sim" "$@"

# run a command on a kernel with trace points: just trace x86_64 sh -c 'echo hi | cat'
[no-exit-message]
trace arch *command: setup
    @{{harness}} trace "$@"

# check form and lints, for this machine and both targets
lint: setup
    cargo fmt --all --check
    cd userland && cargo fmt --all --check
    cargo clippy --quiet --locked --all-targets -- -D warnings
    @{{harness}} lint-guest

# boot under a debugger: gdb attached, symbols loaded: just debug ARCH [GDB OPTION...]
[no-exit-message]
debug arch="x86_64" *options: setup
    @arch="$1"; [ $# -eq 0 ] || shift; tests/debug.sh "$arch" {{harness}} "$@"

# drive that debugger by a script, and see with it that the kernel's memory is protected from itself
[no-exit-message]
test-debug arch="x86_64": setup
    @tests/test-debug.sh "$1" {{harness}}

# remove everything that was made
clean:
    cargo clean --quiet
