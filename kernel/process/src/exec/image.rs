//! The address space of a new program: its ELF file's segments, its interpreter's, room for a heap and a stack (elf(5)).

use super::{Opened, Request, find, open, read_at};
use crate::current::Current;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arch::addr::{PAGE_SIZE, VirtAddr};
use arch::paging::USER_END;
use base::{Errno, Result};
use elf::abi::{ET_DYN, ET_EXEC, PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::parse::ParsingTable;
use elf::segment::ProgramHeader;
use memory::Space;
use memory::space::{Flags, Layout, Limits, MapRequest, Object, Place};

/// What the rest of execve needs to know of the new space.
pub(super) struct Image {
    /// The space, with everything mapped.
    pub space: Arc<Space>,
    /// Where the program starts: in the interpreter, if there is one.
    pub start: usize,
    /// The program's own entry point (AT_ENTRY).
    pub entry: usize,
    /// Its program headers in memory (AT_PHDR), and how many.
    pub headers: (usize, usize),
    /// Where the interpreter lies (AT_BASE); 0 without one.
    pub interpreter: usize,
    /// One past the highest address of the stack.
    pub stack_top: usize,
    /// The sigreturn trampoline; null where there is none.
    pub trampoline: VirtAddr,
}

/// An ELF file's headers.
struct Elf {
    header: FileHeader<LittleEndian>,
    segments: Vec<ProgramHeader>,
}

/// Bytes in an ELF header and in a program header.
const EHDR: usize = 64;
const PHDR: usize = 56;

/// No more than a page of program headers, as on Linux.
const MAX_HEADERS: usize = PAGE_SIZE / PHDR;

/// Where position-independent programs lie without their random offset: two thirds up.
const PROGRAM_BASE: usize = USER_END.0 / 3 * 2 & !(PAGE_SIZE - 1);

/// The stack that is mapped from the start; it grows below.
const STACK: usize = 132 * 1024;

/// The longest interpreter name.
const PATH_MAX: u64 = 4096;

/// Page-sized pieces of randomness from the request: for the stack, mappings, the program and the heap.
fn random_pages(random: &[u8; 48], which: usize, bits: u32) -> usize {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&random[16 + which * 8..24 + which * 8]);
    (u64::from_ne_bytes(bytes) as usize & ((1 << bits) - 1)) * PAGE_SIZE
}

/// Builds the space. ENOEXEC for what is no program of this machine, ENOMEM, and what opening the interpreter gives.
pub(super) async fn build(current: &Current, request: &Request, opened: &Opened, limits: &Limits) -> Result<Image> {
    let program = parse(opened, request.machine, Errno::ENOEXEC)?;
    let interpreter = match interpreter_name(opened, &program)? {
        Some(name) => {
            let file = open(current, &find(current, &name)?)?;
            let elf = parse(&file, request.machine, Errno::ELIBBAD)?;
            Some((file, elf))
        }
        None => None,
    };
    let (low, high) = extent(&program)?;
    let bias = match program.header.e_type {
        ET_EXEC => 0,
        _ => PROGRAM_BASE + random_pages(&request.random, 2, 28) - low,
    };
    let brk = (bias + high).next_multiple_of(PAGE_SIZE) + random_pages(&request.random, 3, 13);
    let stack_offset = random_pages(&request.random, 0, 22);
    let layout = Layout::new(VirtAddr(brk), limits.stack, stack_offset, random_pages(&request.random, 1, 28));
    let stack_top = layout.stack.0;
    let space = Space::new(layout).map_err(|_| Errno::ENOMEM)?;
    map_segments(&space, opened, &program, bias, limits).await?;
    let mut image = Image {
        start: bias.wrapping_add(program.header.e_entry as usize),
        entry: bias.wrapping_add(program.header.e_entry as usize),
        headers: (header_address(&program, bias), program.segments.len()),
        interpreter: 0,
        stack_top,
        trampoline: VirtAddr(0),
        space,
    };
    map_stack(&image, &program, limits).await?;
    if let Some((file, elf)) = interpreter {
        let (low, high) = extent(&elf)?;
        let base = reserve(&image.space, high - low, limits).await?;
        let bias = base.wrapping_sub(low);
        map_segments(&image.space, &file, &elf, bias, limits).await?;
        image.interpreter = bias;
        image.start = bias.wrapping_add(elf.header.e_entry as usize);
    }
    if !request.trampoline.is_empty() {
        image.trampoline = map_trampoline(&image.space, request.trampoline, limits).await?;
    }
    Ok(image)
}

