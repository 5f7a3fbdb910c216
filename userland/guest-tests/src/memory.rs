//! Mappings and faults.

use rt::println;
use rt::raw::general::*;
use rt::sys;

use crate::{Outcome, check, tests};

tests! {
    anonymous_memory_reads_as_noughts,
    touching_unmapped_memory_is_sigsegv,
    writing_read_only_memory_is_sigsegv,
    a_shared_mapping_is_seen_by_a_child_and_back,
    a_populated_mapping_is_resident,
    dev_zero_is_memory_of_the_mappings_own,
    smaps_rollup_tells_whose_pages_there_are,
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

/// zero(4), mmap(2).
fn dev_zero_is_memory_of_the_mappings_own() -> Outcome {
    let fd = sys::open(c"/dev/zero", O_RDWR, 0)?;
    for kind in [MAP_PRIVATE, MAP_SHARED] {
        let [one, two] =
            [sys::mmap(0, 8192, PROT_READ | PROT_WRITE, kind, fd, 0)?, sys::mmap(0, 8192, PROT_READ, kind, fd, 0)?];
        // SAFETY: inside the mappings, which nobody else has.
        unsafe {
            check!(one.read_volatile() == 0 && two.read_volatile() == 0);
            one.write_volatile(1);
            check!(two.read_volatile() == 0);
        }
        let child = match sys::fork()? {
            0 => {
                // SAFETY: as above.
                unsafe { one.add(1).write_volatile(2) };
                sys::exit_group(0)
            }
            child => child,
        };
        check!(sys::wait4(child, 0)? == (child, 0));
        // SAFETY: as above.
        check!(unsafe { one.add(1).read_volatile() } == if kind == MAP_SHARED { 2 } else { 0 });
    }
    let full = sys::open(c"/dev/full", O_RDWR, 0)?;
    check!(sys::mmap(0, 4096, PROT_READ, MAP_PRIVATE, full, 0) == Err(rt::Errno(rt::raw::errno::ENODEV)));
    Ok(())
}

/// The number in the line that begins with `name`.
fn kib(text: &[u8], name: &str) -> Option<usize> {
    let line = text.split(|byte| *byte == b'\n').find(|line| line.starts_with(name.as_bytes()))?;
    let digits = line.iter().filter(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

/// proc_pid_smaps(5).
fn smaps_rollup_tells_whose_pages_there_are() -> Outcome {
    let memory = sys::mmap_anonymous(1 << 20)?;
    for at in (0..1 << 20).step_by(4096) {
        // SAFETY: inside the mapping.
        unsafe { memory.add(at).write_volatile(1) };
    }
    let fd = sys::open(c"/proc/self/smaps_rollup", O_RDONLY, 0)?;
    let mut text = [0; 2048];
    let len = sys::read(fd, &mut text)?;
    let value = |name| kib(&text[..len], name).ok_or(rt::Errno(rt::raw::errno::ENOENT));
    let parts = value("Pss_Anon:")? + value("Pss_File:")? + value("Pss_Shmem:")?;
    println!("Pss {} of which {parts}, changed {}", value("Pss:")?, value("Pss_Dirty:")?);
    // Each is rounded down.
    check!((parts..parts + 4).contains(&value("Pss:")?));
    check!(value("Pss_Anon:")? >= 1024 && value("Pss_Dirty:")? >= 1024 && value("Pss_Dirty:")? <= value("Pss:")?);
    check!(value("Private_Hugetlb:")? == 0 && value("AnonHugePages:")? % 2048 == 0);
    Ok(())
}
