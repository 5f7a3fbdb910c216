//! Job control (credentials(7), setsid(2), tcsetpgrp(3), ioctl_tty(2)): whose terminal it is, and what becomes of those
//! who use it from the background.
//!
//! Two sides know of the association: the terminal its session and foreground group (under its lock), the
//! session its terminal (in the process layer). A terminal is claimed on its own side first and then in the process layer, which
//! decides between two threads that claim different ones; it is released in the same order.

use crate::tty::{State, Tty};
use alloc::sync::Arc;
use base::{Capability, Errno, Error, Restart, Result};
use linux_raw_sys::general::{SIGCONT, SIGHUP, SIGTTIN, SIGTTOU};
use vfs::Caller;

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its session.
    pub session: u32,
    /// Its process group.
    pub group: u32,
    /// Whether it is the session's leader.
    pub leader: bool,
    /// Whether it has a controlling terminal: its session has one, and it has not given it up (TIOCNOTTY).
    pub attached: bool,
}

/// What terminals need of the process layer, which implements it. Ids are those of the initial pid namespace, except where a
/// method says otherwise; signals are their numbers. Called with no lock of this crate held; nothing may wait.
pub trait Jobs: Send + Sync {
    /// Where process `process` stands; `None` if there is no such process.
    fn place(&self, process: u32) -> Option<Place>;

    /// The session that process group `group` belongs to; `None` if there is no such group.
    fn session_of(&self, group: u32) -> Option<u32>;

    /// Whether `group` is orphaned: no member has a parent in another group of the session.
    fn is_orphaned(&self, group: u32) -> bool;

    /// Sends `signal`, as from the kernel, to every process of `group`.
    fn signal_group(&self, group: u32, signal: u32);

    /// Sends `signal`, as from the kernel, to the leader of `session`.
    fn signal_leader(&self, session: u32, signal: u32);

    /// Whether thread `thread` blocks `signal` or its process ignores it.
    fn ignores(&self, thread: u32, signal: u32) -> bool;

    /// The controlling terminal of `process` (see [`Place::attached`]).
    fn terminal(&self, process: u32) -> Option<Arc<Tty>>;

    /// Makes `terminal` the controlling terminal of `session`, for all its processes. False, and nothing done, if it has one.
    fn claim(&self, session: u32, terminal: Arc<Tty>) -> bool;

    /// `session` has no controlling terminal any more. `foreground`, if not 0, was hung up under it: the group is kept for
    /// [`Jobs::lost_foreground`].
    fn release(&self, session: u32, foreground: u32);

    /// Takes out the foreground group that [`Jobs::release`] noted; 0 if none.
    fn lost_foreground(&self, session: u32) -> u32;

    /// `process`, which is not a leader, gives its controlling terminal up for itself.
    fn detach(&self, process: u32);

    /// The id `id` (of a group or session) as `process` sees it in its pid namespace; 0 if it does not.
    fn seen_by(&self, _process: u32, id: u32) -> u32 {
        id
    }

    /// The inverse of [`Jobs::seen_by`]; `None` if there is no such group.
    fn named_by(&self, _process: u32, id: u32) -> Option<u32> {
        Some(id)
    }
}

impl Tty {
    /// Whether this is the controlling terminal of a process that stands at `place`.
    fn controls(state: &State, place: &Place) -> bool {
        place.attached && state.session == place.session
    }

    /// Stops the caller from using its terminal from the background. `signal` is SIGTTIN for a read, SIGTTOU for output and changes.
    ///
    /// | caller | SIGTTIN | SIGTTOU |
    /// |---|---|---|
    /// | in the foreground, or this is not its terminal | goes on | goes on |
    /// | blocks or ignores the signal | EIO | goes on |
    /// | its group is orphaned | EIO | EIO |
    /// | else | the group is signalled, the call restarted | the same |
    pub(crate) fn check_background(&self, caller: &Caller, signal: u32) -> Result<()> {
        let (session, foreground) = {
            let state = self.lock();
            (state.session, state.foreground)
        };
        if session == 0 || foreground == 0 {
            return Ok(());
        }
        let Some(place) = self.jobs().place(caller.process) else { return Ok(()) };
        if !place.attached || place.session != session || place.group == foreground {
            return Ok(());
        }
        if self.jobs().ignores(caller.thread, signal) {
            return if signal == SIGTTIN { Err(Errno::EIO.into()) } else { Ok(()) };
        }
        if self.jobs().is_orphaned(place.group) {
            return Err(Errno::EIO.into());
        }
        self.jobs().signal_group(place.group, signal);
        Err(Error::Interrupted(Restart::IfAsked))
    }

