//! What simulated programs are made of: a few operations on user memory and registers, and system calls. All that a
//! program remembers lies in its registers and its memory, so it is forked as a real one is.

/// The most threads, processes included, that one run has. Each is a *node* and is born at most once.
pub const NODES: usize = 64;
/// Pipes.
pub const PIPES: usize = 8;

/// Shared anonymous memory: every node sees the same.
pub const SHARED: usize = 0x1000_0000;
pub const SHARED_PAGES: usize = 2;
/// Private anonymous memory, copied on fork.
pub const PRIVATE: usize = 0x2000_0000;
pub const PRIVATE_PAGES: usize = 2 * NODES + 2;
/// Stacks, one per node.
pub const STACKS: usize = 0x3000_0000;
pub const STACK_PAGES: usize = 2 * NODES;

/// Where a node's process or thread id stands for all to see; 0 before it is known.
pub const fn id_word(node: u8) -> usize {
    SHARED + node as usize * 4
}

/// A futex word that all share.
pub const fn shared_word(word: u8) -> usize {
    SHARED + 0x1000 + word as usize * 4
}

/// A futex word of the process, at the same place in each.
pub const fn private_word(word: u8) -> usize {
    PRIVATE + 2 * NODES * 0x1000 + word as usize * 4
}

/// The word that the kernel zeroes when the thread of a node ends.
pub const fn join_word(node: u8) -> usize {
    PRIVATE + 2 * NODES * 0x1000 + 0x800 + node as usize * 4
}

/// The two descriptors of a pipe.
pub const fn pipe_word(pipe: u8, write: bool) -> usize {
    PRIVATE + 2 * NODES * 0x1000 + 0x400 + pipe as usize * 8 + write as usize * 4
}

/// The last descriptor of a process that a node has got, in its process's memory.
pub const fn pidfd_word(node: u8) -> usize {
    PRIVATE + 2 * NODES * 0x1000 + 0xa00 + node as usize * 4
}

/// A node's own page for results.
pub const fn scratch(node: u8) -> usize {
    PRIVATE + node as usize * 0x2000
}

/// A node's own page for data.
pub const fn buffer(node: u8) -> usize {
    scratch(node) + 0x1000
}

/// The initial stack pointer of a node.
pub const fn stack_top(node: u8) -> usize {
    STACKS + (node as usize + 1) * 0x2000
}

/// An argument of a system call.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    Is(usize),
    /// The 32-bit word of user memory there.
    Word(usize),
    /// The same, negated.
    Minus(usize),
}

/// Whom a wait or a signal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    Any,
    Node(u8),
    OwnGroup,
    GroupOf(u8),
}

/// What a system call means to the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Makes `child`; `thread` in the same process.
    Clone {
        child: u8,
    },
    Gettid,
    Wait {
        options: u32,
    },
    Waitid {
        options: u32,
    },
    /// pidfd_open(2).
    PidfdOpen,
    PidfdSend {
        signal: u8,
    },
    /// waitid(2) with P_PIDFD.
    PidfdWait {
        options: u32,
    },
    /// poll(2) of a pidfd.
    PidfdPoll {
        timed: bool,
    },
    Exit {
        code: u8,
    },
    ExitGroup {
        code: u8,
    },
    Kill {
        whom: Whom,
        signal: u8,
    },
    Tgkill {
        node: u8,
        signal: u8,
    },
    /// rt_sigqueueinfo(2), or with `thread` rt_tgsigqueueinfo(2).
    Sigqueue {
        signal: u8,
        value: u32,
        thread: bool,
    },
    Sigtimedwait {
        set: u64,
        timed: bool,
    },
    Sigpending,
    /// rt_sigprocmask(2): `how`, with `set`; the old mask is not asked for.
    Mask {
        how: u32,
        set: u64,
    },
    /// rt_sigprocmask(2) that only asks.
    AskMask,
    Sigsuspend {
        set: u64,
    },
    FutexWait {
        addr: usize,
        value: u32,
        timed: bool,
    },
    FutexWake {
        addr: usize,
    },
    Requeue,
    Pipe {
        pipe: u8,
    },
    Read {
        pipe: u8,
        len: usize,
    },
    Write {
        pipe: u8,
        write: u16,
        records: u16,
    },
    Close,
    Sigaction {
        signal: u8,
        handler: usize,
        nocldwait: bool,
        /// What is blocked while the handler runs.
        blocks: u64,
    },
    Setpgid,
    Setsid,
    Exec,
    Yield,
    Sleep,
    Pause,
    Subreaper,
    /// A call of a handler, inside which the call that it interrupted is still to come back.
    InHandler,
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// Loads number and arguments of a system call.
    Load {
        nr: u32,
        args: [Arg; 6],
    },
    /// The system call instruction.
    Trap(Call),
    /// The next instruction: the checks see the result.
    Done(Call),
    /// Stores the last result.
    StoreResult(usize),
    Store(usize, u32),
    Add(usize, u32),
    /// Copies a word: from, to.
    Copy(usize, usize),
    Jump(usize),
    /// Jumps if the last result is within these bounds.
    JumpIfResult(isize, isize, usize),
    JumpIfWord(usize, u32, usize),
    JumpUnlessWord(usize, u32, usize),
    /// Fills the buffer with the records of a write.
    Fill {
        node: u8,
        write: u16,
        records: u16,
    },
    /// A handler begins.
    Handled,
    /// The first of a program that was executed: here goes on who called execve.
    Become(u8),
    /// Nothing may come here.
    Unreachable,
    /// The memory in use is noted.
    Baseline,
    /// The first process has seen the last of its children.
    AllReaped,
}

/// What a run does: made by [`crate::plan`].
pub struct Plan {
    pub ops: Vec<Op>,
    /// Where each node starts.
    pub entry: Vec<usize>,
    /// The node that made it, and the node whose process it is part of.
    pub maker: Vec<u8>,
    pub home: Vec<u8>,
    pub flags: Vec<u64>,
    /// Its maker got a descriptor of it.
    pub pidfd: Vec<bool>,
    /// Somebody closes descriptors, of others too who share the table, so that a number may soon name another file.
    pub closes: bool,
    pub cpus: usize,
    /// Some signal has a handler.
    pub handlers: bool,
    /// Some process sees no zombies.
    pub nocldwait: bool,
    pub writes: usize,
    /// Values that were sent with signals.
    pub values: u32,
    pub handler: usize,
    /// Of a thousand requests for memory, so many are refused, and of a thousand accesses to user memory so many fault.
    pub shortage: usize,
    pub faults: usize,
    /// Where the executables start.
    pub executables: Vec<usize>,
}

/// One record of pipe data: the number of the write and of the record in it, twice, once scrambled.
pub const RECORD: usize = 16;

pub fn record(write: u16, at: u16) -> [u8; RECORD] {
    let word = u64::from(write) << 16 | u64::from(at);
    let mut bytes = [0; RECORD];
    bytes[..8].copy_from_slice(&word.to_ne_bytes());
    bytes[8..].copy_from_slice(&word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_ne_bytes());
    bytes
}

/// The write and the number in it that a record names; `None` if it is none.
pub fn decode(bytes: &[u8]) -> Option<(u16, u16)> {
    let word = u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?);
    let (write, at) = ((word >> 16) as u16, word as u16);
    (record(write, at)[..] == *bytes).then_some((write, at))
}
