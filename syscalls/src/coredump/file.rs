//! The file itself (elf(5)): a header, a program header for the notes and for each area, the notes, and the memory.

use super::notes;
use crate::abi;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arch::addr::{PAGE_SIZE, VirtAddr};
use base::{Credentials, Errno, Error, Result};
use memory::io::Src;
use memory::space::{AreaInfo, AreaUsage, Flags};
use process::dump::filter;
use process::{Current, Siginfo};
use vfs::open::{self, Request};
use vfs::path::Walk;
use vfs::{Caller, Description, FileType, OpenFlags};

const EHDR: usize = 64;
const PHDR: usize = 56;

/// One area.
struct Segment {
    start: usize,
    end: usize,
    flags: Flags,
    /// Bytes of it in the file.
    kept: usize,
    /// Whether only its first page may be kept, if that begins as ELF files do.
    headers: bool,
    /// The mapped file's name, and the offset in it.
    file: Option<(Vec<u8>, u64)>,
}

/// Where the file is written.
struct Output {
    file: Arc<Description>,
    /// RLIMIT_CORE: the file is cut there.
    limit: u64,
}

/// Writes the core file `name` of the caller's process, which dies of `info`, from its memory, the caller's registers and
/// `vectors`, and the notes of the others. Fails if there is no file; one that ends early counts as written.
pub async fn write(
    current: &Current,
    info: &Siginfo,
    name: &[u8],
    limit: u64,
    vectors: &[u8],
    others: &[Vec<u8>],
) -> Result<()> {
    let file = create(current, name)?;
    let mut segments = segments(current).await?;
    for segment in segments.iter_mut().filter(|segment| segment.headers) {
        if begins_as_elf(current, segment.start).await {
            segment.kept = PAGE_SIZE;
        }
    }
    let notes = all_notes(current, info, vectors, others, &segments).await?;
    let output = Output { file, limit };
    // What does not fit, on the disk or within the limit, is missing.
    let _ = put_all(current, &output, &segments, &notes).await;
    Ok(())
}

/// Creates the file, or cuts it off: a regular file of the caller's own, with one name. ENOENT, EACCES, EPERM and what else opening gives.
fn create(current: &Current, name: &[u8]) -> Result<Arc<Description>> {
    let flags = OpenFlags::CREAT | OpenFlags::NOFOLLOW | OpenFlags::WRONLY;
    let request = Request { flags, mode: 0o600, umask: current.fs.umask() };
    let caller = current.caller();
    let file = open::open(&Walk::new(&caller, &current.fs, None), name, &request)?;
    let at = file.location();
    let metadata = at.inode().metadata();
    let fits = metadata.kind == FileType::Regular && metadata.nlink == 1 && metadata.uid == current.cred.fsuid;
    if !fits {
        return Err(Errno::EPERM.into());
    }
    at.inode().truncate(0)?;
    Ok(file)
}

/// The areas of the caller's memory, and what of them is kept.
async fn segments(current: &Current) -> Result<Vec<Segment>> {
    let wanted = current.thread.process.core_filter();
    let mut segments = Vec::new();
    let mut full = false;
    current
        .space
        .each_usage(VirtAddr(0), |area, usage| {
            full = segments.try_reserve(1).is_err();
            if !full {
                segments.push(segment(area, usage, wanted));
            }
            !full
        })
        .await;
    if full { Err(Errno::ENOMEM.into()) } else { Ok(segments) }
}

fn segment(area: &AreaInfo, usage: &AreaUsage, wanted: u32) -> Segment {
    let (start, end, flags) = (area.start().0, area.end().0, area.flags());
    let file = area.has_object().then(|| {
        let mut name = Name(Vec::new());
        // A name that there is no memory for is cut.
        let _ = area.write_name(&mut name);
        (name.0, area.offset())
    });
    let asked = |bit| wanted & bit != 0;
    let whole = if flags.contains(Flags::DONTDUMP) {
        false
    } else if flags.contains(Flags::SHARED) {
        // What no file system has shows the device that anonymous memory has.
        let anonymous = area.identity().minor == ANONYMOUS && area.identity().major == 0;
        asked(if anonymous { filter::ANONYMOUS_SHARED } else { filter::FILE_SHARED })
    } else {
        usage.anonymous > 0 && asked(filter::ANONYMOUS_PRIVATE) || file.is_some() && asked(filter::FILE_PRIVATE)
    };
    let first = file.as_ref().is_some_and(|(_, offset)| *offset == 0) && flags.contains(Flags::READ);
    let headers = !whole && first && asked(filter::ELF_HEADERS) && !flags.contains(Flags::DONTDUMP | Flags::SHARED);
    Segment { start, end, flags, kept: if whole { end - start } else { 0 }, headers, file }
}

/// The minor number of the device that shared anonymous memory has in /proc/PID/maps.
const ANONYMOUS: u32 = 1;

/// A name in the making.
struct Name(Vec<u8>);

