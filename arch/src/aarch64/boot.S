// The image header, and the way of every CPU from its first instruction to Rust.
//
// The loader (Linux's arm64 boot protocol) enters _start with the MMU off, x0 = physical address of
// the device tree, at any place in RAM that is aligned to 2 MiB. PSCI enters secondary_start with the MMU off and
// x0 = number of the CPU. adrp gives physical addresses here, since everything lies within 4 GiB of the code.

.set TABLE,        0x3                  // valid, table
.set NORMAL_BLOCK, 0x701                // valid block, attribute 0, inner shareable, accessed
.set DATA_BLOCK,   0x0060000000000701   // the same, never executable
// Attribute 0: normal write-back; 1: device nGnRE; 2: normal uncached.
.set MAIR,         0x4404ff
// 48-bit halves with 4 KiB pages, table walks cacheable and inner shareable, user tags ignored
// (TBI0). The physical size and the size of an ASID are filled in by the code.
.set TCR,          (16 | (1 << 8) | (1 << 10) | (3 << 12) | (16 << 16) | (1 << 24) | (1 << 26) | (3 << 28) | (2 << 30) | (1 << 37))
// MMU and caches on, stack alignment checked, user may use DC ZVA, CTR_EL0, cache maintenance by address, WFI and WFE;
// PAN is set on every exception (SPAN = 0).
.set SCTLR,        0x3455d91d
.set SCTLR_OFF,    0x30d00800

.section .head.text, "ax"
.global _start
_start:
    b       primary_start
    .long   0
    .quad   0                           // text_offset
    .quad   __image_size
    .quad   0xa                         // little endian, 4 KiB pages, anywhere in RAM
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

.section .text.boot, "ax"
primary_start:
    msr     daifset, #15
    mov     x21, x0                     // device tree
    bl      enter_el1

    adrp    x0, boot_tables
    adrp    x1, boot_tables_end
0:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    0b

    // The identity map: one gigabyte around this code.
    adrp    x20, __image_start
    adrp    x0, id_l0
    adrp    x1, id_l1
    mov     x5, x20
    bl      hook_l1
    ubfx    x4, x20, #30, #9
    lsr     x3, x20, #30
    lsl     x3, x3, #30
    mov     x2, NORMAL_BLOCK
    orr     x3, x3, x2
    str     x3, [x1, x4, lsl #3]

    // The first kernel tables: the image, and the gigabytes of RAM that hold it and the device tree (boot.rs
    // refuses a tree that crosses their end).
    adrp    x0, boot_l0
    adrp    x1, boot_ram_l1
    mov     x5, x21
    bl      hook_l1
    bl      map_gigabyte
    mov     x5, x20
    bl      hook_l1
    bl      map_gigabyte
    adrp    x1, boot_image_l1
    orr     x2, x1, TABLE
    str     x2, [x0, #(511 * 8)]
    adrp    x3, boot_image_l2
    orr     x2, x3, TABLE
    str     x2, [x1, #(510 * 8)]
    adrp    x4, __image_end
    mov     x2, NORMAL_BLOCK
    orr     x1, x20, x2
2:  str     x1, [x3], #8
    add     x1, x1, #0x200, lsl #12
    cmp     x1, x4
    b.lo    2b

    // The tables were written past the caches: drop what these may hold of them.
    dmb     sy
    adrp    x0, boot_tables
    adrp    x1, boot_tables_end
3:  dc      ivac, x0
    add     x0, x0, #16
    cmp     x0, x1
    b.lo    3b
    dsb     sy

    adrp    x25, boot_l0
    bl      enable_mmu
    ldr     x8, =primary_virtual
    br      x8

// Makes x1 the table of the 512 GiB around physical address x5 in the top table x0; clobbers x2, x4.
hook_l1:
    ubfx    x4, x5, #39, #9
    orr     x2, x1, TABLE
    str     x2, [x0, x4, lsl #3]
    ret

// Maps the gigabyte around physical address x5 as data in the table x1; clobbers x2 to x4.
map_gigabyte:
    ubfx    x4, x5, #30, #9
    lsr     x3, x5, #30
    lsl     x3, x3, #30
    ldr     x2, =DATA_BLOCK
    orr     x3, x3, x2
    str     x3, [x1, x4, lsl #3]
    ret

// Turns the MMU on with the identity map below and the tables x25 above; clobbers x0 to x3.
enable_mmu:
    mov     x0, MAIR & 0xffff
    movk    x0, MAIR >> 16, lsl #16
    msr     mair_el1, x0
    ldr     x0, =TCR
    mrs     x1, id_aa64mmfr0_el1
    ubfx    x2, x1, #0, #4              // physical address range, at most 48 bits
    cmp     x2, #5
    mov     x3, #5
    csel    x2, x2, x3, lo
    orr     x0, x0, x2, lsl #32
    ubfx    x2, x1, #4, #4              // ASIDBits: 2 says 16
    cmp     x2, #2
    cset    x2, eq
    orr     x0, x0, x2, lsl #36
    msr     tcr_el1, x0
    adrp    x0, id_l0
    msr     ttbr0_el1, x0
    msr     ttbr1_el1, x25
    mov     x0, #(1 << 20)              // FP traps from EL0 only; SVE and SME are off
    msr     cpacr_el1, x0
    msr     mdscr_el1, xzr
    mrs     x0, id_aa64dfr0_el1
    ubfx    x0, x0, #8, #4              // PMUVer: none (0) or not Arm's (15)
    sub     x0, x0, #1
    cmp     x0, #14
    b.hs    1f
    msr     pmuserenr_el0, xzr          // no event counters for programs
1:
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    ldr     x0, =SCTLR
    mrs     x1, id_aa64mmfr1_el1
    ubfx    x1, x1, #20, #4
    cmp     x1, #0
    cset    x1, eq
    orr     x0, x0, x1, lsl #23         // without PAN the bit is reserved as one
    msr     sctlr_el1, x0
    isb
    ret

// From EL2 drops to EL1 with the timers, the GIC and everything else left to EL1. Returns in EL1; clobbers x0 to x2.
enter_el1:
    mrs     x0, currentel
    cmp     x0, #8
    b.eq    1f
    ldr     x0, =SCTLR_OFF
    msr     sctlr_el1, x0
    isb
    ret
1:  mov     x0, #1
    lsl     x0, x0, #31                 // RW: EL1 is AArch64
    orr     x0, x0, #(3 << 40)          // API, APK: pointer authentication does not trap
    msr     hcr_el2, x0
    isb
    mrs     x0, cnthctl_el2
    orr     x0, x0, #3                  // EL1 may use the physical counter and timer
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr
    mov     x0, #0x33ff                 // nothing traps but SVE and SME
    msr     cptr_el2, x0
    msr     hstr_el2, xzr
    msr     vttbr_el2, xzr
    mrs     x0, midr_el1
    msr     vpidr_el2, x0
    mrs     x0, mpidr_el1
    msr     vmpidr_el2, x0
    mrs     x0, mdcr_el2
    and     x0, x0, #0x1f               // keep HPMN, trap nothing
    msr     mdcr_el2, x0
    mrs     x0, id_aa64pfr0_el1
    ubfx    x0, x0, #24, #4
    cbz     x0, 2f                      // no GIC system registers
    mrs     x0, s3_4_c12_c9_5           // ICC_SRE_EL2
    mov     x1, #9                      // SRE, Enable
    orr     x0, x0, x1
    msr     s3_4_c12_c9_5, x0
    isb
    msr     s3_4_c12_c11_0, xzr         // ICH_HCR_EL2
2:  ldr     x0, =SCTLR_OFF
    msr     sctlr_el1, x0
    mov     x0, #0x3c5                  // EL1h, everything masked
    msr     spsr_el2, x0
    msr     elr_el2, x30
    eret

.global secondary_start
secondary_start:
    msr     daifset, #15
    mov     x21, x0
    bl      enter_el1
    adrp    x0, SECONDARY_BOOT
    add     x0, x0, :lo12:SECONDARY_BOOT
    ldr     x25, [x0]                   // kernel tables
    bl      enable_mmu
    ldr     x8, =secondary_virtual
    br      x8

.ltorg

.text
primary_virtual:
    ldr     x0, =__bss_start
    ldr     x1, =__bss_end
0:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    0b
    ldr     x0, =boot_stack_top
    mov     sp, x0
    ldr     x0, =vectors
    msr     vbar_el1, x0
    isb
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x21
    mov     x1, x20
    b       boot_primary

secondary_virtual:
    ldr     x0, =SECONDARY_BOOT
    ldr     x1, [x0, #8]                // virtual address past the stack of CPU 0
    ldr     x2, [x0, #16]               // distance between stacks
    madd    x1, x21, x2, x1
    mov     sp, x1
    ldr     x0, =vectors
    msr     vbar_el1, x0
    isb
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x21
    b       boot_secondary

// switch_tables(ttbr1: x0, identity address of this function's body: x1): replaces the kernel's tables. Runs
// from the identity map, because the old and the new tables map the image in pieces of different size
// and must not be live at once.
.global switch_tables
switch_tables:
    br      x1
.section .text.boot, "ax"
.global switch_tables_body
switch_tables_body:
    msr     ttbr1_el1, x0
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
    ret

.section .boot_tables, "aw", @nobits
.balign 4096
boot_tables:
.global id_l0, id_l1
id_l0:          .skip 4096
id_l1:          .skip 4096
boot_l0:        .skip 4096
boot_ram_l1:    .skip 4096
boot_image_l1:  .skip 4096
boot_image_l2:  .skip 4096
boot_tables_end:

.section .bss
.balign 16
    .skip 32768
.global boot_stack_top
boot_stack_top:
