//! The address space of a new program: its ELF file's segments, its interpreter's, room for a heap and a stack (elf(5)).

use super::elf::Elf;
use super::{Opened, Request, find, open, read_at};
use crate::current::Current;
use alloc::sync::Arc;
use arch::addr::{PAGE_SIZE, VirtAddr};
use arch::paging::USER_END;
use base::{Errno, Result, rank};
use elf::abi::{PF_R, PF_W, PF_X};
use elf::segment::ProgramHeader;
use executor::spin::SpinLock;
use memory::Space;
use memory::space::{Flags, Layout, Limits, MapRequest, Object, Place, Supplied};

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

/// Where position-independent programs lie without their random offset: two thirds up.
const PROGRAM_BASE: usize = USER_END.0 / 3 * 2 & !(PAGE_SIZE - 1);

/// The stack that is mapped from the start; it grows below.
const STACK: usize = 132 * 1024;

/// Page-sized pieces of randomness from the request: for the stack, mappings, the program and the heap.
fn random_pages(random: &[u8; 32], which: usize, bits: u32) -> usize {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&random[16 + which * 4..20 + which * 4]);
    (u32::from_ne_bytes(bytes) & ((1 << bits) - 1)) as usize * PAGE_SIZE
}

fn parse(opened: &Opened, machine: u16, bad: Errno) -> Result<Elf> {
    Elf::parse(&opened.head, machine, bad, |offset, buf| read_at(&opened.file, offset, buf))
}

/// Builds the space. ENOEXEC for what is no program of this machine, ENOMEM, and what opening the interpreter gives.
pub(super) async fn build(current: &Current, request: &Request, opened: &Opened, limits: &Limits) -> Result<Image> {
    let program = parse(opened, request.machine, Errno::ENOEXEC)?;
    let interpreter = match program.interpreter(|offset, buf| read_at(&opened.file, offset, buf))? {
        Some(name) => {
            let file = open(current, &find(current, &name)?)?;
            let elf = parse(&file, request.machine, Errno::ELIBBAD)?;
            Some((file, elf))
        }
        None => None,
    };
    let (low, high) = program.extent()?;
    // Below zero for a program whose addresses are high. One that asks for more alignment than there are addresses would lie
    // at 0, where nothing is mapped.
    let bias = match program.is_fixed() {
        true => 0,
        false => {
            let start = (PROGRAM_BASE + random_pages(&request.random, 2, 28)) & !(program.alignment() - 1);
            start.wrapping_sub(low)
        }
    };
    let brk = bias.wrapping_add(high).next_multiple_of(PAGE_SIZE) + random_pages(&request.random, 3, 13);
    let stack_offset = random_pages(&request.random, 0, 22);
    let layout = Layout::new(VirtAddr(brk), limits.stack, stack_offset, random_pages(&request.random, 1, 28));
    let stack_top = layout.stack.0;
    let space = Space::new(layout).map_err(|_| Errno::ENOMEM)?;
    map_segments(&space, opened, &program, bias, limits).await?;
    let mut image = Image {
        start: program.entry(bias),
        entry: program.entry(bias),
        headers: (program.header_address(bias), program.header_count()),
        interpreter: 0,
        stack_top,
        trampoline: VirtAddr(0),
        space,
    };
    map_stack(&image, &program, limits).await?;
    if let Some((file, elf)) = interpreter {
        let (low, high) = elf.extent()?;
        let base = reserve(&image.space, high - low, limits).await?;
        let bias = base.wrapping_sub(low);
        map_segments(&image.space, &file, &elf, bias, limits).await?;
        image.interpreter = bias;
        image.start = elf.entry(bias);
    }
    if let Some(trampoline) = trampoline(request.trampoline)? {
        image.trampoline = map_trampoline(&image.space, trampoline, limits).await?;
    }
    Ok(image)
}

async fn map_segments(space: &Space, opened: &Opened, elf: &Elf, bias: usize, limits: &Limits) -> Result<()> {
    let object = opened.file.mmap(false)?;
    for segment in elf.loads().filter(|segment| segment.p_memsz > 0) {
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
    let mut prot = Flags::READ | Flags::WRITE | Flags::GROWSDOWN;
    if program.executable_stack() {
        prot |= Flags::EXEC;
    }
    let place = Place::Fixed(VirtAddr(image.stack_top - STACK));
    image.space.map(MapRequest::anonymous(place, STACK, prot), limits).await?;
    Ok(())
}

/// The page with the sigreturn trampoline, made for the first program; none without code. ENOMEM.
fn trampoline(code: &[u8]) -> Result<Option<Arc<Supplied>>> {
    static PAGE: SpinLock<Option<Arc<Supplied>>> = SpinLock::new(rank::THREAD, None);
    if code.is_empty() {
        return Ok(None);
    }
    let mut page = PAGE.lock();
    if page.is_none() {
        *page = Some(Supplied::new("[sigpage]", code)?);
    }
    Ok(page.clone())
}

async fn map_trampoline(space: &Space, page: Arc<Supplied>, limits: &Limits) -> Result<VirtAddr> {
    let flags = Flags::READ | Flags::EXEC | Flags::MAY_READ | Flags::MAY_EXEC;
    let place = Place::Hint(VirtAddr(0));
    let object: Arc<dyn Object> = page;
    Ok(space
        .map(MapRequest { place, len: PAGE_SIZE, flags, object: Some((object, 0)), populate: false }, limits)
        .await?)
}
