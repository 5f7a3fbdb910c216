//! The bootable image: what must be decided once for the whole program.
#![no_std]
#![no_main]

arch::entry!(start);

#[global_allocator]
static HEAP: memory::KernelHeap = memory::KernelHeap;

fn start(info: &'static arch::boot::BootInfo) -> ! {
    kernel::boot::boot(info, syscalls::start_first)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    kernel::shutdown::panic(info)
}
