//! An open terminal. One of these belongs to each open file description; it remembers since which hangup it has been open.

use crate::ioctl::{self, End};
use crate::tty::Tty;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Capability, Errno, Events, Result};
use core::any::Any;
use executor::WaitQueue;
use linux_raw_sys::general::{SIGTTIN, SIGTTOU};
use linux_raw_sys::ioctl::TIOCSPGRP;
use memory::io::{Dst, Src};
use vfs::{Caller, Device, File, FileType, Inode, Metadata, OpenFlags};

/// How a terminal is opened.
pub struct Opening {
    /// The flags of open(2).
    pub flags: OpenFlags,
    /// It may become the caller's controlling terminal, if O_NOCTTY does not forbid that.
    pub may_control: bool,
    /// A hangup of the terminal does not reach this file (/dev/console).
    pub survives_hangup: bool,
    /// The inode that it was opened by, where the description does not know one (TIOCGPTPEER).
    pub node: Option<Arc<dyn Inode>>,
}

/// An open terminal.
pub struct TtyFile {
    tty: Arc<Tty>,
    generation: u32,
    survives_hangup: bool,
    readable: bool,
    node: Option<Arc<dyn Inode>>,
}

impl Tty {
    /// Opens the terminal: EBUSY while TIOCEXCL holds (except with CAP_SYS_ADMIN), EIO without a far end. Unless O_NOCTTY is
    /// given it becomes the controlling terminal of a caller that leads a session without one.
    pub fn open(self: &Arc<Tty>, caller: &Caller, opening: Opening) -> Result<Arc<dyn File>> {
        let (generation, first) = {
            let mut state = self.lock();
            if !state.line_alive {
                return Err(Errno::EIO.into());
            }
            if state.exclusive && state.opens > 0 && !caller.cred.has(Capability::SysAdmin) {
                return Err(Errno::EBUSY.into());
            }
            state.opens += 1;
            let first = state.opens == 1;
            if first {
                self.line().opened(true);
            }
            (state.generation, first)
        };
        if first {
            self.line().wake();
        }
        if opening.may_control && !opening.flags.contains(OpenFlags::NOCTTY) && opening.flags.readable() {
            self.claim_on_open(caller);
        }
        Ok(Arc::new(TtyFile {
            tty: self.clone(),
            generation,
            survives_hangup: opening.survives_hangup,
            readable: opening.flags.readable(),
            node: opening.node,
        }))
    }
}

impl TtyFile {
    /// The terminal.
    pub fn tty(&self) -> &Arc<Tty> {
        &self.tty
    }

    fn hung_up(&self) -> bool {
        !self.survives_hangup && self.tty.lock().generation != self.generation
    }
}

impl File for TtyFile {
    fn read(&self, caller: &Caller, _pos: u64, dst: &mut Dst) -> Result<usize> {
        if self.hung_up() {
            return Ok(0);
        }
        self.tty.check_background(caller, SIGTTIN)?;
        self.tty.read(!caller.nonblock(), dst)
    }

    fn read_deadline(&self, since: u64) -> Option<u64> {
        self.tty.read_deadline(since)
    }

    fn timeless_queue(&self, _events: Events) -> Option<&WaitQueue> {
        // VTIME may be set at any time.
        None
    }

    fn write(&self, caller: &Caller, _pos: u64, src: &mut Src) -> Result<usize> {
        if self.hung_up() {
            return Err(Errno::EIO.into());
        }
        if self.tty.stops_background_output() {
            self.tty.check_background(caller, SIGTTOU)?;
        }
        self.tty.write(src)
    }

    fn poll(&self, _caller: &Caller) -> Events {
        if self.hung_up() {
            return Events::IN | Events::OUT | Events::RDNORM | Events::WRNORM | Events::ERR | Events::HUP;
        }
        self.tty.ready()
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(self.tty.queue())
    }

    fn metadata(&self) -> Metadata {
        match &self.node {
            Some(node) => node.metadata(),
            None => {
                let mut m = Metadata::new(Device::default(), 1, FileType::CharDevice, 0o620, vfs::clock::now());
                m.rdev = self.tty.device();
                m
            }
        }
    }

    fn label(&self) -> Vec<u8> {
        match self.tty.pty() {
            Some(index) => format!("/dev/pts/{index}").into_bytes(),
            None => b"/dev/console".to_vec(),
        }
    }

    fn ioctl(&self, caller: &Caller, request: u32, arg: usize) -> Result<usize> {
        if self.hung_up() {
            return Err(if request == TIOCSPGRP { Errno::ENOTTY } else { Errno::EIO }.into());
        }
        ioctl::ioctl(&self.tty, End::Terminal { readable: self.readable }, caller, request, arg)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn close(&self) {
        {
            let mut state = self.tty.lock();
            if state.generation != self.generation || state.opens == 0 {
                return;
            }
            state.opens -= 1;
            if state.opens > 0 {
                return;
            }
            state.exclusive = false;
            self.tty.line().opened(false);
        }
        self.tty.line().wake();
    }
}
