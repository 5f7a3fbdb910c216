//! Boxes for futures that are too large or too rarely used to lie inside the future that awaits them.

use crate::frames::OutOfMemory;
use alloc::alloc::alloc;
use alloc::boxed::Box;
use core::alloc::Layout;
use core::pin::Pin;

/// Makes a value on the heap and pins it there. Fails where there is no memory for it, and then makes nothing. (Part of its caller, so
/// that the compiler stores what there is of a future at first and does not copy all of its size.)
#[inline(always)]
pub fn try_pin<T>(make: impl FnOnce() -> T) -> Result<Pin<Box<T>>, OutOfMemory> {
    let layout = Layout::new::<T>();
    if layout.size() == 0 {
        return Ok(Box::pin(make()));
    }
    // SAFETY: the layout has a size.
    let place = unsafe { alloc(layout) }.cast::<T>();
    if place.is_null() {
        return Err(OutOfMemory);
    }
    // SAFETY: the block was just allocated with the layout of `T`, is written before it becomes a box, and nobody
    // else knows it.
    Ok(Box::into_pin(unsafe {
        place.write(make());
        Box::from_raw(place)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pinned_keeps_its_value_and_an_empty_value_needs_no_memory() {
        assert_eq!(*try_pin(|| [7u64; 9]).unwrap(), [7; 9]);
        assert!(try_pin(|| ()).is_ok());
    }
}