fn parse(opened: &Opened, machine: u16, bad: Errno) -> Result<Elf> {
    let head = opened.head.get(..EHDR).ok_or(bad)?;
    let ident = parse_ident::<LittleEndian>(head).map_err(|_| bad)?;
    if ident.1 != Class::ELF64 {
        return Err(bad.into());
    }
    let header = FileHeader::parse_tail(ident, &head[elf::abi::EI_NIDENT..]).map_err(|_| bad)?;
    let count = usize::from(header.e_phnum);
    let sound = header.e_machine == machine
        && matches!(header.e_type, ET_EXEC | ET_DYN)
        && usize::from(header.e_phentsize) == PHDR
        && (1..=MAX_HEADERS).contains(&count);
    if !sound {
        return Err(bad.into());
    }
    let mut raw = alloc::vec![0; count * PHDR];
    if read_at(&opened.file, header.e_phoff, &mut raw)? < raw.len() {
        return Err(bad.into());
    }
    let table: ParsingTable<'_, LittleEndian, ProgramHeader> = ParsingTable::new(header.endianness, header.class, &raw);
    let segments: Vec<ProgramHeader> = table.iter().collect();
    for segment in segments.iter().filter(|segment| segment.p_type == PT_LOAD) {
        check_segment(segment).ok_or(bad)?;
    }
    Ok(Elf { header, segments })
}

/// A segment must lie in user space, and its file part must be congruent with it.
fn check_segment(segment: &ProgramHeader) -> Option<()> {
    let end = segment.p_vaddr.checked_add(segment.p_memsz)?;
    segment.p_offset.checked_add(segment.p_filesz)?;
    let page = PAGE_SIZE as u64 - 1;
    let congruent = segment.p_vaddr & page == segment.p_offset & page;
    (segment.p_filesz <= segment.p_memsz && congruent && end <= USER_END.0 as u64).then_some(())
}

fn interpreter_name(opened: &Opened, program: &Elf) -> Result<Option<Vec<u8>>> {
    let mut names = program.segments.iter().filter(|segment| segment.p_type == PT_INTERP);
    let Some(segment) = names.next() else { return Ok(None) };
    if names.next().is_some() {
        return Err(Errno::EINVAL.into());
    }
    if !(2..=PATH_MAX).contains(&segment.p_filesz) {
        return Err(Errno::ENOEXEC.into());
    }
    let mut name = alloc::vec![0; segment.p_filesz as usize];
    if read_at(&opened.file, segment.p_offset, &mut name)? < name.len() || name.pop() != Some(0) {
        return Err(Errno::ENOEXEC.into());
    }
    Ok(Some(name))
}

/// The first and one past the last address that the segments take, by whole pages. ENOEXEC without any.
fn extent(elf: &Elf) -> Result<(usize, usize)> {
    let loads = || elf.segments.iter().filter(|segment| segment.p_type == PT_LOAD);
    let low = loads().map(|segment| segment.p_vaddr as usize).min().ok_or(Errno::ENOEXEC)?;
    let high = loads().map(|segment| (segment.p_vaddr + segment.p_memsz) as usize).max().ok_or(Errno::ENOEXEC)?;
    Ok((low & !(PAGE_SIZE - 1), high))
}

/// Where the program headers lie: in the segment that holds their part of the file.
fn header_address(elf: &Elf, bias: usize) -> usize {
    let offset = elf.header.e_phoff;
    let holder = elf.segments.iter().find(|segment| {
        segment.p_type == PT_LOAD && segment.p_offset <= offset && offset < segment.p_offset + segment.p_filesz
    });
    holder.map_or(0, |segment| bias.wrapping_add((segment.p_vaddr + (offset - segment.p_offset)) as usize))
}

