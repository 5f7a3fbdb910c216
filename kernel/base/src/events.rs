//! What a file can be ready for (poll(2), epoll_ctl(2)). The bits are those of `EPOLL*`, so that a
//! wait queue's interest mask, poll's revents and epoll's events are one type.

use bitflags::bitflags;

bitflags! {
    /// A set of conditions of a file.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Events: u32 {
        /// There is data to read, a connection to accept, or the end of file.
        const IN = 0x001;
        /// There is urgent data.
        const PRI = 0x002;
        /// Writing will not wait.
        const OUT = 0x004;
        /// An error is pending. Always reported.
        const ERR = 0x008;
        /// The peer is gone in both directions. Always reported.
        const HUP = 0x010;
        /// The descriptor is not open (poll only).
        const NVAL = 0x020;
        /// As IN.
        const RDNORM = 0x040;
        /// Priority-band data.
        const RDBAND = 0x080;
        /// As OUT.
        const WRNORM = 0x100;
        /// Priority data may be written.
        const WRBAND = 0x200;
        /// The peer will not write any more.
        const RDHUP = 0x2000;
    }
}

impl Events {
    /// What wakes a reader.
    pub const READABLE: Events =
        Events::IN.union(Events::RDNORM).union(Events::RDHUP).union(Events::HUP).union(Events::ERR);
    /// What wakes a writer.
    pub const WRITABLE: Events = Events::OUT.union(Events::WRNORM).union(Events::HUP).union(Events::ERR);
    /// Reported whether or not they were asked for.
    pub const ALWAYS: Events = Events::ERR.union(Events::HUP);
}
