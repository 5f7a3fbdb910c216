//! The six arguments of a system call, read as what they are.

use arch::addr::VirtAddr;
use memory::user::UserPtr;

/// The arguments as the registers had them.
#[derive(Clone, Copy, Debug)]
pub struct Args(pub [usize; 6]);

impl Args {
    /// Argument `i` as an `int`: the upper half of the register does not count.
    #[inline]
    pub fn int(&self, i: usize) -> i32 {
        self.0[i] as i32
    }

    /// Argument `i` as an `unsigned int`.
    #[inline]
    pub fn uint(&self, i: usize) -> u32 {
        self.0[i] as u32
    }

    /// Argument `i` as a `size_t` or `unsigned long`.
    #[inline]
    pub fn size(&self, i: usize) -> usize {
        self.0[i]
    }

    /// Argument `i` as a `long` or `loff_t`.
    #[inline]
    pub fn long(&self, i: usize) -> i64 {
        self.0[i] as i64
    }

    /// Argument `i` as a user address.
    #[inline]
    pub fn addr(&self, i: usize) -> VirtAddr {
        VirtAddr(self.0[i])
    }

    /// Argument `i` as a pointer to a `T`.
    #[inline]
    pub fn ptr<T>(&self, i: usize) -> UserPtr<T> {
        UserPtr::new(VirtAddr(self.0[i]))
    }
}
