//! Core files (core(5)): written by a thread that dies of a signal, with what the other threads leave of themselves.

mod file;
mod notes;
mod pattern;

use crate::fault;
use alloc::vec::Vec;
use arch::addr::{PAGE_SIZE, VirtAddr};
use base::Result;
use memory::space::{Flags, Limits, MapRequest, Marks, Place};
use memory::user::UserPtr;
use process::limits::Resource;
use process::{Current, Siginfo};

/// Takes a note: whose it is, its type and data.
pub type Note<'a> = dyn FnMut(&[u8], u32, &[u8]) -> Result<()> + 'a;

/// Writes the core file of the caller's process, which dies of `info`, and begins its end. `None` if there is to be none: it
/// is not asked for, or the end was decided already. Waits for the other threads.
pub async fn write(current: &mut Current, info: &Siginfo) -> Option<()> {
    let limit = current.thread.limit(Resource::Core);
    if limit < PAGE_SIZE as u64 || !current.space.marks().contains(Marks::DUMPABLE) {
        return None;
    }
    let name = pattern::name(current, info)?;
    let process = current.thread.process.clone();
    let dump = process.begin_dump(i32::from(info.signal.number()))?;
    let others = process.gather_dump(&dump).await;
    let written = match vectors(current).await {
        Ok(vectors) => file::write(current, info, &name, limit, &vectors, &others).await.is_ok(),
        Err(_) => false,
    };
    process.finish_dump(&dump, written);
    Some(())
}

/// What a thread of a process that is dumped does on its way out.
pub async fn take_part(current: &mut Current) {
    let process = current.thread.process.clone();
    let Some(dump) = process.dump_under_way() else { return };
    // Without memory for it, the file is short of this thread.
    let notes = match vectors(current).await {
        Ok(vectors) => notes::of_thread(current, 0, &vectors).unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    process.join_dump(&dump, notes).await;
}

/// The vector state as a signal frame has it, which the machine writes to memory of the program only: a page or two of it, for
/// a moment. The thread does not go on after that.
async fn vectors(current: &mut Current) -> Result<Vec<u8>> {
    let len = current.fpu.frame_size();
    if len == 0 {
        return Ok(Vec::new());
    }
    let prot = Flags::READ | Flags::WRITE;
    let request = MapRequest::anonymous(Place::Hint(VirtAddr(0)), len, prot);
    let at = current.space.map(request, &Limits::NONE).await?;
    let taken = loop {
        let result = current.fpu.push(at).and_then(|()| {
            let mut bytes = alloc::vec![0; len];
            UserPtr::<u8>::new(at).read_slice(&mut bytes).map(|()| bytes)
        });
        match result {
            Ok(bytes) => break Ok(bytes),
            Err(page) => {
                if let Err(error) = fault::resolve(current, page).await {
                    break Err(error);
                }
            }
        }
    };
    current.space.unmap(at, len).await?;
    taken
}
