//! The headers of an ELF file (elf(5)), read from a file that may hold anything: what comes out of [`Elf::parse`] has
//! segments that lie in user space, so that whoever maps them need not fear an overflow.

use alloc::vec::Vec;
use arch::addr::PAGE_SIZE;
use arch::paging::USER_END;
use base::{Errno, Result};
use elf::abi::{ET_DYN, ET_EXEC, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::parse::ParsingTable;
use elf::segment::ProgramHeader;

/// An ELF file's headers.
pub(super) struct Elf {
    header: FileHeader<LittleEndian>,
    segments: Vec<ProgramHeader>,
}

/// Bytes in an ELF header and in a program header.
const EHDR: usize = 64;
const PHDR: usize = 56;

/// No more than a page of program headers, as on Linux.
const MAX_HEADERS: usize = PAGE_SIZE / PHDR;

/// The longest interpreter name, with its zero.
const PATH_MAX: u64 = 4096;

impl Elf {
    /// Reads the headers of a program for `machine`. `head` is the start of the file, and `read` reads from an offset and
    /// says how many bytes there were. The error is `bad` for what is no such program.
    pub fn parse(
        head: &[u8],
        machine: u16,
        bad: Errno,
        read: impl FnOnce(u64, &mut [u8]) -> Result<usize>,
    ) -> Result<Elf> {
        let head = head.get(..EHDR).ok_or(bad)?;
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
        if read(header.e_phoff, &mut raw)? < raw.len() {
            return Err(bad.into());
        }
        let table: ParsingTable<'_, LittleEndian, ProgramHeader> =
            ParsingTable::new(header.endianness, header.class, &raw);
        let elf = Elf { header, segments: table.iter().collect() };
        for segment in elf.loads() {
            check_segment(segment).ok_or(bad)?;
        }
        Ok(elf)
    }

    /// The segments that are mapped.
    pub fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.segments.iter().filter(|segment| segment.p_type == PT_LOAD)
    }

    /// How many program headers there are.
    pub fn header_count(&self) -> usize {
        self.segments.len()
    }

    /// Whether the segments must lie where their addresses say.
    pub fn is_fixed(&self) -> bool {
        self.header.e_type == ET_EXEC
    }

    /// Whether the program asks for an executable stack.
    pub fn executable_stack(&self) -> bool {
        self.segments.iter().any(|segment| segment.p_type == PT_GNU_STACK && segment.p_flags & PF_X != 0)
    }

    /// The entry point of a program that lies `bias` above its addresses. It may be any number.
    pub fn entry(&self, bias: usize) -> usize {
        bias.wrapping_add(self.header.e_entry as usize)
    }

    /// The name of the interpreter, if the program wants one. ENOEXEC, or EINVAL where it wants two.
    pub fn interpreter(&self, read: impl FnOnce(u64, &mut [u8]) -> Result<usize>) -> Result<Option<Vec<u8>>> {
        let mut names = self.segments.iter().filter(|segment| segment.p_type == PT_INTERP);
        let Some(segment) = names.next() else { return Ok(None) };
        if names.next().is_some() {
            return Err(Errno::EINVAL.into());
        }
        if !(2..=PATH_MAX).contains(&segment.p_filesz) {
            return Err(Errno::ENOEXEC.into());
        }
        let mut name = alloc::vec![0; segment.p_filesz as usize];
        if read(segment.p_offset, &mut name)? < name.len() || name.pop() != Some(0) {
            return Err(Errno::ENOEXEC.into());
        }
        Ok(Some(name))
    }

    /// The start of the first page and one past the last address that the segments take. ENOEXEC without any.
    pub fn extent(&self) -> Result<(usize, usize)> {
        let low = self.loads().map(|segment| segment.p_vaddr as usize).min().ok_or(Errno::ENOEXEC)?;
        let high = self.loads().map(|segment| (segment.p_vaddr + segment.p_memsz) as usize).max();
        Ok((low & !(PAGE_SIZE - 1), high.ok_or(Errno::ENOEXEC)?))
    }

    /// What the address that the program is moved by has to be a multiple of: the largest alignment that a segment asks for, and
    /// a page at least. What is no power of two asks for nothing.
    pub fn alignment(&self) -> usize {
        let aligned = self.loads().map(|segment| segment.p_align).filter(|align| align.is_power_of_two());
        aligned.max().map_or(PAGE_SIZE, |most| (most as usize).max(PAGE_SIZE))
    }

    /// Where the program headers lie in memory: in the segment that holds their part of the file.
    pub fn header_address(&self, bias: usize) -> usize {
        let offset = self.header.e_phoff;
        let holder =
            self.loads().find(|segment| segment.p_offset <= offset && offset < segment.p_offset + segment.p_filesz);
        holder.map_or(0, |segment| bias.wrapping_add((segment.p_vaddr + (offset - segment.p_offset)) as usize))
    }
}

/// A segment must lie in user space, and its file part must be congruent with it.
fn check_segment(segment: &ProgramHeader) -> Option<()> {
    let end = segment.p_vaddr.checked_add(segment.p_memsz)?;
    segment.p_offset.checked_add(segment.p_filesz)?;
    let page = PAGE_SIZE as u64 - 1;
    let congruent = segment.p_vaddr & page == segment.p_offset & page;
    (segment.p_filesz <= segment.p_memsz && congruent && end <= USER_END.0 as u64).then_some(())
}

#[cfg(test)]
mod tests;
