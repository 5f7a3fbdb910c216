//! What a core file is called (core(5), "Naming of core dump files").

use alloc::format;
use alloc::vec::Vec;
use process::dump::pattern;
use process::limits::Resource;
use process::signal::Signal;
use process::{Current, Siginfo};

/// The name for the caller's core file. `None` where the pattern is empty, or asks for a program to be run, which is not done.
pub fn name(current: &Current, info: &Siginfo) -> Option<Vec<u8>> {
    let host = kernel::names::get().host;
    expand(&pattern(), |letter| value(current, info.signal, &host, letter))
}

/// What a letter stands for.
fn value(current: &Current, signal: Signal, host: &[u8], letter: u8) -> Option<Vec<u8>> {
    let process = &current.thread.process;
    let number = match letter {
        b'p' | b'P' => u64::from(process.id()),
        b'i' | b'I' => u64::from(current.thread.id()),
        b'u' => u64::from(current.cred.uid),
        b'g' => u64::from(current.cred.gid),
        b's' => u64::from(signal.number()),
        b't' => kernel::time::realtime() / base::time::NANOS_PER_SEC,
        b'c' => current.thread.limit(Resource::Core),
        // How far others may look in: not at all, or as usual.
        b'd' => 1,
        b'h' => return Some(host.to_vec()),
        b'e' => {
            let name = current.thread.name();
            let len = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            return Some(name[..len].to_vec());
        }
        _ => return None,
    };
    Some(format!("{number}").into_bytes())
}

/// Replaces what stands behind percent signs. A slash in a value, which would be another directory, becomes an exclamation mark;
/// an unknown letter is left out.
fn expand(pattern: &[u8], value: impl Fn(u8) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    if pattern.is_empty() || pattern[0] == b'|' {
        return None;
    }
    let mut name = Vec::new();
    let mut bytes = pattern.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'%' => match bytes.next() {
                Some(b'%') => name.push(b'%'),
                Some(&letter) => {
                    let value = value(letter).unwrap_or_default();
                    name.extend(value.iter().map(|&byte| if byte == b'/' { b'!' } else { byte }));
                }
                None => {}
            },
            _ => name.push(byte),
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn letters_stand_for_values() {
        let value = |letter| (letter == b'e').then(|| b"a/b".to_vec());
        let of = |pattern: &[u8]| expand(pattern, value);
        assert_eq!(of(b"core.%e.%%.%x%"), Some(b"core.a!b.%.".to_vec()));
        assert_eq!(of(b"/tmp/core"), Some(b"/tmp/core".to_vec()));
        assert_eq!(of(b"|/bin/handler %e"), None);
        assert_eq!(of(b""), None);
    }
}
