//! Turns kernel addresses in a log into functions and lines.

use std::path::{Path, PathBuf};

use addr2line::Loader;
use anyhow::{Context, Result, anyhow};
use object::{Object, ObjectSymbol};

/// The kernel's symbols.
pub struct Symbols {
    loader: Loader,
    elf: PathBuf,
}

impl Symbols {
    /// Reads the symbols of an ELF file.
    pub fn load(elf: &Path) -> Result<Symbols> {
        let loader = Loader::new(elf).map_err(|error| anyhow!("{}: {error}", elf.display()))?;
        Ok(Symbols { loader, elf: elf.to_path_buf() })
    }

    /// Where a variable or function lies.
    pub fn address(&self, name: &str) -> Result<u64> {
        let data = std::fs::read(&self.elf)?;
        let file = object::File::parse(&*data)?;
        let named = |symbol: &object::Symbol| symbol.name().is_ok_and(|found| demangle(found) == name);
        file.symbols().find(named).map(|symbol| symbol.address()).with_context(|| format!("no symbol {name}"))
    }

    /// Every function that an address lies in, the innermost inlined one first, as `function (file:line)`.
    pub fn describe(&self, address: u64) -> Vec<String> {
        let mut found = Vec::new();
        if let Ok(mut frames) = self.loader.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                let name = frame.function.as_ref().and_then(|name| name.raw_name().ok().map(|name| demangle(&name)));
                let place = frame.location.and_then(|place| Some(format!("{}:{}", short(place.file?), place.line?)));
                match (name, place) {
                    (Some(name), Some(place)) => found.push(format!("{name} ({place})")),
                    (Some(name), None) => found.push(name),
                    (None, Some(place)) => found.push(place),
                    (None, None) => {}
                }
            }
        }
        // With line tables only, functions have no names in the debug information.
        if found.is_empty()
            && let Some(name) = self.loader.find_symbol(address)
        {
            found.push(demangle(name));
        }
        found
    }
}

/// A symbol as a person writes it, without the hash.
pub fn demangle(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

/// A source path from the work tree's top, or its last parts.
fn short(path: &str) -> &str {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let top = root.trim_end_matches("tests/");
    let registry = || Some(path.split_once("/registry/src/")?.1.split_once('/')?.1);
    let library = || Some(path.rsplit_once("/library/")?.1);
    path.strip_prefix(top).or_else(registry).or_else(library).unwrap_or(path)
}

/// Whether a line says that the kernel gave up.
pub fn is_panic(line: &str) -> bool {
    line.to_ascii_lowercase().contains("kernel panic")
}

/// The kernel addresses of a line: `0x` and 16 hexadecimal digits with the upper half's leading ones, or any address on
/// a line of a backtrace (`  #N 0x...`).
pub fn addresses(line: &str) -> Vec<u64> {
    let in_backtrace = line.split(']').next_back().unwrap_or(line).trim_start().starts_with('#');
    line.match_indices("0x")
        .filter_map(|(at, _)| {
            let digits: String = line[at + 2..].chars().take_while(char::is_ascii_hexdigit).collect();
            u64::from_str_radix(&digits, 16).ok()
        })
        .filter(|&address| address >= 0xFFFF_0000_0000_0000 || (in_backtrace && address >= 0x1000))
        .collect()
}

/// The panic of a log, with each address explained under its line; nothing if there was none.
pub fn explain(log: &str, symbols: Option<&Symbols>) -> Option<String> {
    let start = log.lines().position(is_panic)?;
    let mut text = String::new();
    for line in log.lines().skip(start) {
        text += line;
        text.push('\n');
        let Some(symbols) = symbols else { continue };
        for address in addresses(line) {
            // A return address points after its call.
            for place in symbols.describe(address - 1) {
                text += &format!("        {place}\n");
            }
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_backtraces_and_where_they_are_kernel_ones() {
        assert_eq!(addresses("  #0 0x200140"), [0x200140]);
        assert_eq!(addresses("[    0.5] #3 0xffffffff80201234 0x1"), [0xffff_ffff_8020_1234]);
        assert_eq!(addresses("fault at 0x1234 rip 0xffffffff80001000"), [0xffff_ffff_8000_1000]);
        assert!(addresses("0xzz 0x").is_empty());
    }

    #[test]
    fn a_log_without_a_panic_has_nothing_to_explain() {
        assert!(explain("booting\nall well\n", None).is_none());
        assert_eq!(explain("a\nKernel panic - not syncing\nb\n", None).unwrap(), "Kernel panic - not syncing\nb\n");
    }
}