    /// Makes this the controlling terminal of the session that the process at `place` leads, if both are free.
    /// EPERM if not.
    pub(crate) fn claim(self: &Arc<Tty>, place: &Place) -> Result<()> {
        {
            let mut state = self.lock();
            if state.session != 0 || !state.line_alive {
                return Err(Errno::EPERM.into());
            }
            state.session = place.session;
            state.foreground = place.group;
        }
        if self.jobs().claim(place.session, self.clone()) {
            return Ok(());
        }
        let mut state = self.lock();
        if state.session == place.session {
            (state.session, state.foreground) = (0, 0);
        }
        Err(Errno::EPERM.into())
    }

    /// Opening a terminal without O_NOCTTY makes it the controlling one of a session leader that has none.
    pub(crate) fn claim_on_open(self: &Arc<Tty>, caller: &Caller) {
        let Some(place) = self.jobs().place(caller.process) else { return };
        if place.leader && !place.attached {
            // Somebody else's terminal is opened all the same.
            let _ = self.claim(&place);
        }
    }

    /// TIOCSCTTY: EPERM unless the caller leads a session without a terminal, and this is nobody's; a caller with CAP_SYS_ADMIN
    /// and `steal` = 1 takes it away from another session.
    pub(crate) fn set_controlling(self: &Arc<Tty>, caller: &Caller, steal: usize, readable: bool) -> Result<()> {
        let place = self.jobs().place(caller.process).ok_or(Errno::EPERM)?;
        let session = self.lock().session;
        if place.leader && place.session == session {
            return Ok(());
        }
        let admin = caller.cred.has(Capability::SysAdmin);
        if !place.leader || place.attached || !(readable || admin) {
            return Err(Errno::EPERM.into());
        }
        if session != 0 {
            if steal != 1 || !admin {
                return Err(Errno::EPERM.into());
            }
            self.release(session, 0);
        }
        self.claim(&place)
    }

    /// Ends the association with `session`, if there still is one.
    fn release(&self, session: u32, lost_foreground: u32) {
        {
            let mut state = self.lock();
            if state.session != session {
                return;
            }
            (state.session, state.foreground) = (0, 0);
        }
        self.jobs().release(session, lost_foreground);
    }

    /// TIOCNOTTY: ENOTTY if it is not the caller's. A leader gives it up for the whole session, whose foreground group gets
    /// SIGHUP and SIGCONT.
    pub(crate) fn give_up(&self, caller: &Caller) -> Result<()> {
        let place = self.jobs().place(caller.process).ok_or(Errno::ENOTTY)?;
        let foreground = {
            let state = self.lock();
            if !Tty::controls(&state, &place) {
                return Err(Errno::ENOTTY.into());
            }
            state.foreground
        };
        if !place.leader {
            self.jobs().detach(caller.process);
            return Ok(());
        }
        if foreground != 0 {
            self.jobs().signal_group(foreground, SIGHUP);
            self.jobs().signal_group(foreground, SIGCONT);
        }
        self.release(place.session, 0);
        Ok(())
    }

    /// TIOCGPGRP: the foreground group as the caller sees it, 0 if there is none. ENOTTY if `own` and it is not the caller's terminal.
    pub(crate) fn foreground_for(&self, caller: &Caller, own: bool) -> Result<u32> {
        let place = self.jobs().place(caller.process);
        let foreground = {
            let state = self.lock();
            if own && !place.is_some_and(|place| Tty::controls(&state, &place)) {
                return Err(Errno::ENOTTY.into());
            }
            state.foreground
        };
        Ok(if foreground == 0 { 0 } else { self.jobs().seen_by(caller.process, foreground) })
    }

