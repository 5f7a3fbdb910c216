//! The rules of termios(3), one table for each group of flags. Where the page leaves room, what Linux does.

use super::*;
use crate::termios::{Input, Output, Special::*};

/// A discipline with the flags changed as `change` says.
fn with(change: impl FnOnce(&mut Termios2)) -> Discipline {
    let mut termios = Termios2::SANE;
    change(&mut termios);
    Discipline::new(termios)
}

fn raw(min: u8, time: u8) -> Discipline {
    with(|t| {
        t.base.iflag = 0;
        t.base.lflag = 0;
        t.base.oflag = 0;
        t.base.cc[Min as usize] = min;
        t.base.cc[Time as usize] = time;
    })
}

/// Receives all of `bytes`, which must make no signal and fit.
fn feed(disc: &mut Discipline, bytes: &[u8]) {
    let got = disc.receive(bytes);
    assert_eq!((got.taken, got.signal), (bytes.len(), None), "{:?}", bytes.escape_ascii().to_string());
}

/// What a patient read of `wanted` bytes gives.
fn read(disc: &mut Discipline, wanted: usize) -> Option<Vec<u8>> {
    let n = disc.readable(wanted, true)?;
    let (a, b) = disc.front(n);
    let bytes = [a, b].concat();
    disc.consume(n);
    Some(bytes)
}

fn echoed(disc: &mut Discipline) -> String {
    let (a, b) = disc.pending().front(usize::MAX);
    let text = [a, b].concat().escape_ascii().to_string();
    disc.pending_mut().clear();
    text
}

fn posted(disc: &mut Discipline, bytes: &[u8]) -> String {
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut stage = [0; 16];
        let (done, made) = disc.post(rest, &mut stage);
        assert!(done > 0);
        out.extend_from_slice(&stage[..made]);
        rest = &rest[done..];
    }
    out.escape_ascii().to_string()
}

#[test]
fn canonical_reads_return_one_line_at_most() {
    let mut disc = Discipline::default();
    feed(&mut disc, b"one\ntwo\nthr");
    assert_eq!(disc.waiting(), 8);
    assert_eq!(read(&mut disc, 100).as_deref(), Some(&b"one\n"[..]));
    assert_eq!(read(&mut disc, 2).as_deref(), Some(&b"tw"[..]));
    assert_eq!(read(&mut disc, 100).as_deref(), Some(&b"o\n"[..]));
    assert_eq!(read(&mut disc, 100), None);
    assert!(!disc.has_input());
    feed(&mut disc, b"ee\n");
    assert_eq!(read(&mut disc, 100).as_deref(), Some(&b"three\n"[..]));
}

#[test]
fn the_eof_character_ends_a_line_without_being_read() {
    let mut disc = Discipline::default();
    feed(&mut disc, b"ab\x04\x04cd\x04");
    assert_eq!(disc.waiting(), 4);
    assert_eq!(read(&mut disc, 2).as_deref(), Some(&b"ab"[..]), "a read of the exact length takes the EOF along");
    assert_eq!(read(&mut disc, 9).as_deref(), Some(&b""[..]), "EOF at the start of a line is the end of file, once");
    assert_eq!(read(&mut disc, 9).as_deref(), Some(&b"cd"[..]));
    assert_eq!(read(&mut disc, 9), None);
    assert_eq!(echoed(&mut disc), "abcd", "EOF is not echoed");
}

#[test]
fn eol_and_eol2_end_lines_and_are_read() {
    let mut disc = with(|t| {
        t.base.cc[Eol as usize] = b';';
        t.base.cc[Eol2 as usize] = b'!';
    });
    feed(&mut disc, b"a;b!c\n");
    for line in [&b"a;"[..], b"b!", b"c\n"] {
        assert_eq!(read(&mut disc, 9).as_deref(), Some(line));
    }
    let mut disc = with(|t| {
        t.base.cc[Eol2 as usize] = b'!';
        t.base.lflag &= !Local::IEXTEN.bits();
    });
    feed(&mut disc, b"b!");
    assert_eq!(read(&mut disc, 9), None, "EOL2 needs IEXTEN");
}

