//! `#!` lines (execve(2), "Interpreter scripts").

use super::{HEAD, Opened, Request, Strings, find, open};
use crate::current::Current;
use alloc::vec::Vec;
use base::{Errno, Result};

/// Scripts that interpret scripts, at most.
const DEPTH: usize = 5;

/// Opens the program or, for a script, its interpreter, which gets the script's name in front of the arguments.
/// ELOOP when scripts go too deep, ENOEXEC for a line without an interpreter.
pub(super) fn resolve(current: &Current, request: &mut Request) -> Result<Opened> {
    let mut opened = open(current, &request.program)?;
    let mut name = request.name.clone();
    for _ in 0..DEPTH {
        if !opened.head.starts_with(b"#!") {
            return Ok(opened);
        }
        let (interpreter, argument) = parse(&opened.head)?;
        let mut argv = Strings::new();
        argv.push(&interpreter)?;
        if let Some(argument) = argument {
            argv.push(&argument)?;
        }
        argv.push(&name)?;
        request.argv.remove_first();
        for rest in request.argv.bytes.split(|&byte| byte == 0).take(request.argv.count) {
            argv.push(rest)?;
        }
        request.argv = argv;
        opened = open(current, &find(current, &interpreter)?)?;
        name = interpreter;
    }
    if opened.head.starts_with(b"#!") { Err(Errno::ELOOP.into()) } else { Ok(opened) }
}

/// The interpreter and its one optional argument, which is the rest of the line. A line that does not end within the head is cut
/// one byte before the head's end, unless that would cut the interpreter's name.
fn parse(head: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = head.iter().position(|&byte| byte == b'\n' || byte == 0);
    let line = head[2..end.unwrap_or(head.len() - usize::from(head.len() == HEAD))].trim_ascii();
    let split = line.iter().position(blank);
    if line.is_empty() || (split.is_none() && end.is_none()) {
        return Err(Errno::ENOEXEC.into());
    }
    let (interpreter, rest) = line.split_at(split.unwrap_or(line.len()));
    let rest = rest.trim_ascii();
    Ok((interpreter.to_vec(), (!rest.is_empty()).then(|| rest.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_one_optional_argument() {
        assert_eq!(parse(b"#!/bin/sh\n").unwrap(), (b"/bin/sh".to_vec(), None));
        assert_eq!(parse(b"#! /bin/sh  -e  -x \nx").unwrap(), (b"/bin/sh".to_vec(), Some(b"-e  -x".to_vec())));
        assert!(parse(b"#!\n").is_err());
        assert!(parse(b"#!   \n").is_err());
        assert!(parse(b"#!/a/name/that/never/ends").is_err());
    }

    #[test]
    fn a_line_longer_than_the_head_loses_its_end() {
        let mut head = b"#!/bin/echo ".to_vec();
        let start = head.len();
        head.resize(HEAD, b'y');
        assert_eq!(parse(&head).unwrap().1.unwrap().len(), HEAD - 1 - start);
        head[HEAD - 1] = b'\n';
        assert_eq!(parse(&head).unwrap().1.unwrap().len(), HEAD - 1 - start);
    }
}
