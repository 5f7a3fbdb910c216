//! Mappings and faults.

use rt::raw::general::*;
use rt::sys;

use crate::{Outcome, check, tests};

tests! {
    anonymous_memory_reads_as_noughts,
    touching_unmapped_memory_is_sigsegv,
    writing_read_only_memory_is_sigsegv,
    a_shared_mapping_is_seen_by_a_child_and_back,
    a_populated_mapping_is_resident,
}

fn anonymous_memory_reads_as_noughts() -> Outcome {
    let memory = sys::mmap_anonymous(1 << 20)?;
    // SAFETY: inside the mapping.
    check!((0..1 << 20).step_by(4096).all(|at| unsafe { memory.add(at).read_volatile() } == 0));
    Ok(())
}

/// The raw status of a child that writes to `address`.
fn write_in_child(address: *mut u8) -> Result<i32, crate::Why> {
    let child = match sys::fork()? {
        0 => {
            // SAFETY: the fault that this may raise is the test; it ends only this child.
            unsafe { address.write_volatile(1) };
            sys::exit_group(0)
        }
        child => child,
    };
    // A core dump's bit does not matter here.
    Ok(sys::wait4(child, 0)?.1 & !0x80)
}

fn touching_unmapped_memory_is_sigsegv() -> Outcome {
    let memory = sys::mmap_anonymous(4096)?;
    // SAFETY: nothing uses it.
    unsafe { sys::munmap(memory, 4096)? };
    check!(write_in_child(memory)? == SIGSEGV as i32);
    Ok(())
}

fn writing_read_only_memory_is_sigsegv() -> Outcome {
    let memory = sys::mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)?;
    check!(write_in_child(memory)? == SIGSEGV as i32);
    Ok(())
}

fn a_shared_mapping_is_seen_by_a_child_and_back() -> Outcome {
    let memory = sys::mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)?;
    check!(write_in_child(memory)? == 0);
    // SAFETY: inside the mapping.
    check!(unsafe { memory.read_volatile() } == 1);
    Ok(())
}

fn a_populated_mapping_is_resident() -> Outcome {
    const PAGES: usize = 1024;
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
    let memory = sys::mmap(0, PAGES * 4096, PROT_READ | PROT_WRITE, flags, -1, 0)?;
    let mut resident = [0u8; PAGES];
    // SAFETY: there is a byte for each page of the mapping.
    let result =
        unsafe { rt::syscall3(__NR_mincore as usize, memory as usize, PAGES * 4096, resident.as_mut_ptr() as usize) };
    sys::check(result)?;
    check!(resident.iter().all(|page| page & 1 == 1));
    Ok(())
}
