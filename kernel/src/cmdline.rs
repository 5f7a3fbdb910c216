//! The kernel command line (bootparam(7)): what the kernel takes for itself, and what it hands to the first program.

use alloc::vec::Vec;
use base::rank;
use executor::spin::SpinLock;

/// The command line, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The first program from the initial file system (`rdinit=`).
    pub rdinit: Option<Vec<u8>>,
    /// The first program (`init=`).
    pub init: Option<Vec<u8>>,
    /// Seconds until a restart after a panic: 0 never, negative at once (`panic=`).
    pub panic: Option<i64>,
    /// Only errors are printed (`quiet`).
    pub quiet: bool,
    /// The least urgent level that is not printed (`loglevel=`).
    pub loglevel: Option<u8>,
    /// The console devices, the last of which is /dev/console (`console=`).
    pub consoles: Vec<Vec<u8>>,
    /// Arguments of the first program: unknown words, and all after `--`.
    pub arguments: Vec<Vec<u8>>,
    /// Environment of the first program: unknown words with a `=`.
    pub environment: Vec<Vec<u8>>,
}

/// The line as the loader gave it.
static GIVEN: SpinLock<&'static [u8]> = SpinLock::new(rank::PROC_FILES, b"");

/// Keeps the line as the loader gave it, for /proc/cmdline.
pub fn keep(line: &'static [u8]) {
    *GIVEN.lock() = line;
}

/// What [`keep`] was told.
pub fn given() -> &'static [u8] {
    *GIVEN.lock()
}

/// Parameters of Linux that say something about hardware or policies which do not exist here, as a loader that
/// starts both kernels may pass them; they are the kernel's, not the first program's.
const KNOWN: &[&[u8]] = &[b"root", b"ro", b"rw", b"rootfstype", b"rootwait", b"earlycon", b"BOOT_IMAGE"];

impl CommandLine {
    /// Takes `line` apart. Double quotes keep spaces together, as Linux has it.
    pub fn parse(line: &[u8]) -> CommandLine {
        let mut parsed = CommandLine::default();
        let mut words = words(line).into_iter();
        for word in words.by_ref() {
            if word == b"--" {
                break;
            }
            parsed.take(word);
        }
        parsed.arguments.extend(words);
        parsed
    }

    fn take(&mut self, word: Vec<u8>) {
        let (name, value) = match word.iter().position(|&byte| byte == b'=') {
            Some(at) => (&word[..at], Some(&word[at + 1..])),
            None => (&word[..], None),
        };
        match (name, value) {
            (b"rdinit" | b"init", Some(value)) => {
                let program = if name == b"init" { &mut self.init } else { &mut self.rdinit };
                *program = Some(value.to_vec());
                // What stood before was meant for nobody.
                self.arguments.clear();
            }
            (b"panic", Some(value)) => self.panic = number(value),
            (b"loglevel", Some(value)) => self.loglevel = number(value).and_then(|n| u8::try_from(n).ok()),
            (b"console", Some(value)) => self.consoles.push(value.to_vec()),
            (b"quiet", None) => self.quiet = true,
            (name, _) if KNOWN.contains(&name) => {}
            // A dot makes it a parameter of some module.
            (name, _) if name.contains(&b'.') => {}
            (_, Some(_)) => self.environment.push(word),
            (_, None) => self.arguments.push(word),
        }
    }
}

fn number(value: &[u8]) -> Option<i64> {
    core::str::from_utf8(value).ok()?.parse().ok()
}

fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let mut quoted = false;
    for &byte in line {
        match byte {
            b'"' => quoted = !quoted,
            b' ' | b'\t' | b'\n' | 0 if !quoted => {
                if !word.is_empty() {
                    words.push(core::mem::take(&mut word));
                }
            }
            _ => word.push(byte),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    #[test]
    fn unknown_words_go_to_init() {
        let line = CommandLine::parse(b"quiet panic=-1 single FOO=bar console=ttyS0 mod.x=1 -- a \"b c\" d=e");
        assert!(line.quiet);
        assert_eq!(line.panic, Some(-1));
        assert_eq!(line.consoles, [b"ttyS0".to_vec()]);
        assert_eq!(line.arguments, [b"single".to_vec(), b"a".to_vec(), b"b c".to_vec(), b"d=e".to_vec()]);
        assert_eq!(line.environment, [b"FOO=bar".to_vec()]);
    }

    proptest! {
        #[test]
        fn any_line_is_taken_apart_into_no_more_than_it_holds(line in vec(any::<u8>(), 0..300)) {
            let parsed = CommandLine::parse(&line);
            let kept = parsed.arguments.iter().chain(&parsed.environment).chain(&parsed.consoles);
            assert!(kept.chain(&parsed.init).chain(&parsed.rdinit).map(Vec::len).sum::<usize>() <= line.len());
        }

        #[test]
        fn words_behind_the_dashes_are_handed_on_as_they_are(words in vec("[a-z=. -]{1,9}", 0..9), head in "[a-z =]*") {
            let quoted: String = words.iter().map(|word| format!(" \"{word}\"")).collect();
            let parsed = CommandLine::parse(format!("{head} --{quoted}").as_bytes());
            let first = parsed.arguments.len() - words.len();
            assert!(parsed.arguments[first..].iter().eq(words.iter().map(|word| word.as_bytes())));
        }
    }

    #[test]
    fn init_and_rdinit_forget_the_arguments_before_them() {
        for (text, program) in [(&b"x init=/bin/sh y"[..], "init"), (b"x rdinit=/bin/sh y", "rdinit")] {
            let line = CommandLine::parse(text);
            let named = if program == "init" { &line.init } else { &line.rdinit };
            assert_eq!(named.as_deref(), Some(&b"/bin/sh"[..]), "{program}");
            assert_eq!(line.arguments, [b"y".to_vec()], "{program}");
        }
    }
}
