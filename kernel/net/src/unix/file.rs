//! The UNIX socket as a file and as a socket: reading, writing, readiness, options.

use super::channel::{Cargo, Unloaded};
use super::mail::Message;
use super::rights::Parcel;
use super::socket::{Connection, State, UnixSocket, credential};
use crate::address::{Address, Family};
use crate::options::{self, Credential, Level, Options, Type};
use crate::socket::{Context, IN, MsgFlags, OUT, Received, SendArgs, Shutdown, Socket, notify};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Capability, Errno, Error, Events, Result, Timespec};
use core::any::Any;
use core::sync::atomic::Ordering::Relaxed;
use executor::WaitQueue;
use linux_raw_sys::net as abi;
use memory::io::{Dst, Src};
use memory::user::UserPtr;
use vfs::{Caller, Device, File, FileType, Metadata};

/// `struct ucred` in a message must tell the truth, unless the sender is privileged (EPERM).
fn checked(caller: &Caller, given: Credential) -> Result<Credential> {
    let cred = caller.cred;
    let pid = given.pid == caller.process || cred.has(Capability::SysAdmin);
    let uid = [cred.uid, cred.euid, cred.suid].contains(&given.uid) || cred.has(Capability::Setuid);
    let gid = [cred.gid, cred.egid, cred.sgid].contains(&given.gid) || cred.has(Capability::Setgid);
    if pid && uid && gid { Ok(given) } else { Err(Errno::EPERM.into()) }
}

impl UnixSocket {
    #[inline]
    fn connection(&self) -> Result<Connection> {
        match &*self.state.lock() {
            State::Connected(connection) => Ok(connection.clone()),
            // Linux says EINVAL to a reader and ENOTCONN to a writer; the writer's is told by `write_connected`.
            _ => Err(Errno::EINVAL.into()),
        }
    }

    #[inline(always)]
    fn write_connected(
        &self,
        caller: &Caller,
        src: &mut Src,
        parcel: &mut Parcel,
        given: Option<Credential>,
    ) -> Result<usize> {
        let connection = self.connection().map_err(|_| Errno::ENOTCONN)?;
        let peer = connection.peer();
        let wanted = given.is_some() || peer.options.pass_credentials() || self.end.options.pass_credentials();
        let cargo = Cargo { parcel, credential: wanted.then(|| given.unwrap_or_else(|| credential(caller))) };
        let limit = self.end.options.send_buffer();
        let n = match self.kind {
            Type::Stream => connection.outgoing().write(src, limit, cargo),
            _ => connection.outgoing().write_record(src, limit, cargo),
        };
        match n {
            Ok(n) => {
                if n > 0 || self.kind != Type::Stream {
                    notify(&peer.queue, IN);
                }
                Ok(n)
            }
            Err(error) => {
                if error == Error::Errno(Errno::EPIPE) {
                    self.end.options.take_error()?;
                }
                Err(error)
            }
        }
    }

    #[inline(always)]
    fn read_connected(&self, dst: &mut Dst, flags: MsgFlags, want_control: bool) -> Result<Unloaded> {
        let connection = match self.connection() {
            Ok(connection) => connection,
            Err(_) if self.kind == Type::SeqPacket => return Err(Errno::ENOTCONN.into()),
            Err(error) => return Err(error),
        };
        let peer = connection.peer();
        let limit = peer.options.send_buffer();
        match connection.incoming().read(dst, limit, flags, want_control, &self.net.rights)? {
            Some(unloaded) => {
                if unloaded.room {
                    notify(&peer.queue, OUT);
                }
                Ok(unloaded)
            }
            None => {
                self.end.options.take_error()?;
                Ok(Unloaded::default())
            }
        }
    }

    fn send_datagram(&self, cx: &Context, src: &mut Src, args: &mut SendArgs) -> Result<usize> {
        let to = match args.to {
            Some(address) => {
                let found = self.find(cx, address)?;
                self.check_allows(&found)?;
                found.end.clone()
            }
            None => match &*self.state.lock() {
                State::Talking(to) => to.clone(),
                _ => return Err(Errno::ENOTCONN.into()),
            },
        };
        self.post(cx.caller, &to, src, cx.open_files_limit, args)
    }

