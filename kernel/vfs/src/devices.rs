//! The registry of devices that device nodes lead to, and the memory devices (null(4), full(4), random(4)).

use crate::file::{Caller, File, read_result};
use crate::flags::OpenFlags;
use crate::inode::{Device, FileType};
use crate::mount::Location;
use crate::ranks;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use base::{Errno, Result};
use executor::spin::SpinLock;
use memory::io::{Dst, Src};
use memory::space::{Object, SharedAnonymous};

/// Opens a device.
pub type Open = fn(&Caller, Device, OpenFlags) -> Result<Arc<dyn File>>;

/// Fills a buffer with random bytes.
pub type Fill = fn(&mut [u8]);

#[derive(Clone, Copy)]
struct Driver {
    minors: (u32, u32),
    open: Open,
}

/// Drivers by kind (block or not), major number and first minor number.
static DRIVERS: SpinLock<BTreeMap<(bool, u32, u32), Driver>> = SpinLock::new(ranks::DEVICES, BTreeMap::new());
static RANDOM: SpinLock<Option<Fill>> = SpinLock::new(ranks::DEVICES, None);

/// Has `open` open character devices `first` to `first` with its minor number raised to `last`.
pub fn register_char(first: Device, last: u32, open: Open) {
    register(false, first, last, open);
}

/// As [`register_char`], for block devices.
pub fn register_block(first: Device, last: u32, open: Open) {
    register(true, first, last, open);
}

fn register(block: bool, first: Device, last: u32, open: Open) {
    DRIVERS.lock().insert((block, first.major, first.minor), Driver { minors: (first.minor, last), open });
}

/// Opens the device behind a node of `kind`. ENXIO if there is no driver.
pub fn open(caller: &Caller, kind: FileType, device: Device, flags: OpenFlags) -> Result<Arc<dyn File>> {
    let block = kind == FileType::BlockDevice;
    let found = {
        let drivers = DRIVERS.lock();
        let from = (block, device.major, 0);
        drivers.range(from..=(block, device.major, device.minor)).next_back().map(|(_, driver)| *driver)
    };
    match found {
        Some(driver) if device.minor <= driver.minors.1 => (driver.open)(caller, device, flags),
        _ => Err(Errno::ENXIO.into()),
    }
}

/// Registers the memory devices; `random` is where random and urandom get their bytes.
pub fn register_memory(random: Fill) {
    *RANDOM.lock() = Some(random);
    register_char(Device::new(1, 3), 3, open_memory);
    register_char(Device::new(1, 5), 5, open_memory);
    register_char(Device::new(1, 7), 9, open_memory);
}

/// The memory devices by name, for whoever makes the nodes in /dev.
pub const MEMORY_NODES: [(&str, Device, u32); 5] = [
    ("null", Device::new(1, 3), 0o666),
    ("zero", Device::new(1, 5), 0o666),
    ("full", Device::new(1, 7), 0o666),
    ("random", Device::new(1, 8), 0o666),
    ("urandom", Device::new(1, 9), 0o666),
];

fn open_memory(_: &Caller, device: Device, _: OpenFlags) -> Result<Arc<dyn File>> {
    Ok(match device.minor {
        3 => Arc::new(Null),
        5 => Arc::new(Zero { full: false }),
        7 => Arc::new(Zero { full: true }),
        8 | 9 => Arc::new(Random((*RANDOM.lock()).ok_or(Errno::ENXIO)?)),
        _ => return Err(Errno::ENXIO.into()),
    })
}

/// Takes all of `src`, which is not even looked at.
fn swallow(src: &mut Src) -> Result<usize> {
    let n = src.remaining();
    src.skip(n);
    Ok(n)
}

struct Null;

impl File for Null {
    fn read(&self, _: &Caller, _: u64, _: &mut Dst) -> Result<usize> {
        Ok(0)
    }

    fn write(&self, _: &Caller, _: u64, src: &mut Src) -> Result<usize> {
        swallow(src)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Result<u64> {
        Ok(0)
    }
}

struct Zero {
    /// Writing fails for want of space.
    full: bool,
}

impl File for Zero {
    fn read(&self, _: &Caller, _: u64, dst: &mut Dst) -> Result<usize> {
        let n = dst.zero(dst.remaining());
        read_result(n, dst)
    }

    fn write(&self, _: &Caller, _: u64, src: &mut Src) -> Result<usize> {
        if self.full { Err(Errno::ENOSPC.into()) } else { swallow(src) }
    }

    /// /dev/zero is memory of the mapping's own. ENODEV for /dev/full, and ENOMEM.
    fn mmap(&self, _: Option<&Location>, _: bool) -> Result<Arc<dyn Object>> {
        if self.full {
            return Err(Errno::ENODEV.into());
        }
        Ok(Arc::new(SharedAnonymous::new()))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Result<u64> {
        Ok(0)
    }
}

struct Random(Fill);

impl File for Random {
    fn read(&self, _: &Caller, _: u64, dst: &mut Dst) -> Result<usize> {
        let mut block = [0; 256];
        let mut total = 0;
        while !dst.is_full() && dst.fault().is_none() {
            let n = block.len().min(dst.remaining());
            (self.0)(&mut block[..n]);
            total += dst.put(&block[..n]);
        }
        read_result(total, dst)
    }

    /// Writing would add to the pool; what a program writes is not needed there.
    fn write(&self, _: &Caller, _: u64, src: &mut Src) -> Result<usize> {
        swallow(src)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Result<u64> {
        Ok(0)
    }
}
