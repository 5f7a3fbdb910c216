//! What time does to a connection: retransmission, acknowledgements that are due, keep-alive, giving up.
//!
//! The timer is armed for a time by which something *may* be due, and seldom moved: while segments go back and forth,
//! it fires at most once per [`ACK_DELAY`], and only then is the exact deadline asked for.

use super::conn::Conn;
use super::core::{ACK_DELAY, Core, SHORTEST_RTO};
use super::stack::Work;
use base::Errno;
use executor::Expire;
use executor::spin::SpinGuard;
use smoltcp::socket::tcp::State;
use smoltcp::time::Duration;

/// How long a connection may take to begin, seen from the client (tcp_syn_retries), in ns.
const CONNECT_LIMIT: u64 = 127_000_000_000;
/// The same, seen from the server (tcp_synack_retries).
const ACCEPT_LIMIT: u64 = 63_000_000_000;
/// How long nobody's half-closed connection waits for its peer (tcp_fin_timeout).
const ORPHAN_LIMIT: u64 = 60_000_000_000;
/// The shortest wait that the timer is armed for.
const SHORTEST_WAIT: u64 = 1_000_000;
/// How long a partial segment is held back (TCP_CORK).
const CORK_LIMIT: u64 = 200_000_000;

impl Conn {
    /// Sees to it that the timer fires early enough for whatever may be due next.
    #[inline]
    pub(super) fn arm(&self, core: &mut Core, now: u64) {
        if core.detached {
            return;
        }
        let quiet = core.outstanding() == 0 && core.state() == State::Established;
        let mut at = if quiet { u64::MAX } else { now + SHORTEST_RTO };
        at = at.min(core.ack_due);
        if core.corked_since != 0 {
            at = at.min(core.corked_since + CORK_LIMIT);
        }
        if self.shared.options.keep_alive() {
            at = at.min(self.keep_alive_deadline(core));
        }
        self.arm_at(core, at, now);
    }

    fn arm_at(&self, core: &mut Core, at: u64, now: u64) {
        // What is armed for a little earlier will do.
        if at < core.armed {
            // Never for the present: what cannot be done now is tried again, and not in a circle.
            core.armed = at.max(now + SHORTEST_WAIT);
            self.timer.arm(core.armed);
        }
    }

    fn keep_alive_deadline(&self, core: &Core) -> u64 {
        match core.probes {
            0 => core.last_arrival.saturating_add(self.shared.tcp.keep_idle()),
            _ => core.next_probe,
        }
    }

    /// Gives up or goes on. Returns the next deadline that follows from the connection's age.
    fn age(&self, core: &mut SpinGuard<'_, Core>, work: &mut Work) -> u64 {
        let now = work.now;
        let mut next = u64::MAX;
        let limit = match core.state() {
            State::SynSent => Some((core.since + CONNECT_LIMIT, true)),
            State::SynReceived | State::Listen => Some((core.since + ACCEPT_LIMIT, true)),
            State::FinWait2 if core.orphan => Some((core.since.max(core.last_arrival) + ORPHAN_LIMIT, false)),
            _ if core.outstanding() > 0 || core.write_shut() && core.state() != State::FinWait2 => {
                Some((core.last_arrival.max(core.busy_since) + self.shared.tcp.user_timeout(), true))
            }
            _ => None,
        };
        if let Some((at, told)) = limit {
            if at <= now {
                if told {
                    self.fail(core, Errno::ETIMEDOUT, work);
                } else {
                    core.abort();
                    core.pump(work, &self.shared);
                }
                return u64::MAX;
            }
            next = at;
        }
        let steady = matches!(core.state(), State::Established | State::CloseWait | State::FinWait2);
        if self.shared.options.keep_alive() && steady && core.outstanding() == 0 {
            let due = self.keep_alive_deadline(core);
            if due <= now {
                if core.probes >= self.shared.tcp.keep_count() {
                    self.fail(core, Errno::ETIMEDOUT, work);
                    return u64::MAX;
                }
                let interval = self.shared.tcp.keep_interval();
                if core.probes == 0 {
                    // smoltcp sends a probe as soon as it is told to keep alive, and then after each interval.
                    core.socket().set_keep_alive(Some(Duration::from_micros(interval / 1000)));
                }
                core.probes += 1;
                core.next_probe = now + interval;
                core.pump(work, &self.shared);
            }
            next = next.min(self.keep_alive_deadline(core));
        }
        next
    }
}

impl Expire for Conn {
    fn expired(&self, now: u64) {
        let net = self.net.clone();
        let mut work = net.inet.work();
        work.now = work.now.max(now);
        let now = work.now;
        let mut core = self.core();
        core.armed = u64::MAX;
        if core.detached {
            return;
        }
        if core.corked_since != 0 && core.corked_since + CORK_LIMIT <= now {
            // What was held back goes out as it is, whatever follows.
            core.corked_since = 0;
            core.pump(&mut work, &self.shared);
            if self.shared.tcp.cork() {
                core.corked_since = now;
            }
        }
        let mut next = self.age(&mut core, &mut work);
        let protocol = core.protocol_deadline(now).unwrap_or(u64::MAX);
        // With an acknowledgement under way smoltcp would always say "now".
        if core.ack_due <= now || protocol <= now && core.ack_due == u64::MAX {
            core.pump(&mut work, &self.shared);
            let again = core.protocol_deadline(now).unwrap_or(u64::MAX);
            next = next.min(again.max(now + ACK_DELAY));
        } else {
            next = next.min(core.ack_due).min(protocol.max(now + ACK_DELAY));
        }
        if core.corked_since != 0 {
            next = next.min(core.corked_since + CORK_LIMIT);
        }
        if next != u64::MAX {
            self.arm_at(&mut core, next, now);
        }
        self.settle(core, &mut work);
        work.run();
    }
}
