//! What /proc tells of a space.

use super::area::Area;
use super::table::load;
use super::{Flags, Identity, Inner, Space};
use crate::frames::{Frame, Kind};
use arch::addr::{PAGE_SIZE, VirtAddr};
use core::fmt;

/// One area, for /proc/PID/maps. Neighbours that differ in nothing are one.
pub struct AreaInfo<'a> {
    area: &'a Area,
    special: &'static str,
}

impl AreaInfo<'_> {
    /// First address.
    pub fn start(&self) -> VirtAddr {
        VirtAddr(self.area.start)
    }

    /// One past the last address.
    pub fn end(&self) -> VirtAddr {
        VirtAddr(self.area.end)
    }

    /// What it allows and how it behaves.
    pub fn flags(&self) -> Flags {
        self.area.flags
    }

    /// Where in the object it begins, in bytes; zero for private anonymous memory.
    pub fn offset(&self) -> u64 {
        self.area.backing.as_ref().map_or(0, |b| b.offset)
    }

    /// Whether it maps an object, which is what has a name.
    pub fn has_object(&self) -> bool {
        self.area.backing.is_some()
    }

    /// What it maps.
    pub fn identity(&self) -> Identity {
        self.area.backing.as_ref().map_or(Identity::default(), |b| b.object.identity())
    }

    /// Writes the path, or `[heap]`, `[stack]`; nothing for other anonymous memory.
    pub fn write_name(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match &self.area.backing {
            Some(backing) => backing.object.name(out),
            None => out.write_str(self.special),
        }
    }

    /// Writes the line of /proc/PID/maps (proc_pid_maps(5)), its newline included.
    pub fn write_line(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let flags = self.flags();
        let bit = |flag, yes, no| if flags.contains(flag) { yes } else { no };
        let id = self.identity();
        let mut line = Counted { out, len: 0 };
        fmt::Write::write_fmt(
            &mut line,
            format_args!(
                "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {}",
                self.area.start,
                self.area.end,
                bit(Flags::READ, 'r', '-'),
                bit(Flags::WRITE, 'w', '-'),
                bit(Flags::EXEC, 'x', '-'),
                bit(Flags::SHARED, 's', 'p'),
                self.offset(),
                id.major,
                id.minor,
                id.inode,
            ),
        )?;
        let pad = 73usize.saturating_sub(line.len);
        if self.area.backing.is_some() || !self.special.is_empty() {
            write!(out, "{:1$}", "", pad.max(1))?;
            self.write_name(out)?;
        } else {
            out.write_char(' ')?;
        }
        out.write_char('\n')
    }
}

struct Counted<'a> {
    out: &'a mut dyn fmt::Write,
    len: usize,
}

impl fmt::Write for Counted<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.len += s.len();
        self.out.write_str(s)
    }
}

/// What is in memory of an area, in bytes, as /proc/PID/smaps has it. There is no swap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AreaUsage {
    /// All of it.
    pub rss: usize,
    /// Each page divided by the number of its users.
    pub pss: usize,
    /// The changed pages of that.
    pub pss_dirty: usize,
    /// The pages of that which are no object's.
    pub pss_anonymous: usize,
    /// Also mapped by others, not changed by this one.
    pub shared_clean: usize,
    /// Also mapped by others, changed.
    pub shared_dirty: usize,
    /// Mapped here only, not changed.
    pub private_clean: usize,
    /// Mapped here only, changed.
    pub private_dirty: usize,
    /// Marked as accessed.
    pub referenced: usize,
    /// No longer (or never) a page of an object.
    pub anonymous: usize,
    /// Locked.
    pub locked: usize,
}

/// Sizes of a whole space in pages, for /proc/PID/statm and /proc/PID/status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// In areas.
    pub size: usize,
    /// In memory, private.
    pub anonymous: usize,
    /// In memory, of objects.
    pub file: usize,
    /// In areas that can be executed.
    pub exec: usize,
    /// In private areas that can be written, without stacks.
    pub data: usize,
    /// In growing stacks.
    pub stack: usize,
    /// Locked.
    pub locked: usize,
}

fn special(inner: &Inner, area: &Area) -> &'static str {
    let stack = inner.layout.stack.0.wrapping_sub(1);
    if area.backing.is_some() {
        ""
    } else if area.start <= stack && stack < area.end {
        "[stack]"
    } else if area.start < inner.brk && area.end > inner.layout.brk_start.0 {
        "[heap]"
    } else {
        ""
    }
}

fn usage(inner: &Inner, area: &Area) -> AreaUsage {
    let mut sum = AreaUsage::default();
    inner.tables.walk(area.start, area.end, |_, slot| {
        let entry = load(slot);
        // SAFETY: the entry owns the frame, and only its record is read, which always exists.
        let frame = unsafe { Frame::borrow(entry.addr()) };
        let anonymous = frame.kind() == Kind::Anonymous;
        // An object owns its pages besides those who map them.
        let users = (frame.owners() as usize).saturating_sub(usize::from(!anonymous)).max(1);
        let dirty = entry.is_dirty() || anonymous;
        *match (users > 1, dirty) {
            (true, false) => &mut sum.shared_clean,
            (true, true) => &mut sum.shared_dirty,
            (false, false) => &mut sum.private_clean,
            (false, true) => &mut sum.private_dirty,
        } += PAGE_SIZE;
        sum.rss += PAGE_SIZE;
        sum.pss += PAGE_SIZE / users;
        sum.pss_dirty += if dirty { PAGE_SIZE / users } else { 0 };
        sum.pss_anonymous += if anonymous { PAGE_SIZE / users } else { 0 };
        sum.referenced += if entry.is_accessed() { PAGE_SIZE } else { 0 };
        sum.anonymous += if anonymous { PAGE_SIZE } else { 0 };
        sum.locked += if area.flags.contains(Flags::LOCKED) { PAGE_SIZE / users } else { 0 };
        true
    });
    sum
}

impl Space {
    /// Calls `each` for every area that ends above `from`, ascending, until it says false. Waits for the space; `each` must not
    /// touch it.
    pub async fn each_area(&self, from: VirtAddr, mut each: impl FnMut(&AreaInfo) -> bool) {
        let inner = self.inner.read().await;
        for area in inner.areas.over(from.0, usize::MAX) {
            if !each(&AreaInfo { area, special: special(&inner, area) }) {
                return;
            }
        }
    }

    /// As [`Space::each_area`], with what is in memory, which is counted by walking the page tables.
    pub async fn each_usage(&self, from: VirtAddr, mut each: impl FnMut(&AreaInfo, &AreaUsage) -> bool) {
        let mut at = from.0;
        let mut budget = executor::Budget::new(super::STEPS);
        loop {
            let steps = {
                let inner = self.inner.read().await;
                let Some(area) = inner.areas.at_or_after(at) else { return };
                let usage = usage(&inner, area);
                at = area.end;
                if !each(&AreaInfo { area, special: special(&inner, area) }, &usage) {
                    return;
                }
                (usage.rss / PAGE_SIZE) as u32
            };
            budget.spend(1 + steps).await;
        }
    }

    /// Sizes. Waits for the space.
    pub async fn totals(&self) -> Totals {
        let inner = self.inner.read().await;
        let (anonymous, file) = self.mapped();
        let areas = &inner.areas;
        Totals {
            size: areas.pages,
            anonymous,
            file,
            exec: areas.exec_pages,
            data: areas.data_pages,
            stack: areas.stack_pages,
            locked: areas.locked_pages,
        }
    }
}