    fn post(
        &self,
        caller: &Caller,
        to: &Arc<super::Endpoint>,
        src: &mut Src,
        files_limit: u64,
        args: &mut SendArgs,
    ) -> Result<usize> {
        if self.mute.load(Relaxed) {
            return Err(Errno::EPIPE.into());
        }
        let len = src.remaining();
        if len > self.end.options.send_buffer().saturating_sub(32) {
            return Err(Errno::EMSGSIZE.into());
        }
        if !Arc::ptr_eq(to, &self.end) && !to.mail.has_room(&self.end) {
            return Err(Error::WouldBlock);
        }
        let credential = match args.credential {
            Some(given) => checked(caller, given)?,
            None => credential(caller),
        };
        let mut data = Vec::new();
        data.try_reserve_exact(len).map_err(|_| Errno::ENOBUFS)?;
        data.resize(len, 0);
        let n = src.take(&mut data);
        if let Some(fault) = src.take_fault() {
            src.rewind(n);
            return Err(fault.into());
        }
        let parcel = self.net.rights.pack(caller.cred, files_limit, &mut args.rights)?;
        let message = Message { data, from: self.end.address(), parcel, credential };
        match to.mail.post(message) {
            Ok(()) => {
                notify(&to.queue, IN);
                Ok(len)
            }
            Err((error, message)) => {
                self.net.rights.discard(message.parcel);
                src.rewind(n);
                // A connected sender forgets a receiver that is gone.
                let mut state = self.state.lock();
                if matches!(&*state, State::Talking(peer) if Arc::ptr_eq(peer, to)) {
                    *state = State::Idle;
                }
                Err(error)
            }
        }
    }

    fn poll_state(&self) -> Events {
        let mut events = if self.end.options.has_error() { Events::ERR } else { Events::empty() };
        let state = self.state.lock().clone();
        match state {
            State::Listening(backlog) => {
                if UnixSocket::has_pending(&backlog) {
                    events |= IN;
                }
            }
            State::Connected(connection) => {
                let incoming = connection.incoming().readiness(usize::MAX);
                let outgoing = connection.outgoing().readiness(self.end.options.send_buffer());
                if incoming.readable || incoming.shut {
                    events |= IN;
                }
                if incoming.shut {
                    events |= Events::RDHUP;
                }
                if incoming.shut && outgoing.shut {
                    events |= Events::HUP;
                }
                if outgoing.writable {
                    events |= OUT | Events::WRBAND;
                }
            }
            state => {
                if self.kind != Type::Datagram {
                    return events | OUT | Events::WRBAND | Events::HUP;
                }
                let closed = self.end.mail.is_closed();
                if closed || self.end.mail.pending().is_some() {
                    events |= IN;
                }
                if closed {
                    events |= Events::RDHUP;
                    if self.mute.load(Relaxed) {
                        events |= Events::HUP;
                    }
                }
                let room = match &state {
                    State::Talking(to) => to.mail.has_room(&self.end),
                    _ => true,
                };
                if room {
                    events |= OUT | Events::WRBAND;
                }
            }
        }
        events
    }
}

impl File for UnixSocket {
    fn read(&self, _caller: &Caller, _pos: u64, dst: &mut Dst) -> Result<usize> {
        if self.kind == Type::Datagram {
            return self.receive_mail(dst, MsgFlags::empty(), false).map(|received| received.len);
        }
        if dst.remaining() == 0 && self.kind == Type::Stream {
            return Ok(0);
        }
        self.read_connected(dst, MsgFlags::empty(), false).map(|unloaded| unloaded.len)
    }

    fn write(&self, caller: &Caller, _pos: u64, src: &mut Src) -> Result<usize> {
        if self.kind == Type::Datagram {
            let to = match &*self.state.lock() {
                State::Talking(to) => to.clone(),
                _ => return Err(Errno::ENOTCONN.into()),
            };
            return self.post(caller, &to, src, u64::MAX, &mut SendArgs::default());
        }
        self.write_connected(caller, src, &mut Parcel::default(), None)
    }

    fn timeless_queue(&self, events: Events) -> Option<&WaitQueue> {
        if Socket::options(self).has_time_limit(events) { None } else { self.queue() }
    }

    fn poll(&self, _caller: &Caller) -> Events {
        self.poll_state()
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.end.queue)
    }

    fn metadata(&self) -> Metadata {
        Metadata::new(Device::new(0, 8), self.inode, FileType::Socket, 0o777, Timespec::default())
    }

    fn label(&self) -> Vec<u8> {
        format!("socket:[{}]", self.inode).into_bytes()
    }

    fn ioctl(&self, _caller: &Caller, request: u32, arg: usize) -> Result<usize> {
        if request != linux_raw_sys::ioctl::FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        let pending = match &*self.state.lock() {
            State::Connected(connection) => connection.incoming().pending(),
            State::Listening(_) => return Err(Errno::EINVAL.into()),
            _ => self.end.mail.pending().unwrap_or(0),
        };
        UserPtr::<i32>::from(arg).write(&(pending.min(i32::MAX as usize) as i32))?;
        Ok(0)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn close(&self) {
        self.shut_down();
    }
}

