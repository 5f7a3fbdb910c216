//! Copying and filling memory: the functions that the compiler calls. Its library has them as weak symbols, which these go before.

use core::arch::global_asm;

global_asm!(include_str!("mem.S"), options(raw));
