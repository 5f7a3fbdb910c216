//! The lock order: every spin lock of the kernel, outermost first. A CPU takes locks in rising rank;
//! debug builds check it at each `lock()`. The executor's own locks are innermost of all.

use executor::spin::Rank;

macro_rules! ranks {
    ($($(#[$doc:meta])* $name:ident = $order:literal, $text:literal;)*) => {
        $($(#[$doc])* pub const $name: Rank = Rank::new($order, $text);)*
    };
}

ranks! {
    /// Parents and children, groups, sessions, exit states (`process::tree`).
    TREE = 20, "process tree";
    /// One process's place in the tree, under TREE.
    LINKS = 22, "process links";
    /// The members of one process group, under TREE.
    GROUP = 23, "process group";
    /// The pid table.
    PIDS = 24, "pids";
    /// Controlling terminals by session.
    TERMINALS = 26, "controlling terminals";
    /// A process's pending signals, stop state and threads.
    PROCESS = 28, "process";
    /// Signal actions, which processes may share.
    ACTIONS = 32, "signal actions";
    /// A thread's pending signals.
    THREAD_SIGNALS = 36, "thread signals";
    /// A process's timers by id.
    TIMERS = 37, "timers";
    /// Who waits for which priority-inheriting futex.
    FUTEX_PI = 38, "priority inheritance";
    /// A bucket of the futex table.
    FUTEX = 39, "futex";
    /// What of a thread others may look at: its name, descriptor table, address space.
    THREAD = 40, "thread";
    /// A process's interval timer.
    ALARM = 41, "interval timer";
    /// Threads per user.
    USERS = 42, "threads per user";
    /// What a number names, under THREAD while a thread is born.
    PID = 43, "pid";
    /// Where a thread's futex wait was moved to, under FUTEX.
    FUTEX_MOVED = 46, "moved futex";
    /// The System V IPC objects of one kind, by id and by key.
    IPC_REGISTRY = 47, "ipc registry";
    /// One System V IPC object.
    IPC_OBJECT = 48, "ipc object";
    /// The pages of a shared memory segment.
    IPC_PAGES = 49, "segment pages";
    /// The text of an open file of /proc; nothing is taken under it.
    PROC_TEXT = 18, "text of a proc file";
    /// What other layers added to /proc.
    PROC_FILES = 131, "files added to /proc";
    /// What terminals and devices there are.
    DEVICES = 132, "device table";
    /// The random number generator.
    RANDOM = 200, "random";
    /// The kernel log.
    LOG = 210, "log";
    /// The console's output queue.
    CONSOLE = 220, "console";
}
