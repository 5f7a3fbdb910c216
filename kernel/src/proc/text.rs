//! Files whose text is made when they are read.
//!
//! The text of a file is made as a whole by the first read at its start and served from a buffer until the next read
//! there. Making it may have to wait (for an address space's lock, for a page): it is then a future, which
//! each attempt to read polls with a waker that notifies the file's queue. So a read that would wait is
//! [`Error::WouldBlock`], as for every other file, and closing the file drops what was begun.
//!
//! The future is polled with no lock held: it may take any lock of the kernel. `state` guards the buffer only.

use super::table::Subject;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use base::{Errno, Error, Events, Result, rank};
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use executor::WaitQueue;
use executor::spin::SpinLock;
use memory::io::{Dst, Src};
use vfs::file::{Extent, read_result};
use vfs::{Caller, File};

/// The longest text that a write may store.
const MAX_STORE: usize = 4096;

/// Text in the making. Writing fails, as ENOMEM, where there is no memory for more.
#[derive(Default)]
pub struct Buffer(Vec<u8>);

impl Buffer {
    /// Adds bytes that need not be text.
    pub fn push(&mut self, bytes: &[u8]) -> fmt::Result {
        if self.0.capacity() - self.0.len() < bytes.len() {
            let more = bytes.len().max(self.0.len()).max(256);
            memory::admit(more).map_err(|_| fmt::Error)?;
            self.0.try_reserve(more).map_err(|_| fmt::Error)?;
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Forgets what is behind the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

impl fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes())
    }
}

/// Why a text could not be made.
pub struct Failed(Error);

impl From<fmt::Error> for Failed {
    /// Only a buffer without memory refuses to be written.
    fn from(_: fmt::Error) -> Failed {
        Failed(Errno::ENOMEM.into())
    }
}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Failed {
        Failed(errno.into())
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed(error)
    }
}

/// The result of writing a text.
pub type Shown = core::result::Result<(), Failed>;

/// A text that may have to be waited for.
pub type Making = Pin<Box<dyn Future<Output = core::result::Result<Buffer, Failed>> + Send>>;

/// How a text is made.
pub enum Show<S> {
    /// At once.
    Now(fn(&S, &mut Buffer) -> Shown),
    /// It may have to wait.
    Later(fn(S) -> Making),
}

/// Takes what was written to a file.
pub type Store<S> = fn(&S, &Caller, &[u8]) -> Result<()>;

/// A file of text.
pub struct Text<S> {
    /// Its mode.
    pub mode: u32,
    /// Only who may inspect the process may open it (ptrace(2), PTRACE_MODE_READ).
    pub private: bool,
    /// What it shows.
    pub show: Show<S>,
    /// What a write does; `None` for files that are only read.
    pub store: Option<Store<S>>,
}

impl<S> Text<S> {
    /// Readable by all, made at once.
    pub const fn new(show: fn(&S, &mut Buffer) -> Shown) -> Text<S> {
        Text { mode: 0o444, private: false, show: Show::Now(show), store: None }
    }

    /// Readable by all; making it may wait.
    pub const fn later(show: fn(S) -> Making) -> Text<S> {
        Text { mode: 0o444, private: false, show: Show::Later(show), store: None }
    }

    /// Only for the owner to write; reading is EIO.
    pub const fn write_only(store: Store<S>) -> Text<S> {
        Text { mode: 0o200, private: false, show: Show::Now(|_, _| Err(Errno::EIO.into())), store: Some(store) }
    }

    /// The same for the owner to write.
    pub const fn store(self, store: Store<S>) -> Text<S> {
        Text { mode: self.mode | 0o200, private: self.private, show: self.show, store: Some(store) }
    }

    /// The same for those only who may inspect the process.
    pub const fn private(self, mode: u32) -> Text<S> {
        Text { mode, private: true, show: self.show, store: self.store }
    }
}

/// Notifies the readers of a file that its text goes on being made.
struct Alarm {
    queue: WaitQueue,
    /// Set by a wake, so that one which comes while the future is polled is not lost on other readers.
    rung: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        self.queue.notify_all(Events::READABLE.bits());
    }
}

/// How far the text is.
enum State {
    /// Nobody has read yet, or the last attempt failed.
    Empty,
    /// Being made; `None` while somebody polls it.
    Making(Option<Making>),
    /// Made. Once `begun`, a read at the start makes it anew.
    Ready { bytes: Arc<Vec<u8>>, begun: bool },
}

/// An open file of text.
pub struct TextFile<S: Subject> {
    subject: S,
    text: &'static Text<S>,
    state: SpinLock<State>,
    alarm: Arc<Alarm>,
}