impl UnixSocket {
    fn receive_mail(&self, dst: &mut Dst, flags: MsgFlags, want_control: bool) -> Result<Received> {
        self.end.options.take_error()?;
        let pass = self.end.options.pass_credentials();
        match self.end.mail.read(dst, flags, want_control, pass, &self.net.rights) {
            Err(Error::WouldBlock) if self.end.mail.is_closed() => Ok(Received::default()),
            other => other,
        }
    }
}

impl Socket for UnixSocket {
    fn family(&self) -> Family {
        Family::Unix
    }

    fn kind(&self) -> Type {
        self.kind
    }

    fn protocol(&self) -> i32 {
        0
    }

    fn options(&self) -> &Options {
        &self.end.options
    }

    fn bind(&self, cx: &Context, address: &Address) -> Result<()> {
        self.bind_to(cx, address)
    }

    fn listen(&self, cx: &Context, backlog: i32) -> Result<()> {
        self.start_listening(cx, backlog)
    }

    fn accept(&self, _cx: &Context) -> Result<(Arc<dyn Socket>, Address)> {
        self.accept_one()
    }

    fn connect(&self, cx: &Context, address: &Address) -> Result<()> {
        match self.kind {
            Type::Datagram => self.connect_datagram(cx, address),
            _ => self.connect_stream(cx, address),
        }
    }

    fn local(&self) -> Result<Address> {
        Ok(Address::Unix(self.end.address()))
    }

    fn peer(&self) -> Result<Address> {
        match self.state.lock().clone() {
            State::Connected(connection) => Ok(Address::Unix(connection.peer().address())),
            State::Talking(peer) => Ok(Address::Unix(peer.address())),
            _ => Err(Errno::ENOTCONN.into()),
        }
    }

    fn send(&self, cx: &Context, src: &mut Src, args: &mut SendArgs) -> Result<usize> {
        if args.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if self.kind == Type::Datagram {
            return self.send_datagram(cx, src, args);
        }
        let connected = self.connection().is_ok();
        if args.to.is_some() && self.kind == Type::Stream {
            return Err(if connected { Errno::EISCONN } else { Errno::EOPNOTSUPP }.into());
        }
        let given = args.credential.map(|given| checked(cx.caller, given)).transpose()?;
        let mut parcel = self.net.rights.pack(cx.caller.cred, cx.open_files_limit, &mut args.rights)?;
        let result = self.write_connected(cx.caller, src, &mut parcel, given);
        self.net.rights.give_back(parcel, &mut args.rights);
        result
    }

    fn recv(&self, _cx: &Context, dst: &mut Dst, flags: MsgFlags, want_control: bool) -> Result<Received> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if self.kind == Type::Datagram {
            return self.receive_mail(dst, flags, want_control);
        }
        let unloaded = self.read_connected(dst, flags, want_control)?;
        let pass = self.end.options.pass_credentials();
        Ok(Received {
            len: unloaded.len,
            flags: unloaded.flags,
            from: None,
            rights: unloaded.rights,
            credential: pass.then(|| unloaded.credential.unwrap_or(Credential { pid: 0, uid: 65534, gid: 65534 })),
        })
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        self.shut(how)
    }

    fn get_option(&self, level: i32, name: i32, out: &mut [u8]) -> Result<usize> {
        if Level::from_number(level) != Level::Socket {
            return Err(Errno::EOPNOTSUPP.into());
        }
        match name as u32 {
            abi::SO_ACCEPTCONN => Ok(options::put_int(out, self.is_listening().into())),
            abi::SO_PEERCRED => {
                let credential = match self.state.lock().clone() {
                    State::Connected(connection) => *connection.peer().credential.lock(),
                    State::Talking(peer) => *peer.credential.lock(),
                    State::Listening(_) => *self.end.credential.lock(),
                    _ => Credential::NONE,
                };
                Ok(options::put(out, &credential.to_bytes()))
            }
            _ => self.end.options.get(Family::Unix, self.kind, 0, name, out),
        }
    }

    fn set_option(&self, cx: &Context, level: i32, name: i32, value: &[u8]) -> Result<()> {
        if Level::from_number(level) != Level::Socket {
            return Err(Errno::EOPNOTSUPP.into());
        }
        match name as u32 {
            abi::SO_PASSCRED => {
                self.end.options.set_pass_credentials(options::flag(value)?);
                Ok(())
            }
            _ => self.end.options.set(cx.caller.cred, name, value),
        }
    }
}
