// The exception vectors. While a program runs, SP_EL1 points to its Context (user.rs gives the
// offsets), so that a vector can store registers at once; in the kernel it is the stack of the CPU.

.macro from_user reason:vararg
    .balign 128
    stp     x0, x1, [sp, #0]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x9, sp_el0
    mrs     x10, elr_el1
    mrs     x11, spsr_el1
    mrs     x12, tpidr_el0
    stp     x30, x9, [sp, #240]
    stp     x10, x11, [sp, #256]
    stp     x12, x0, [sp, #272]
    \reason
    ldp     x9, x30, [sp, #288]
    mov     sp, x9
    ldp     x19, x29, [sp], #16
    br      x30
.endm

.macro from_kernel kind
    .balign 128
    sub     sp, sp, #FRAME
    // Stacks lie where this bit of their addresses is set, the guard pages where it is clear.
    add     sp, sp, x0
    sub     x0, sp, x0
    tbz     x0, #STACK_SHIFT, kernel_stack_overflow
    sub     x0, sp, x0
    sub     sp, sp, x0
    stp     x0, x1, [sp, #0]
    mov     x1, \kind
    b       kernel_exception
.endm

.section .text.vectors, "ax"
.balign 2048
.global vectors
vectors:
    from_kernel 1
    from_kernel 1
    from_kernel 1
    from_kernel 1

    from_kernel 0
    from_kernel 1
    from_kernel 1
    from_kernel 2

    from_user   mrs x0, esr_el1
    from_user   mov x0, #-1
    from_user   mov x0, #-1
    from_user   mov x0, #-2

    from_kernel 1
    from_kernel 1
    from_kernel 1
    from_kernel 1
    .balign 128

// Stores the rest of fault::Frame and lets Rust look at it; goes on where that says.
kernel_exception:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    add     x9, sp, #FRAME
    mrs     x10, elr_el1
    mrs     x11, spsr_el1
    mrs     x12, esr_el1
    mrs     x13, far_el1
    stp     x30, x9, [sp, #240]
    stp     x10, x11, [sp, #256]
    stp     x12, x13, [sp, #272]
    mov     x0, sp
    bl      kernel_fault
    ldp     x10, x11, [sp, #256]
    msr     elr_el1, x10
    msr     spsr_el1, x11
    ldp     x0, x1, [sp, #0]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x29, x30, [sp, #232]
    add     sp, sp, #FRAME
    eret
    dsb     nsh
    isb

// x0 = FRAME below the stack pointer that left its stack. Fatal, so nothing need be kept but X29, by which the backtrace goes on
// from the emergency stack to the one that was left.
kernel_stack_overflow:
    mrs     x9, tpidr_el1
    ldr     x9, [x9, #EMERGENCY]
    mov     sp, x9
    add     x0, x0, #FRAME
    mrs     x1, elr_el1
    mrs     x2, esr_el1
    mrs     x3, far_el1
    bl      kernel_overflow
    .ltorg