impl core::fmt::Write for Name {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.try_reserve(text.len()).map_err(|_| core::fmt::Error)?;
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

async fn begins_as_elf(current: &Current, at: usize) -> bool {
    let mut head = [0; 4];
    match current.space.next_page(VirtAddr(at), VirtAddr(at + PAGE_SIZE)).await {
        Some((_, frame)) => frame.read(0, &mut head) == 4 && head == *b"\x7fELF",
        None => false,
    }
}

/// All notes: the caller comes first, as the thread that died.
async fn all_notes(
    current: &Current,
    info: &Siginfo,
    vectors: &[u8],
    others: &[Vec<u8>],
    segments: &[Segment],
) -> Result<Vec<u8>> {
    let (strings, auxv) = {
        let shared = current.thread.process.shared.lock();
        (shared.strings.0, shared.auxv)
    };
    let mut out = Vec::new();
    notes::begin_thread(current, info.signal.number(), &mut out)?;
    let arguments = bytes_of(current, strings, 80).await;
    notes::push(&mut out, notes::CORE, notes::PRPSINFO, &notes::process_info(current, &arguments))?;
    notes::push(&mut out, notes::CORE, notes::SIGINFO, &info.encode())?;
    notes::push(&mut out, notes::CORE, notes::AUXV, &bytes_of(current, auxv, PAGE_SIZE).await)?;
    notes::push(&mut out, notes::CORE, notes::FILES, &files(segments)?)?;
    notes::end_thread(current, vectors, &mut out)?;
    for notes in others {
        out.try_reserve(notes.len()).map_err(|_| Errno::ENOMEM)?;
        out.extend_from_slice(notes);
    }
    Ok(out)
}

/// At most `most` of the bytes in a range of the program's memory, as far as they are there.
async fn bytes_of(current: &Current, (start, end): (usize, usize), most: usize) -> Vec<u8> {
    let mut bytes = alloc::vec![0; end.saturating_sub(start).min(most)];
    let read = current.space.read_at(VirtAddr(start), &mut bytes).await.unwrap_or(0);
    bytes.truncate(read);
    bytes
}

/// NT_FILE: count and page size; start, end and offset in pages of each mapping; their names. ENOMEM.
fn files(segments: &[Segment]) -> Result<Vec<u8>> {
    let mapped = || segments.iter().filter_map(|segment| Some((segment, segment.file.as_ref()?)));
    let len: usize = mapped().map(|(_, (name, _))| 24 + name.len() + 1).sum();
    let mut data = Vec::new();
    data.try_reserve_exact(16 + len).map_err(|_| Errno::ENOMEM)?;
    let mut put = |word: usize| data.extend_from_slice(&word.to_le_bytes());
    put(mapped().count());
    put(PAGE_SIZE);
    for (segment, (_, offset)) in mapped() {
        put(segment.start);
        put(segment.end);
        put(*offset as usize / PAGE_SIZE);
    }
    for (_, (name, _)) in mapped() {
        data.extend_from_slice(name);
        data.push(0);
    }
    Ok(data)
}

/// Writes everything. Fails where it has to stop.
async fn put_all(current: &Current, output: &Output, segments: &[Segment], notes: &[u8]) -> Result<()> {
    let table = EHDR + PHDR * (segments.len() + 1);
    let first = (table + notes.len()).next_multiple_of(PAGE_SIZE);
    let size = first + segments.iter().map(|segment| segment.kept).sum::<usize>();
    output.put(0, &headers(segments, table, notes.len(), first)?)?;
    output.put(table as u64, notes)?;
    // Pages that were never touched are holes, also at the end.
    output.file.location().inode().truncate((size as u64).min(output.limit))?;
    let mut place = first;
    let mut page = alloc::vec![0; PAGE_SIZE];
    for segment in segments {
        let stop = VirtAddr(segment.start + segment.kept);
        let mut at = VirtAddr(segment.start);
        while at < stop
            && let Some((found, frame)) = current.space.next_page(at, stop).await
        {
            frame.read(0, &mut page);
            drop(frame);
            output.put((place + found.0 - segment.start) as u64, &page)?;
            at = VirtAddr(found.0 + PAGE_SIZE);
        }
        place += segment.kept;
    }
    Ok(())
}

/// The ELF header and the program headers. ENOMEM.
fn headers(segments: &[Segment], table: usize, notes: usize, first: usize) -> Result<Vec<u8>> {
    const CORE: u16 = 4;
    const LOAD: u32 = 1;
    const NOTE: u32 = 4;
    let mut out = Vec::new();
    out.try_reserve_exact(table).map_err(|_| Errno::ENOMEM)?;
    // ELF, 64 bits, little-endian, version 1.
    out.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    out.extend_from_slice(&CORE.to_le_bytes());
    out.extend_from_slice(&abi::ELF_MACHINE.to_le_bytes());
    out.extend_from_slice(&1u32.to_le_bytes());
    // No entry point; program headers follow; no sections.
    for word in [0, EHDR as u64, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&0u32.to_le_bytes());
    for half in [EHDR as u16, PHDR as u16, segments.len() as u16 + 1, 0, 0, 0] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    let mut header = |kind: u32, flags: u32, words: [usize; 6]| {
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    };
    // Offset, address, physical address, bytes in the file and in memory, alignment.
    header(NOTE, 0, [table, 0, 0, notes, 0, 4]);
    let mut offset = first;
    for Segment { start, end, flags, kept, .. } in segments {
        let bits = [(Flags::EXEC, 1), (Flags::WRITE, 2), (Flags::READ, 4)];
        let allowed = bits.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, bit)| bit).sum();
        header(LOAD, allowed, [offset, *start, 0, *kept, end - start, PAGE_SIZE]);
        offset += kept;
    }
    Ok(out)
}

impl Output {
    /// Writes at a place. EFBIG past the limit, after what is within it; what writing gives.
    fn put(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let room = usize::try_from(self.limit.saturating_sub(at)).unwrap_or(usize::MAX);
        let within = &bytes[..bytes.len().min(room)];
        let kernel = Credentials::root();
        let caller = Caller::kernel(&kernel);
        let mut done = 0;
        while done < within.len() {
            match self.file.file().write(&caller, at + done as u64, &mut Src::kernel(&within[done..]))? {
                0 => return Err(Error::Errno(Errno::ENOSPC)),
                written => done += written,
            }
        }
        if within.len() < bytes.len() { Err(Errno::EFBIG.into()) } else { Ok(()) }
    }
}
