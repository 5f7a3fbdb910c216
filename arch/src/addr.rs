//! Typed addresses. A physical address is never dereferenced and a virtual one never handed to
//! the hardware as a physical one.

use core::fmt;
use core::ops::{Add, Sub};

/// Bytes in a page, on every machine the kernel runs on.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// Binary logarithm of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident, $repr:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub $repr);

        impl $name {
            /// The address of the page that this address lies in.
            pub const fn page_floor(self) -> Self {
                Self(self.0 & !(PAGE_SIZE as $repr - 1))
            }

            /// The lowest page boundary that is not below this address; `None` where that
            /// boundary would not fit the type.
            pub const fn page_ceil(self) -> Option<Self> {
                match self.0.checked_add(PAGE_SIZE as $repr - 1) {
                    Some(sum) => Some(Self(sum & !(PAGE_SIZE as $repr - 1))),
                    None => None,
                }
            }

            /// Bytes between the start of the page and this address.
            pub const fn page_offset(self) -> usize {
                (self.0 & (PAGE_SIZE as $repr - 1)) as usize
            }

            /// Whether this address is a page boundary.
            pub const fn is_page_aligned(self) -> bool {
                self.page_offset() == 0
            }

            /// This address plus `bytes`; `None` on overflow.
            pub const fn checked_add(self, bytes: $repr) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }
        }

        impl Add<$repr> for $name {
            type Output = Self;
            fn add(self, bytes: $repr) -> Self {
                Self(self.0 + bytes)
            }
        }

        impl Sub<$repr> for $name {
            type Output = Self;
            fn sub(self, bytes: $repr) -> Self {
                Self(self.0 - bytes)
            }
        }

        impl Sub for $name {
            type Output = $repr;
            fn sub(self, other: Self) -> $repr {
                self.0 - other.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address! {
    /// A physical address.
    PhysAddr, u64
}

address! {
    /// A virtual address of a user address space. The kernel reaches it only through
    /// [`crate::usercopy`].
    VirtAddr, usize
}