impl<S: Subject> TextFile<S> {
    /// `text` about `subject`, not read yet.
    pub fn new(subject: S, text: &'static Text<S>) -> TextFile<S> {
        let alarm = Arc::new(Alarm { queue: WaitQueue::new(), rung: AtomicBool::new(false) });
        TextFile { subject, text, state: SpinLock::new(rank::PROC_TEXT, State::Empty), alarm }
    }

    /// The future to poll for a read at `pos`; `None` if the text is there.
    fn begin(&self, pos: u64) -> Result<Option<Making>> {
        let mut state = self.state.lock();
        let begun = match &mut *state {
            State::Ready { begun, .. } if pos > 0 || !*begun => return Ok(None),
            State::Making(making) => Some(making.take().ok_or(Error::WouldBlock)?),
            State::Ready { .. } | State::Empty => None,
        };
        let old = core::mem::replace(&mut *state, State::Making(None));
        drop(state);
        drop(old);
        Ok(Some(begun.unwrap_or_else(|| self.start())))
    }

    fn start(&self) -> Making {
        match self.text.show {
            Show::Later(show) => show(self.subject.clone()),
            Show::Now(show) => {
                let mut buffer = Buffer::default();
                let shown = show(&self.subject, &mut buffer);
                Box::pin(core::future::ready(shown.map(|()| buffer)))
            }
        }
    }

    fn set(&self, new: State) {
        let old = core::mem::replace(&mut *self.state.lock(), new);
        drop(old);
    }

    fn advance(&self, mut making: Making) -> Result<()> {
        let waker = Waker::from(self.alarm.clone());
        self.alarm.rung.store(false, Ordering::SeqCst);
        match making.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                self.set(State::Making(Some(making)));
                if self.alarm.rung.load(Ordering::SeqCst) {
                    self.alarm.queue.notify_all(Events::READABLE.bits());
                }
                Err(Error::WouldBlock)
            }
            Poll::Ready(result) => {
                let (new, result) = match result {
                    Ok(buffer) => (State::Ready { bytes: Arc::new(buffer.0), begun: false }, Ok(())),
                    Err(Failed(error)) => (State::Empty, Err(error)),
                };
                self.set(new);
                self.alarm.queue.notify_all(Events::READABLE.bits());
                result
            }
        }
    }

    fn put(&self, caller: &Caller, src: &mut Src) -> Result<usize> {
        let store = self.text.store.ok_or(S::READ_ONLY)?;
        let len = src.remaining();
        if len > MAX_STORE {
            return Err(Errno::EINVAL.into());
        }
        let mut bytes = Vec::new();
        bytes.try_reserve(len).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(len, 0);
        let n = src.take(&mut bytes);
        if n < len {
            src.rewind(n);
            return src.take_fault().map_or(Err(Errno::EFAULT.into()), |fault| Err(fault.into()));
        }
        store(&self.subject, caller, &bytes)?;
        self.set(State::Empty);
        Ok(len)
    }
}

impl<S: Subject> File for TextFile<S> {
    fn prepares(&self) -> bool {
        true
    }

    fn prepare(&self, _: &Caller, pos: u64) -> Result<()> {
        match self.begin(pos)? {
            None => Ok(()),
            Some(making) => self.advance(making),
        }
    }

    fn read(&self, _: &Caller, pos: u64, dst: &mut Dst) -> Result<usize> {
        let bytes = match &*self.state.lock() {
            State::Ready { bytes, .. } => bytes.clone(),
            _ => {
                // Another reader has gone back to the start since `prepare`: once more from there.
                self.alarm.queue.notify_all(Events::READABLE.bits());
                return Err(Error::WouldBlock);
            }
        };
        let from = usize::try_from(pos).unwrap_or(usize::MAX).min(bytes.len());
        let rest = &bytes[from..];
        let n = dst.put(rest);
        if (n > 0 || rest.is_empty())
            && let State::Ready { begun, .. } = &mut *self.state.lock()
        {
            *begun = true;
        }
        read_result(n, dst)
    }

    /// At the start only: a value is written as a whole.
    fn write(&self, caller: &Caller, pos: u64, src: &mut Src) -> Result<usize> {
        if pos != 0 {
            return Err(Errno::EINVAL.into());
        }
        self.put(caller, src)
    }

    fn append(&self, caller: &Caller, src: &mut Src) -> Result<(usize, u64)> {
        let n = self.put(caller, src)?;
        Ok((n, n as u64))
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.alarm.queue)
    }

    fn seekable(&self) -> bool {
        true
    }

    /// Nobody knows the length before the end is read.
    fn size(&self) -> Result<u64> {
        Err(Errno::EINVAL.into())
    }

    fn seek_extent(&self, _: u64, _: Extent) -> Result<u64> {
        Err(Errno::EINVAL.into())
    }
}
