//! Arguments, environment and auxiliary vector, read from the stack that execve laid out.

use core::ffi::CStr;

/// The program's start-up data. It lives in the kernel-made part of the stack, for as long as the process.
#[derive(Clone, Copy)]
pub struct Args {
    argv: *const *const u8,
    argc: usize,
}

impl Args {
    /// Reads the start-up stack.
    ///
    /// # Safety
    /// `stack` is the stack pointer as execve left it, and nothing has written above it.
    pub unsafe fn from_stack(stack: *const usize) -> Args {
        // SAFETY: the word at the stack pointer is argc and the argument vector follows it.
        unsafe { Args { argc: *stack, argv: stack.add(1).cast() } }
    }

    /// How many arguments there are, with the program's own name.
    pub fn len(&self) -> usize {
        self.argc
    }

    /// True when not even the program's name was given.
    pub fn is_empty(&self) -> bool {
        self.argc == 0
    }

    /// The argument at `index`, the program's name being 0.
    pub fn get(&self, index: usize) -> Option<&'static CStr> {
        if index >= self.argc {
            return None;
        }
        // SAFETY: below argc, the vector holds pointers to strings that end in NUL and stay for the process's life.
        unsafe { Some(CStr::from_ptr((*self.argv.add(index)).cast())) }
    }

    /// The argument at `index` as text, or the empty string where it is absent or not UTF-8.
    pub fn text(&self, index: usize) -> &'static str {
        self.get(index).and_then(|arg| arg.to_str().ok()).unwrap_or("")
    }

    /// The argument vector as execve takes it.
    pub fn argv(&self) -> *const *const u8 {
        self.argv
    }

    /// The environment as execve takes it: pointers that end with a null.
    pub fn envp(&self) -> *const *const u8 {
        // SAFETY: the environment follows the null that ends the argument vector.
        unsafe { self.argv.add(self.argc + 1) }
    }

    /// The value of an auxiliary vector entry (`AT_*`), if it was given.
    pub fn auxv(&self, key: usize) -> Option<usize> {
        let mut entry = self.envp();
        // SAFETY: the environment ends with a null and the auxiliary vector, pairs that end with AT_NULL, follows it.
        unsafe {
            while !(*entry).is_null() {
                entry = entry.add(1);
            }
            let mut pair: *const [usize; 2] = entry.add(1).cast();
            while (*pair)[0] != 0 {
                if (*pair)[0] == key {
                    return Some((*pair)[1]);
                }
                pair = pair.add(1);
            }
        }
        None
    }
}