#[test]
fn input_flags_map_characters() {
    let cases: &[(Input, &[u8], &[u8])] = &[
        (Input::empty(), b"a\rB\n", b"a\rB\n"),
        (Input::ICRNL, b"a\rb\n", b"a\nb\n"),
        (Input::INLCR, b"a\rb\n", b"a\rb\r"),
        (Input::IGNCR, b"a\rb\n", b"ab\n"),
        (Input::IGNCR.union(Input::ICRNL), b"a\rb\n", b"ab\n"),
        (Input::ICRNL.union(Input::INLCR), b"\r\n", b"\n\r"),
        (Input::ISTRIP, b"\xe1\n", b"a\n"),
        (Input::IUCLC, b"AbC\n", b"abc\n"),
        (Input::PARMRK, b"\xff\n", b"\xff\xff\n"),
        (Input::IXON, b"a\x11b\n", b"ab\n"),
    ];
    for (flags, typed, expected) in cases {
        let mut disc = with(|t| {
            t.base.iflag = flags.bits();
            t.base.lflag = Local::IEXTEN.bits();
        });
        feed(&mut disc, typed);
        assert_eq!(read(&mut disc, 99).as_deref(), Some(*expected), "{flags:?}");
    }
}

#[test]
fn editing_changes_the_line_and_the_screen() {
    // What is typed, what is read after a newline, what the screen got before it.
    let cases: &[(&[u8], &[u8], &str)] = &[
        (b"abc\x7f\x7fd", b"ad\n", r"abc\x08 \x08\x08 \x08d"),
        (b"\x7fa", b"a\n", "a"),
        (b"ab\x15c", b"c\n", r"ab\x08 \x08\x08 \x08c"),
        (b"one two  \x17x", b"one x\n", r"one two  \x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08x"),
        (b"a_1 \x17", b"\n", r"a_1 \x08 \x08\x08 \x08\x08 \x08\x08 \x08"),
        (b"a\x16\x7fb", b"a\x7fb\n", r"a^\x08^?b"),
        (b"\x16\x03", b"\x03\n", r"^\x08^C"),
        (b"\x16\nb", b"\nb\n", r"^\x08\r\nb"),
        (b"x\x01\x7f", b"x\n", r"x^A\x08 \x08\x08 \x08"),
        (b"ab\x12c", b"abc\n", r"ab^R\r\nabc"),
        (b"ab\tc\x7f\x7f", b"ab\n", r"ab\tc\x08 \x08\x08\x08\x08\x08\x08\x08"),
        (b"a\t\t\x7f", b"a\t\n", r"a\t\t\x08\x08\x08\x08\x08\x08\x08\x08"),
    ];
    for (typed, expected, screen) in cases {
        let mut disc = Discipline::default();
        feed(&mut disc, typed);
        let text = typed.escape_ascii().to_string();
        assert_eq!(echoed(&mut disc), *screen, "{text}");
        feed(&mut disc, b"\n");
        let mut got = Vec::new();
        while let Some(line) = read(&mut disc, 99) {
            got.extend(line);
        }
        assert_eq!(got, *expected, "{text}");
    }
}

#[test]
fn local_flags_choose_the_echo() {
    let all = Termios2::SANE.local();
    let cases: &[(Local, &[u8], &str)] = &[
        (all - Local::ECHO, b"ab\x7f\n", ""),
        ((all - Local::ECHO) | Local::ECHONL, b"ab\n", r"\r\n"),
        (all - Local::ECHOCTL, b"\x01\x16\x02", r"\x01\x02"),
        (all - Local::ECHOE, b"ab\x7f", "ab^?"),
        (all - Local::ECHOKE, b"ab\x15", r"ab^U\r\n"),
        (all - Local::ECHOKE - Local::ECHOK, b"ab\x15", "ab^U"),
        (all | Local::ECHOPRT, b"abc\x7f\x7fd", r"abc\\cb/d"),
        (all | Local::ECHOPRT, b"a\x7f", r"a\\a/"),
        (all - Local::IEXTEN, b"a\x17\x12\x16", "a^W^R^V"),
        (all - Local::ICANON, b"a\x7f\x04\r", r"a^?^D\r\n"),
    ];
    for (flags, typed, screen) in cases {
        let mut disc = with(|t| t.base.lflag = flags.bits());
        feed(&mut disc, typed);
        assert_eq!(echoed(&mut disc), *screen, "{flags:?} {}", typed.escape_ascii());
    }
}

#[test]
fn iutf8_erases_whole_characters() {
    for (flag, left) in [(0, &b"a\xc3\n"[..]), (Input::IUTF8.bits(), &b"a\n"[..])] {
        let mut disc = with(|t| t.base.iflag |= flag);
        feed(&mut disc, "aé\x7f\n".as_bytes());
        assert_eq!(read(&mut disc, 9).as_deref(), Some(left));
    }
    let mut disc = with(|t| t.base.iflag |= Input::IUTF8.bits());
    feed(&mut disc, b"\xa9\xa9\x7f\x15z\n");
    assert_eq!(read(&mut disc, 9).as_deref(), Some(&b"z\n"[..]), "stray continuation bytes do not wedge it");
}

#[test]
fn isig_characters_make_signals_and_flush() {
    for (byte, signal, screen) in
        [(3, Signal::Interrupt, "^C"), (0x1c, Signal::Quit, r"^\\"), (0x1a, Signal::Suspend, "^Z")]
    {
        let mut disc = Discipline::default();
        feed(&mut disc, b"line\nrest");
        let got = disc.receive(&[byte, b'x']);
        assert_eq!(got, Received { taken: 1, signal: Some(signal), flush: true, more: false });
        assert_eq!(read(&mut disc, 9), None, "input is thrown away");
        assert_eq!(echoed(&mut disc), screen, "so is output, and then the character is echoed");

        let mut disc = with(|t| t.base.lflag |= Local::NOFLSH.bits());
        feed(&mut disc, b"line\n");
        let got = disc.receive(&[byte]);
        assert_eq!((got.signal, got.flush), (Some(signal), false));
        assert!(read(&mut disc, 9).is_some());

        let mut disc = with(|t| t.base.lflag &= !Local::ISIG.bits());
        feed(&mut disc, &[byte, b'\n']);
        assert_eq!(read(&mut disc, 9), Some(vec![byte, b'\n']));
    }
    let mut disc = with(|t| t.base.cc[Intr as usize] = DISABLED);
    feed(&mut disc, b"\0\n");
    assert_eq!(read(&mut disc, 9).as_deref(), Some(&b"\0\n"[..]), "a disabled character matches nothing");
}

#[test]
fn ixon_stops_and_starts_output() {
    let mut disc = Discipline::default();
    feed(&mut disc, b"\x13");
    assert!(disc.stopped());
    feed(&mut disc, b"a");
    assert!(disc.stopped(), "only START goes on");
    feed(&mut disc, b"\x11");
    assert!(!disc.stopped());
    feed(&mut disc, b"\x13");
    assert_eq!(disc.receive(b"\x03").signal, Some(Signal::Interrupt));
    assert!(!disc.stopped(), "a signal goes on too");

    let mut disc = with(|t| t.base.iflag |= Input::IXANY.bits());
    feed(&mut disc, b"\x13a");
    assert!(!disc.stopped(), "any character goes on with IXANY");
    feed(&mut disc, b"\x13");
    let mut new = *disc.termios();
    new.base.iflag &= !Input::IXON.bits();
    assert!(disc.set_termios(new), "so does turning IXON off");
}

#[test]
fn output_flags_map_characters() {
    use Output as O;
    let cases: &[(Output, &[u8], &str)] = &[
        (O::empty(), b"a\nb\r\tc", r"a\nb\r\tc"),
        (O::ONLCR, b"a\n", r"a\n"),
        (O::OPOST, b"a\n\t", r"a\n\t"),
        (O::OPOST.union(O::ONLCR), b"a\nb", r"a\r\nb"),
        (O::OPOST.union(O::OCRNL), b"a\rb", r"a\nb"),
        (O::OPOST.union(O::ONOCR), b"\ra\r\rb", r"a\rb"),
        (O::OPOST.union(O::ONOCR).union(O::ONLRET), b"a\n\rb", r"a\nb"),
        (O::OPOST.union(O::OLCUC), b"aBc", "ABC"),
        (O::OPOST.union(O::XTABS), b"ab\tc\t", "ab      c       "),
        (O::OPOST.union(O::XTABS), b"abc\x08\x08\tx", r"abc\x08\x08       x"),
        (O::OPOST.union(O::XTABS).union(O::ONLCR), b"a\n\tx", r"a\r\n        x"),
    ];
    for (flags, bytes, expected) in cases {
        let mut disc = with(|t| t.base.oflag = flags.bits());
        assert_eq!(posted(&mut disc, bytes), *expected, "{flags:?}");
    }
    let mut disc = with(|t| {
        t.base.oflag = (O::OPOST | O::XTABS).bits();
        t.base.iflag |= Input::IUTF8.bits();
    });
    assert_eq!(posted(&mut disc, "é\t|".as_bytes()), r"\xc3\xa9       |");
}

