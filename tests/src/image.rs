//! The kernel image: the file that QEMU's `-kernel` takes.
//!
//! x86_64: the ELF file itself, entered by its PVH note. aarch64: the flat form, which begins with the arm64 Image
//! header at the lowest loaded address.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

use crate::arch::{Arch, out};
use crate::packages::{self, Wanted};
use crate::toolchain::Toolchain;

/// A kernel to boot.
pub struct Kernel {
    /// What `-kernel` takes.
    pub image: PathBuf,
    /// Where symbols are, if they are known.
    pub elf: Option<PathBuf>,
    /// What it is called in tables.
    pub name: String,
}

/// Builds our kernel.
pub fn build(arch: Arch) -> Result<Kernel> {
    build_for(arch, false)
}

/// Builds our kernel for use or for a debugger.
pub fn build_for(arch: Arch, debugging: bool) -> Result<Kernel> {
    from_elf(arch, Toolchain::load()?.build_kernel(arch, debugging)?)
}

/// Builds our kernel with trace points.
pub fn build_traced(arch: Arch) -> Result<Kernel> {
    from_elf(arch, Toolchain::load()?.build_traced_kernel(arch)?)
}

fn from_elf(arch: Arch, elf: PathBuf) -> Result<Kernel> {
    let image = match arch {
        Arch::X86_64 => elf.clone(),
        Arch::Aarch64 => {
            let image = elf.with_extension("image");
            let flat = flatten(&fs::read(&elf)?).with_context(|| format!("{}", elf.display()))?;
            fs::write(&image, flat)?;
            image
        }
    };
    Ok(Kernel { image, elf: Some(elf), name: "Pollux".to_string() })
}

/// Debian's stock cloud kernel, the peer.
pub fn peer(arch: Arch) -> Result<Kernel> {
    let wanted = Wanted { plain: vec![format!("linux-image-cloud-{}", arch.debian())], ..Wanted::default() };
    let [package] = &packages::fetch(arch, "peer", &wanted)?[..] else {
        anyhow::bail!("one kernel package was expected");
    };
    let boot = packages::unpack(package)?.join("boot");
    let image = fs::read_dir(&boot)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
        .with_context(|| format!("no vmlinuz in {}", boot.display()))?;
    let version = image.file_name().map(|name| name.to_string_lossy().replace("vmlinuz-", "")).unwrap_or_default();
    Ok(Kernel { image, elf: None, name: format!("Linux {version}") })
}

/// The kernel that POLLUX_KERNEL names: `peer`, a path, or by default our own.
pub fn chosen(arch: Arch) -> Result<Kernel> {
    match std::env::var("POLLUX_KERNEL").as_deref() {
        Err(_) | Ok("" | "ours") => build(arch),
        Ok("peer") => peer(arch),
        Ok(path) => Ok(Kernel { image: path.into(), elf: elf_of(Path::new(path)), name: path.to_string() }),
    }
}

/// Our kernel with its own checks, the order of locks among them, unless another was chosen.
pub fn checked(arch: Arch) -> Result<Option<Kernel>> {
    match std::env::var("POLLUX_KERNEL").as_deref() {
        Err(_) | Ok("" | "ours") => {
            let kernel = build_for(arch, true)?;
            Ok(Some(Kernel { name: format!("{} with its checks", kernel.name), ..kernel }))
        }
        Ok(_) => Ok(None),
    }
}

/// The ELF file of an image: the image itself, or what lies beside a flat one that [`build`] made.
fn elf_of(image: &Path) -> Option<PathBuf> {
    [image.to_path_buf(), image.with_extension("")].into_iter().find(|path| {
        let mut magic = [0; 4];
        fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
    })
}

/// Lays out the loadable segments as they will be in memory, from the lowest address on.
fn flatten(elf: &[u8]) -> Result<Vec<u8>> {
    let header = FileHeader64::<object::Endianness>::parse(elf)?;
    let endian = header.endian()?;
    let loads: Vec<_> =
        header.program_headers(endian, elf)?.iter().filter(|segment| segment.p_type(endian) == PT_LOAD).collect();
    let base = loads.iter().map(|segment| segment.p_paddr(endian)).min().context("nothing to load")?;
    let mut flat = Vec::new();
    for segment in loads {
        let data = segment.data(endian, elf).ok().context("a segment lies outside the file")?;
        let start = usize::try_from(segment.p_paddr(endian) - base)?;
        ensure!(start + data.len() <= 256 << 20, "segments are more than 256 MiB apart");
        if flat.len() < start + data.len() {
            flat.resize(start + data.len(), 0);
        }
        flat[start..start + data.len()].copy_from_slice(data);
    }
    Ok(flat)
}

/// Where the logs of the last runs are kept.
pub fn log_path(arch: Arch) -> PathBuf {
    out().join(format!("last-{}.log", arch.name()))
}

/// The size of a file in bytes.
pub fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |data| data.len())
}
