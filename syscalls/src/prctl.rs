//! prctl(2): what a thread says of itself and of its process. What has to do with privileges is in
//! [`capabilities`](crate::capabilities).

use crate::args::Args;
use crate::capabilities;
use crate::table::{Calls, fast};
use alloc::sync::Arc;
use base::{Errno, Result};
use linux_raw_sys::{general as nr, prctl as op};
use memory::space::Marks;
use process::{Current, Signal, tree};

/// The family.
pub const CALLS: Calls = &[(nr::__NR_prctl, fast!(prctl))];

fn prctl(current: &mut Current, args: &Args) -> Result<usize> {
    match args.uint(0) {
        op::PR_SET_NAME => set_name(current, args),
        op::PR_GET_NAME => {
            args.ptr::<u8>(1).write_slice(&current.thread.name())?;
            Ok(0)
        }
        op::PR_SET_PDEATHSIG => {
            let signal = match args.size(1) {
                0 => None,
                number => Some(Signal::new(number).ok_or(Errno::EINVAL)?),
            };
            current.thread.view.lock().parent_death_signal = signal;
            Ok(0)
        }
        op::PR_GET_PDEATHSIG => {
            let signal = current.thread.view.lock().parent_death_signal;
            args.ptr::<i32>(1).write(&signal.map_or(0, |signal| signal.number().into()))?;
            Ok(0)
        }
        op::PR_SET_CHILD_SUBREAPER => {
            let tree = tree::lock();
            current.thread.process.links(&tree).subreaper = args.size(1) != 0;
            Ok(0)
        }
        op::PR_GET_CHILD_SUBREAPER => {
            let subreaper = current.thread.process.links(&tree::lock()).subreaper;
            args.ptr::<i32>(1).write(&subreaper.into())?;
            Ok(0)
        }
        op::PR_GET_DUMPABLE => Ok(current.space.marks().contains(Marks::DUMPABLE).into()),
        op::PR_SET_DUMPABLE => {
            // That only root may look in (2) is not a program's to ask for.
            if args.size(1) > 1 {
                return Err(Errno::EINVAL.into());
            }
            current.space.mark(Marks::DUMPABLE, args.size(1) != 0);
            Ok(0)
        }
        op::PR_SET_NO_NEW_PRIVS => {
            if args.size(1) != 1 || rest(args) != 0 {
                return Err(Errno::EINVAL.into());
            }
            let mut cred = (*current.cred).clone();
            cred.no_new_privs = true;
            current.set_cred(Arc::new(cred));
            Ok(0)
        }
        op::PR_GET_NO_NEW_PRIVS if args.size(1) | rest(args) == 0 => Ok(current.cred.no_new_privs.into()),
        op::PR_GET_TIMERSLACK => Ok(usize::try_from(current.timer_slack.0).unwrap_or(usize::MAX)),
        op::PR_SET_TIMERSLACK => {
            let (_, default) = current.timer_slack;
            let asked = args.long(1);
            current.timer_slack.0 = if asked <= 0 { default } else { asked as u64 };
            Ok(0)
        }
        op::PR_GET_TIMING => Ok(op::PR_TIMING_STATISTICAL as usize),
        op::PR_SET_TIMING if args.size(1) == op::PR_TIMING_STATISTICAL as usize => Ok(0),
        op::PR_GET_TID_ADDRESS => {
            args.ptr::<usize>(1).write(&current.clear_child_tid.0)?;
            Ok(0)
        }
        op::PR_CAPBSET_READ => capabilities::bounding(current, args.size(1)),
        op::PR_CAPBSET_DROP => capabilities::drop_bounding(current, args.size(1)),
        op::PR_GET_SECUREBITS => Ok(current.cred.securebits as usize),
        op::PR_SET_SECUREBITS => capabilities::set_securebits(current, args.size(1)),
        op::PR_GET_KEEPCAPS => Ok(capabilities::keeps(current)),
        op::PR_SET_KEEPCAPS => capabilities::set_keeps(current, args.size(1)),
        op::PR_CAP_AMBIENT => capabilities::ambient(current, args),
        // Seccomp, tagged addresses, speculation: as a Linux that was built without them.
        _ => Err(Errno::EINVAL.into()),
    }
}

/// The arguments that must be zero.
fn rest(args: &Args) -> usize {
    args.size(2) | args.size(3) | args.size(4)
}

fn set_name(current: &Current, args: &Args) -> Result<usize> {
    let mut name = [0; 16];
    arch::usercopy::read_string(args.addr(1), &mut name[..15])?;
    if let Some(end) = name.iter().position(|&byte| byte == 0) {
        name[end..].fill(0);
    }
    current.thread.view.lock().name = name;
    Ok(0)
}
