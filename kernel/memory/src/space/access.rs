//! Reading and writing a space from outside: /proc/PID/cmdline, /proc/PID/mem, process_vm_readv(2), and setting up a
//! program's stack before it runs.

use super::table::load;
use super::{FaultError, Space};
use crate::frames::Frame;
use arch::addr::{PAGE_SIZE, VirtAddr};
use arch::paging::Perm;
use arch::trap::{Access, PageFault};

impl Space {
    /// Copies from the space's memory at `addr`, faulting pages in. Gives how many bytes came before the first that
    /// cannot be had; the error if that is none of them. Waits.
    pub async fn read_at(&self, addr: VirtAddr, buf: &mut [u8]) -> Result<usize, FaultError> {
        let mut done = 0;
        while done < buf.len() {
            let (offset, len) = piece(addr, done, buf.len());
            match self.frame_at(VirtAddr(addr.0.wrapping_add(done)), Access::Read).await {
                Ok(frame) => done += frame.read(offset, &mut buf[done..done + len]),
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Copies to the space's memory at `addr`, as [`Space::read_at`].
    pub async fn write_at(&self, addr: VirtAddr, bytes: &[u8]) -> Result<usize, FaultError> {
        let mut done = 0;
        while done < bytes.len() {
            let (offset, len) = piece(addr, done, bytes.len());
            match self.frame_at(VirtAddr(addr.0.wrapping_add(done)), Access::Write).await {
                Ok(frame) => done += frame.write(offset, &bytes[done..done + len]),
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// The frame behind `addr` once `access` is allowed there. To be dropped soon: it makes the page look shared.
    pub async fn frame_at(&self, addr: VirtAddr, access: Access) -> Result<Frame, FaultError> {
        let needed = match access {
            Access::Read => Perm::READ,
            Access::Write => Perm::WRITE,
            Access::Execute => Perm::EXEC,
        };
        loop {
            {
                // Alone, since a fault of another thread could let the frame go before it is counted.
                let inner = self.inner.write().await;
                let present = inner.tables.find(addr.page_floor().0).map(load);
                if let Some(entry) = present.filter(|e| e.is_present() && e.perm().contains(needed)) {
                    // SAFETY: the entry owns the frame, and the space is held alone.
                    return Ok(Frame::clone(&*unsafe { Frame::borrow(entry.addr()) }));
                }
            }
            self.fault(PageFault { addr, access }).await?;
        }
    }
}

fn piece(addr: VirtAddr, done: usize, total: usize) -> (usize, usize) {
    let offset = VirtAddr(addr.0.wrapping_add(done)).page_offset();
    (offset, (PAGE_SIZE - offset).min(total - done))
}
