//! Writes newc archives, the form of an initramfs. Everything belongs to root, and times are nought, so that the same
//! content gives the same bytes.

/// The file type bits of a mode.
const DIRECTORY: u32 = 0o040000;
const REGULAR: u32 = 0o100000;
const LINK: u32 = 0o120000;
const CHARACTER: u32 = 0o020000;

/// An archive being written.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    inodes: u32,
}

impl Archive {
    /// An archive that goes on after the entries of an unfinished one.
    pub fn resume(bytes: Vec<u8>) -> Archive {
        Archive { bytes, inodes: 1_000_000 }
    }

    /// Adds a directory; `path` has no leading slash.
    pub fn directory(&mut self, path: &str, mode: u32) {
        self.entry(path, DIRECTORY | mode, (0, 0), &[]);
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, data: &[u8]) {
        self.entry(path, REGULAR | mode, (0, 0), data);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.entry(path, LINK | 0o777, (0, 0), target.as_bytes());
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, mode: u32, number: (u32, u32)) {
        self.entry(path, CHARACTER | mode, number, &[]);
    }

    /// The entries so far, without the end of the archive.
    pub fn unfinished(self) -> Vec<u8> {
        self.bytes
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        self.inodes += 1;
        let links = if mode & DIRECTORY != 0 && mode & REGULAR != REGULAR { 2 } else { 1 };
        let size = data.len() as u32;
        let name_size = path.len() as u32 + 1;
        let fields = [self.inodes, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0]
            .map(|n| format!("{n:08x}"));
        self.bytes.extend_from_slice(b"070701");
        self.bytes.extend_from_slice(fields.concat().as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_a_110_byte_header_and_is_padded_to_four() {
        let mut archive = Archive::default();
        archive.file("etc/x", 0o644, b"hello");
        let bytes = archive.unfinished();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[14..22], b"000081a4");
        assert_eq!(&bytes[54..62], b"00000005");
        assert_eq!(&bytes[94..102], b"00000006");
        assert_eq!(&bytes[110..116], b"etc/x\0");
        assert_eq!(&bytes[116..121], b"hello");
        assert_eq!(bytes.len() % 4, 0);
    }
}