async fn map_segments(space: &Space, opened: &Opened, elf: &Elf, bias: usize, limits: &Limits) -> Result<()> {
    let object = opened.file.mmap(false)?;
    for segment in elf.segments.iter().filter(|segment| segment.p_type == PT_LOAD && segment.p_memsz > 0) {
        map_segment(space, &object, segment, bias, limits).await?;
    }
    Ok(())
}

fn protection(segment: &ProgramHeader) -> Flags {
    let mut flags = Flags::MAY;
    for (bit, flag) in [(PF_R, Flags::READ), (PF_W, Flags::WRITE), (PF_X, Flags::EXEC)] {
        if segment.p_flags & bit != 0 {
            flags |= flag;
        }
    }
    flags
}

/// The pages that the file fills, the zeros at the end of the last of them, and the anonymous rest.
async fn map_segment(
    space: &Space,
    object: &Arc<dyn Object>,
    segment: &ProgramHeader,
    bias: usize,
    limits: &Limits,
) -> Result<()> {
    let addr = bias.wrapping_add(segment.p_vaddr as usize);
    let start = addr & !(PAGE_SIZE - 1);
    let file_end = addr + segment.p_filesz as usize;
    let end = addr + segment.p_memsz as usize;
    let flags = protection(segment);
    let mut anonymous = start;
    if segment.p_filesz > 0 {
        let offset = segment.p_offset & !(PAGE_SIZE as u64 - 1);
        let len = file_end - start;
        let object = Some((object.clone(), offset));
        let place = Place::Fixed(VirtAddr(start));
        space.map(MapRequest { place, len, flags, object, populate: false }, limits).await?;
        anonymous = file_end.next_multiple_of(PAGE_SIZE);
        // Behind the file's part the page holds whatever follows in the file.
        let tail = anonymous.min(end).max(file_end) - file_end;
        if tail > 0 && flags.contains(Flags::WRITE) {
            let zeros = [0; PAGE_SIZE];
            space.write_at(VirtAddr(file_end), &zeros[..anonymous - file_end]).await.map_err(|_| Errno::ENOMEM)?;
        }
    }
    if end > anonymous {
        let place = Place::Fixed(VirtAddr(anonymous));
        let len = end - anonymous;
        space.map(MapRequest { place, len, flags, object: None, populate: false }, limits).await?;
    }
    Ok(())
}

/// Finds room for `len` bytes where mappings go. The reservation is mapped over.
async fn reserve(space: &Space, len: usize, limits: &Limits) -> Result<usize> {
    let request = MapRequest::anonymous(Place::Hint(VirtAddr(0)), len, Flags::empty());
    Ok(space.map(request, limits).await?.0)
}

/// The stack is executable only if the program asks for it.
async fn map_stack(image: &Image, program: &Elf, limits: &Limits) -> Result<()> {
    let executable =
        program.segments.iter().any(|segment| segment.p_type == PT_GNU_STACK && segment.p_flags & PF_X != 0);
    let mut prot = Flags::READ | Flags::WRITE | Flags::GROWSDOWN;
    if executable {
        prot |= Flags::EXEC;
    }
    let place = Place::Fixed(VirtAddr(image.stack_top - STACK));
    image.space.map(MapRequest::anonymous(place, STACK, prot), limits).await?;
    Ok(())
}

async fn map_trampoline(space: &Space, code: &[u8], limits: &Limits) -> Result<VirtAddr> {
    let prot = Flags::READ | Flags::EXEC;
    let at = space.map(MapRequest::anonymous(Place::Hint(VirtAddr(0)), PAGE_SIZE, prot | Flags::WRITE), limits).await?;
    space.write_at(at, code).await.map_err(|_| Errno::ENOMEM)?;
    space.protect(at, PAGE_SIZE, prot, false, limits).await?;
    Ok(at)
}
