// Entry by the PVH protocol: 32-bit protected mode, flat segments, no paging, EBX = physical address of
// the start info. Makes tables that map the first GiB at 0, in the physical map and at the kernel's base, and goes
// on in 64-bit mode in the kernel's half. The same tables carry the other CPUs through their start.
.set BASE, 0xffffffff80000000

.section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18                      // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_start - BASE

.section .bss.boot, "aw", @nobits
    .balign 4096
boot_pml4: .skip 4096
boot_pdpt_low: .skip 4096
boot_pdpt_high: .skip 4096
boot_pd: .skip 4096
boot_stack: .skip 32768
boot_stack_top:

.section .rodata.boot, "a", @progbits
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff            // 08: 32-bit code
    .quad 0x00cf93000000ffff            // 10: data
    .quad 0x00af9b000000ffff            // 18: 64-bit code
boot_gdt_end:
boot_gdtr:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt - BASE

// From 32-bit protected mode to 64-bit mode with the boot tables; EAX, ECX, EDX are lost.
.macro ENTER_LONG_MODE
    movl $0x20, %eax                    // PAE
    movl %eax, %cr4
    movl $(boot_pml4 - BASE), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx              // EFER: SCE, LME, NXE
    rdmsr
    orl $0x901, %eax
    wrmsr
    movl $0x80050033, %eax              // PG AM WP NE ET MP PE
    movl %eax, %cr0
.endm

.section .text.boot, "ax", @progbits
.code32
.global pvh_start
pvh_start:
    cli
    cld
    movl %ebx, %esi
    movl $(boot_pd - BASE), %edi
    movl $0x83, %eax                    // present, writable, 2 MiB
    movl $512, %ecx
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    decl %ecx
    jnz 1b
    movl $(boot_pd - BASE + 3), %eax
    movl %eax, boot_pdpt_low - BASE
    movl %eax, boot_pdpt_high - BASE + 510 * 8
    movl $(boot_pdpt_low - BASE + 3), %eax
    movl %eax, boot_pml4 - BASE
    movl %eax, boot_pml4 - BASE + 272 * 8
    movl $(boot_pdpt_high - BASE + 3), %eax
    movl %eax, boot_pml4 - BASE + 511 * 8
    ENTER_LONG_MODE
    lgdt boot_gdtr - BASE
    ljmp $0x18, $(1f - BASE)
.code64
1:  movabs $2f, %rax
    jmp *%rax
2:  xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movabs $boot_stack_top, %rsp
    xorl %ebp, %ebp
    movl %esi, %edi
    call boot_entry
    ud2

// The start of another CPU, copied to the page TRAMPOLINE: real mode, CS = TRAMPOLINE / 16.
.section .rodata.trampoline, "a", @progbits
.set TRAMPOLINE, 0x8000
.code16
.global ap_trampoline
.global ap_trampoline_end
ap_trampoline:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl ap_gdtr - ap_trampoline
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x08, $(ap_start32 - ap_trampoline + TRAMPOLINE)
.code32
ap_start32:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    ENTER_LONG_MODE
    ljmp $0x18, $(ap_start64 - ap_trampoline + TRAMPOLINE)
.code64
ap_start64:
    movabs $ap_start_high, %rax
    jmp *%rax
    .balign 8
ap_gdtr:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt - BASE
ap_trampoline_end:

.section .text.ap, "ax", @progbits
.code64
ap_start_high:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movq AP_CR3(%rip), %rax
    movq %rax, %cr3
    movq AP_STACK(%rip), %rsp
    movq AP_NUMBER(%rip), %rdi
    xorl %ebp, %ebp
    call ap_entry
    ud2
.text