#[test]
fn vmin_and_vtime_decide_when_a_read_returns() {
    // VMIN, VTIME, bytes there, wanted; result of a patient read and of one that does not wait.
    type Case = (u8, u8, usize, usize, Option<usize>, Option<usize>);
    let cases: &[Case] = &[
        (0, 0, 0, 5, Some(0), Some(0)),
        (0, 0, 3, 5, Some(3), Some(3)),
        (3, 0, 0, 5, None, None),
        (3, 0, 2, 5, None, Some(2)),
        (3, 0, 3, 5, Some(3), Some(3)),
        (3, 0, 9, 5, Some(5), Some(5)),
        (3, 0, 2, 2, Some(2), Some(2)),
        (0, 1, 0, 5, None, None),
        (0, 1, 1, 5, Some(1), Some(1)),
        (3, 1, 0, 5, None, None),
        (3, 1, 2, 5, None, Some(2)),
        (3, 1, 3, 5, Some(3), Some(3)),
    ];
    for &(min, time, there, wanted, patient, hasty) in cases {
        let mut disc = raw(min, time);
        feed(&mut disc, &b"123456789"[..there]);
        assert_eq!(disc.readable(wanted, true), patient, "MIN {min} TIME {time} have {there} want {wanted}");
        assert_eq!(disc.readable(wanted, false), hasty, "MIN {min} TIME {time} have {there} want {wanted}");
    }
}

#[test]
fn poll_waits_for_vmin_only_without_vtime() {
    for (min, time, there, ready) in
        [(3, 0, 2, false), (3, 0, 3, true), (3, 1, 1, true), (0, 0, 0, false), (0, 0, 1, true)]
    {
        let mut disc = raw(min, time);
        feed(&mut disc, &b"123"[..there]);
        assert_eq!(disc.has_input(), ready, "MIN {min} TIME {time} have {there}");
    }
}

#[test]
fn a_line_is_cut_at_4095_characters_and_can_always_be_ended() {
    let mut disc = with(|t| t.base.lflag &= !Local::ECHO.bits());
    feed(&mut disc, &[b'x'; 5000]);
    assert!(!disc.has_input());
    assert_eq!(disc.receive(b"\x7f\x7fab").taken, 4, "editing still works");
    feed(&mut disc, b"\n");
    let line = read(&mut disc, 9999).unwrap_or_default();
    assert_eq!(line.len(), 4096);
    assert_eq!(&line[4093..], b"ab\n");
}

#[test]
fn a_full_queue_refuses_more() {
    let mut disc = raw(1, 0);
    assert_eq!(disc.receive(&[b'x'; 5000]).taken, 4095);
    assert_eq!(disc.receive(b"y").taken, 0);
    disc.consume(10);
    assert_eq!(disc.receive(&[b'y'; 50]).taken, 10);

    let mut disc = Discipline::default();
    assert_eq!(disc.receive(&[b'\n'; 9000]).taken, 4095, "many lines");
    let mut disc = Discipline::default();
    assert_eq!(disc.receive(&[4; 9000]).taken, 4095, "EOF characters count although they are no bytes");
}

#[test]
fn changing_the_mode_keeps_what_was_typed() {
    let mut disc = Discipline::default();
    feed(&mut disc, b"one\ntw");
    let canonical = *disc.termios();
    let mut raw = canonical;
    raw.base.lflag &= !Local::ICANON.bits();
    disc.set_termios(raw);
    assert_eq!(read(&mut disc, 5).as_deref(), Some(&b"one\nt"[..]));
    disc.set_termios(canonical);
    assert_eq!(read(&mut disc, 9).as_deref(), Some(&b"w"[..]), "what is there becomes a line");
    assert_eq!(read(&mut disc, 9), None);
}

#[test]
fn echoes_that_nobody_takes_are_bounded() {
    let mut disc = Discipline::default();
    for _ in 0..100 {
        disc.receive(&[b'x'; 4000]);
        disc.receive(b"\x15");
    }
    assert!(disc.pending().len() <= MAX_PENDING);
}
