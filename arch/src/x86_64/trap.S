// Entering user mode and coming back. The user's registers are stored straight into its `Context`: SYSCALL stores
// them there, and for everything else the TSS points at the context, so that the CPU's own frame lands in it.
//
// On the way in RDI = the context. On the way out the call made by `user::enter` returns; RBX and RBP are the
// caller's business. Interrupts are masked all the time in kernel mode.

.macro SAVE_FS_INSTRUCTION
    rdfsbase rax
    mov [rsp + {FS} - {END}], rax
.endm
.macro LOAD_FS_INSTRUCTION
    mov rax, [rdi + {FS}]
    wrfsbase rax
.endm
.macro SAVE_FS_MSR
    mov ecx, 0xc0000100
    rdmsr
    mov [rsp + {FS} - {END}], eax
    mov [rsp + {FS} - {END} + 4], edx
.endm
.macro LOAD_FS_MSR
    mov eax, [rdi + {FS}]
    mov edx, [rdi + {FS} + 4]
    mov ecx, 0xc0000100
    wrmsr
.endm

.macro USER_MODE kind
.global enter_user_\kind
.balign 64
enter_user_\kind:
    mov gs:[{KERNEL_RSP}], rsp
    lea rax, [rdi + {END}]
    mov gs:[{RSP0}], rax
    LOAD_FS_\kind
    mov rcx, [rdi + {RIP}]
    mov rax, rcx
    shr rax, 47                         // SYSRET and IRET fault in kernel mode on a non-canonical address
    jnz bad_pc
    cmp dword ptr [rdi + {KIND}], {SYSCALL}
    jne enter_by_iret
    mov r11, [rdi + {RFLAGS}]
    mov rax, [rdi + {RAX}]
    mov rdx, [rdi + {RDX}]
    mov rsi, [rdi + {RSI}]
    mov r8, [rdi + {R8}]
    mov r9, [rdi + {R9}]
    mov r10, [rdi + {R10}]
    mov rbx, [rdi + {RBX}]
    mov rbp, [rdi + {RBP}]
    mov r12, [rdi + {R12}]
    mov r13, [rdi + {R13}]
    mov r14, [rdi + {R14}]
    mov r15, [rdi + {R15}]
    mov rsp, [rdi + {RSP}]
    mov rdi, [rdi + {RDI}]
    swapgs
    sysretq

.global syscall_entry_\kind
.balign 64
syscall_entry_\kind:
    swapgs
    mov gs:[{USER_RSP}], rsp
    mov rsp, gs:[{RSP0}]
    mov [rsp + {RIP} - {END}], rcx
    mov [rsp + {RFLAGS} - {END}], r11
    mov [rsp + {RAX} - {END}], rax
    mov [rsp + {RDI} - {END}], rdi
    mov [rsp + {RSI} - {END}], rsi
    mov [rsp + {RDX} - {END}], rdx
    mov [rsp + {R10} - {END}], r10
    mov [rsp + {R8} - {END}], r8
    mov [rsp + {R9} - {END}], r9
    mov [rsp + {RBX} - {END}], rbx
    mov [rsp + {RBP} - {END}], rbp
    mov [rsp + {R12} - {END}], r12
    mov [rsp + {R13} - {END}], r13
    mov [rsp + {R14} - {END}], r14
    mov [rsp + {R15} - {END}], r15
    mov [rsp + {ORIG_RAX} - {END}], rax
    mov dword ptr [rsp + {KIND} - {END}], {SYSCALL}
    mov rax, gs:[{USER_RSP}]
    mov [rsp + {RSP} - {END}], rax
    SAVE_FS_\kind
    mov rsp, gs:[{KERNEL_RSP}]
    ret
.endm

.text
USER_MODE INSTRUCTION
USER_MODE MSR

bad_pc:
    mov dword ptr [rdi + {KIND}], {BAD_PC}
    ret

// Every register is restored, and flags that a program may not choose are put right.
enter_by_iret:
    mov rax, [rdi + {RFLAGS}]
    and eax, {USER_FLAGS}
    or eax, {FIXED_FLAGS}
    mov [rdi + {RFLAGS}], rax
    mov rsp, rdi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    pop r11
    pop r10
    pop r9
    pop r8
    pop rax
    pop rcx
    pop rdx
    pop rsi
    pop rdi
    add rsp, 16
    swapgs
    iretq

.macro PUSH_ALL
    push rdi
    push rsi
    push rdx
    push rcx
    push rax
    push r8
    push r9
    push r10
    push r11
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
.endm
.macro POP_ALL
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    pop r11
    pop r10
    pop r9
    pop r8
    pop rax
    pop rcx
    pop rdx
    pop rsi
    pop rdi
.endm

// One stub per vector, 16 bytes apart: each leaves an error code and the vector on the stack.
.balign 16
.global trap_stubs
trap_stubs:
.set vector, 0
.rept 256
    .balign 16
    .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    push 0
    .endif
    push vector
    .if (vector == 2) || (vector == 8) || (vector == 18)
    jmp trap_fatal
    .else
    jmp trap_common
    .endif
    .set vector, vector + 1
.endr

trap_common:
    test byte ptr [rsp + 24], 3
    jz trap_kernel
    swapgs
    PUSH_ALL
    add rsp, {END}
    cmp byte ptr gs:[{FSGSBASE}], 0
    je 1f
    SAVE_FS_INSTRUCTION
    jmp 2f
1:  SAVE_FS_MSR
2:  mov rsp, gs:[{KERNEL_RSP}]
    push 2                              // a gate leaves DF and AC as the program had them
    popfq
    ret

trap_kernel:
    cmp dword ptr [rsp], 32
    jae trap_kernel_irq
    PUSH_ALL
    cld
    mov rdi, rsp
    call kernel_exception
    POP_ALL
    add rsp, 16
    iretq

// Kernel mode takes interrupts only where it asks for them (`irq::wait`, `irq::poll`): note the vector and go on.
trap_kernel_irq:
    push rax
    mov eax, [rsp + 8]
    bts qword ptr gs:[{PENDING}], rax
    pop rax
    add rsp, 16
    iretq

// NMI, double fault, machine check: they may come between SYSCALL and SWAPGS, so GS is looked at, not assumed. The
// kernel's is in the upper half. Each has a stack of its own.
trap_fatal:
    PUSH_ALL
    cld
    xor ebx, ebx
    mov ecx, 0xc0000101
    rdmsr
    test edx, edx
    js 1f
    swapgs
    inc ebx
1:  mov rdi, rsp
    call kernel_exception
    test ebx, ebx
    jz 2f
    swapgs
2:  POP_ALL
    add rsp, 16
    iretq
