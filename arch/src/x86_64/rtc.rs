//! The CMOS real-time clock, read once at boot.

use x86_64::instructions::port::Port;

const STATUS_A: u8 = 10;
const STATUS_B: u8 = 11;
const UPDATING: u8 = 0x80;
const BINARY: u8 = 4;
const HOURS_24: u8 = 2;
const PM: u8 = 0x80;

fn cmos(register: u8) -> u8 {
    // SAFETY: the index and data ports of a PC's CMOS memory; reading changes nothing. The boot CPU alone uses them.
    unsafe {
        Port::<u8>::new(0x70).write(register);
        Port::<u8>::new(0x71).read()
    }
}

/// Seconds, minutes, hours, day, month, year, as the registers hold them.
fn registers() -> [u8; 6] {
    [0, 2, 4, 7, 8, 9].map(cmos)
}

/// Seconds since 1970-01-01 UTC. The clock is taken to run in UTC, in this century.
pub fn read() -> u64 {
    // The registers change once a second: two equal readings, none of them during a change, are one moment's. A
    // clock that never settles is taken as it is.
    let mut last = registers();
    for _ in 0..10_000 {
        if cmos(STATUS_A) & UPDATING != 0 {
            continue;
        }
        let again = registers();
        if again == last {
            break;
        }
        last = again;
    }
    decode(last, cmos(STATUS_B))
}

fn decode(registers: [u8; 6], status: u8) -> u64 {
    let number = |value: u8| match status & BINARY {
        0 => u64::from(value >> 4) * 10 + u64::from(value & 15),
        _ => u64::from(value),
    };
    let [second, minute, hour, day, month, year] = registers;
    let mut hours = number(hour & !PM);
    if status & HOURS_24 == 0 {
        hours = hours % 12 + if hour & PM != 0 { 12 } else { 0 };
    }
    let days = days_since_1970(2000 + number(year), number(month), number(day));
    ((days * 24 + hours) * 60 + number(minute)) * 60 + number(second)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, in years that begin in March so that the leap day is
/// the last.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day.saturating_sub(1);
    days - 719_468
}