    /// TIOCGSID: the session, under the rules of [`Tty::foreground_for`]; ENOTTY if there is none.
    pub(crate) fn session_for(&self, caller: &Caller, own: bool) -> Result<u32> {
        let place = self.jobs().place(caller.process);
        let session = {
            let state = self.lock();
            if state.session == 0 || own && !place.is_some_and(|place| Tty::controls(&state, &place)) {
                return Err(Errno::ENOTTY.into());
            }
            state.session
        };
        Ok(self.jobs().seen_by(caller.process, session))
    }

    /// TIOCSPGRP: ENOTTY if it is not the caller's terminal, EINVAL (negative), ESRCH (no such group), EPERM (of another session).
    pub(crate) fn set_foreground(&self, caller: &Caller, group: i32) -> Result<()> {
        let group = u32::try_from(group).map_err(|_| Errno::EINVAL)?;
        let place = self.jobs().place(caller.process).ok_or(Errno::ENOTTY)?;
        if !Tty::controls(&self.lock(), &place) {
            return Err(Errno::ENOTTY.into());
        }
        let group = self.jobs().named_by(caller.process, group).ok_or(Errno::ESRCH)?;
        if self.jobs().session_of(group).ok_or(Errno::ESRCH)? != place.session {
            return Err(Errno::EPERM.into());
        }
        let mut state = self.lock();
        // The terminal may have been lost meanwhile.
        if !Tty::controls(&state, &place) {
            return Err(Errno::ENOTTY.into());
        }
        state.foreground = group;
        Ok(())
    }

    /// SIGTTOU for a caller in the background, as TIOCSPGRP has it: EIO is ENOTTY there.
    pub(crate) fn check_background_spgrp(&self, caller: &Caller) -> Result<()> {
        match self.check_background(caller, SIGTTOU) {
            Err(Error::Errno(Errno::EIO)) => Err(Errno::ENOTTY.into()),
            other => other,
        }
    }

    /// The session part of a hangup: the leader gets SIGHUP and SIGCONT and the session loses the terminal. The
    /// foreground group gets them too, at once if the leader `exits`, else when it does.
    pub(crate) fn hang_up_session(&self, exits: bool) {
        let (session, foreground) = {
            let state = self.lock();
            (state.session, state.foreground)
        };
        if session == 0 {
            return;
        }
        self.release(session, if exits { 0 } else { foreground });
        if exits {
            hang_up_group(self.jobs(), foreground);
        } else {
            self.jobs().signal_leader(session, SIGHUP);
            self.jobs().signal_leader(session, SIGCONT);
        }
    }
}

fn hang_up_group(jobs: &dyn Jobs, group: u32) {
    if group != 0 {
        jobs.signal_group(group, SIGHUP);
        jobs.signal_group(group, SIGCONT);
    }
}

/// The leader of a session exits (exit(3), "Signals sent to other processes"): the terminal is released, and its foreground group gets
/// SIGHUP and SIGCONT. A terminal that is not a pseudo-terminal is hung up for everybody who has it open. To be called for a leader
/// only, while [`Jobs::place`] still knows it.
pub fn disassociate(jobs: &dyn Jobs, leader: u32) {
    let Some(place) = jobs.place(leader).filter(|place| place.leader) else { return };
    match jobs.terminal(leader) {
        Some(tty) if tty.pty().is_none() => tty.hang_up(true),
        Some(tty) => tty.hang_up_session(true),
        None => hang_up_group(jobs, jobs.lost_foreground(place.session)),
    }
}

/// vhangup(2): hangs up the caller's terminal. EPERM without CAP_SYS_TTY_CONFIG.
pub fn vhangup(jobs: &dyn Jobs, caller: &Caller) -> Result<()> {
    if !caller.cred.has(Capability::SysTtyConfig) {
        return Err(Errno::EPERM.into());
    }
    if let Some(tty) = jobs.terminal(caller.process) {
        tty.hang_up(false);
    }
    Ok(())
}
