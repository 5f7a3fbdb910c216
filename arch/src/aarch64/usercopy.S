// The loops that touch user memory. Loads and stores are the unprivileged ones (LDTR, STTR): the hardware
// checks them as if the program had made them, so they need no window in PAN, are fenced on CPUs
// without PAN too, and never reach kernel memory. Each one that may fault has a line in the fixup
// table: first and last address of a stretch, and where to go on.

.macro fixup first, last, target
    .pushsection .fixup_table, "a"
    .quad   \first, \last, \target
    .popsection
.endm

.text

// usercopy_read(to: x0, from (user): x1, len: x2) -> bytes left in x0. x7 = end of the source.
.balign 32
.global usercopy_read
usercopy_read:
    add     x7, x1, x2
    subs    x8, x2, #64
    b.lo    2f
1:  ldtr    x3, [x1]
    ldtr    x4, [x1, #8]
    ldtr    x5, [x1, #16]
    ldtr    x6, [x1, #24]
    ldtr    x9, [x1, #32]
    ldtr    x10, [x1, #40]
    ldtr    x11, [x1, #48]
    ldtr    x12, [x1, #56]
    stp     x3, x4, [x0]
    stp     x5, x6, [x0, #16]
    stp     x9, x10, [x0, #32]
    stp     x11, x12, [x0, #48]
    add     x0, x0, #64
    add     x1, x1, #64
    subs    x8, x8, #64
    b.hs    1b
2:  tbz     x2, #5, 3f
    ldtr    x3, [x1]
    ldtr    x4, [x1, #8]
    ldtr    x5, [x1, #16]
    ldtr    x6, [x1, #24]
    stp     x3, x4, [x0]
    stp     x5, x6, [x0, #16]
    add     x0, x0, #32
    add     x1, x1, #32
3:  tbz     x2, #4, 4f
    ldtr    x3, [x1]
    ldtr    x4, [x1, #8]
    stp     x3, x4, [x0], #16
    add     x1, x1, #16
4:  tbz     x2, #3, 5f
    ldtr    x3, [x1]
    str     x3, [x0], #8
    add     x1, x1, #8
5:  tst     x2, #7
    b.ne    6f
    mov     x0, #0
    ret
6:  tbz     x2, #2, 7f
    ldtr    w3, [x1]
    str     w3, [x0], #4
    add     x1, x1, #4
7:  tbz     x2, #1, 8f
    ldtrh   w3, [x1]
    strh    w3, [x0], #2
    add     x1, x1, #2
8:  tbz     x2, #0, 9f
    ldtrb   w3, [x1]
    strb    w3, [x0]
9:  mov     x0, #0
    ret
read_slow:                              // a piece faulted: byte by byte up to the first bad one
    ldtrb   w3, [x1]
read_slow_end:
    strb    w3, [x0], #1
    add     x1, x1, #1
    cmp     x1, x7
    b.ne    read_slow
    mov     x0, #0
    ret
copy_fault:
    sub     x0, x7, x1
    ret
fixup usercopy_read, read_slow, read_slow
fixup read_slow, read_slow_end, copy_fault

// usercopy_write(to (user): x1, from: x0, len: x2) -> bytes left in x0. x7 = end of the destination.
.balign 32
.global usercopy_write
usercopy_write:
    add     x7, x1, x2
    subs    x8, x2, #64
    b.lo    2f
1:  ldp     x3, x4, [x0]
    ldp     x5, x6, [x0, #16]
    ldp     x9, x10, [x0, #32]
    ldp     x11, x12, [x0, #48]
    sttr    x3, [x1]
    sttr    x4, [x1, #8]
    sttr    x5, [x1, #16]
    sttr    x6, [x1, #24]
    sttr    x9, [x1, #32]
    sttr    x10, [x1, #40]
    sttr    x11, [x1, #48]
    sttr    x12, [x1, #56]
    add     x0, x0, #64
    add     x1, x1, #64
    subs    x8, x8, #64
    b.hs    1b
2:  tbz     x2, #5, 3f
    ldp     x3, x4, [x0]
    ldp     x5, x6, [x0, #16]
    sttr    x3, [x1]
    sttr    x4, [x1, #8]
    sttr    x5, [x1, #16]
    sttr    x6, [x1, #24]
    add     x0, x0, #32
    add     x1, x1, #32
3:  tbz     x2, #4, 4f
    ldp     x3, x4, [x0]
    sttr    x3, [x1]
    sttr    x4, [x1, #8]
    add     x0, x0, #16
    add     x1, x1, #16
4:  tbz     x2, #3, 5f
    ldr     x3, [x0]
    sttr    x3, [x1]
    add     x0, x0, #8
    add     x1, x1, #8
5:  tst     x2, #7
    b.ne    6f
    mov     x0, #0
    ret
6:  tbz     x2, #2, 7f
    ldr     w3, [x0]
    sttr    w3, [x1]
    add     x0, x0, #4
    add     x1, x1, #4
7:  tbz     x2, #1, 8f
    ldrh    w3, [x0]
    sttrh   w3, [x1]
    add     x0, x0, #2
    add     x1, x1, #2
8:  tbz     x2, #0, 9f
    ldrb    w3, [x0]
    sttrb   w3, [x1]
9:  mov     x0, #0
    ret
write_slow:
    ldrb    w3, [x0], #1
write_slow_store:
    sttrb   w3, [x1]
write_slow_end:
    add     x1, x1, #1
    cmp     x1, x7
    b.ne    write_slow
    mov     x0, #0
    ret
fixup usercopy_write, write_slow, write_slow
fixup write_slow_store, write_slow_end, copy_fault

// usercopy_zero(-, to (user): x1, len: x2) -> bytes left in x0. x7 = end of the destination.
.balign 32
.global usercopy_zero
usercopy_zero:
    add     x7, x1, x2
    subs    x8, x2, #64
    b.lo    2f
1:  sttr    xzr, [x1]
    sttr    xzr, [x1, #8]
    sttr    xzr, [x1, #16]
    sttr    xzr, [x1, #24]
    sttr    xzr, [x1, #32]
    sttr    xzr, [x1, #40]
    sttr    xzr, [x1, #48]
    sttr    xzr, [x1, #56]
    add     x1, x1, #64
    subs    x8, x8, #64
    b.hs    1b
2:  ands    x8, x2, #63
    b.eq    4f
    subs    x8, x8, #8
    b.lo    5f
3:  sttr    xzr, [x1]
    add     x1, x1, #8
    subs    x8, x8, #8
    b.hs    3b
5:  cmp     x1, x7
    b.ne    zero_slow
4:  mov     x0, #0
    ret
zero_slow:
    sttrb   wzr, [x1]
zero_slow_end:
    add     x1, x1, #1
    cmp     x1, x7
    b.ne    zero_slow
    mov     x0, #0
    ret
fixup usercopy_zero, zero_slow, zero_slow
fixup zero_slow, zero_slow_end, copy_fault

// usercopy_string(to: x0, from (user): x1, len: x2) -> x0 = bytes before the zero, or all, or those before the
// fault; x1 = whether it faulted. Whole words are only read where aligned, so none reaches into a page
// that the string does not touch.
.balign 32
.global usercopy_string
usercopy_string:
    mov     x8, x0
    add     x7, x1, x2
    mov     x9, #0x0101010101010101
    b       2f
1:  ldtrb   w3, [x1]
    strb    w3, [x0]
    cbz     w3, 6f
    add     x1, x1, #1
    add     x0, x0, #1
2:  cmp     x1, x7
    b.eq    6f
    tst     x1, #7
    b.ne    1b
    sub     x5, x7, x1
3:  subs    x5, x5, #8
    b.lo    4f
    ldtr    x3, [x1]
    sub     x4, x3, x9
    bic     x4, x4, x3
    tst     x4, #0x8080808080808080
    b.ne    4f
    str     x3, [x0], #8
    add     x1, x1, #8
    b       3b
4:  cmp     x1, x7                      // fewer than eight bytes, or a zero among them
    b.eq    6f
5:  ldtrb   w3, [x1]
    strb    w3, [x0]
    cbz     w3, 6f
    add     x1, x1, #1
    add     x0, x0, #1
    cmp     x1, x7
    b.ne    5b
6:  sub     x0, x0, x8
    mov     x1, #0
    ret
string_fault:
    sub     x0, x0, x8
    mov     x1, #1
    ret
fixup usercopy_string, string_fault, string_fault

// usercopy_load(-, from (user): x1) -> x0 = word, x1 = whether it faulted.
.global usercopy_load
usercopy_load:
    ldtr    w0, [x1]
usercopy_load_end:
    mov     x1, #0
    ret
word_fault:
    mov     x1, #1
    ret
fixup usercopy_load, usercopy_load_end, word_fault

// usercopy_exchange(new: w0, at (user): x1, current: w2, pan: w3) -> x0 = word found, x1 = whether it faulted.
// Exclusives have no unprivileged form: the caller has checked the range, and PAN is lifted where there is one.
.arch_extension pan
.global usercopy_exchange
usercopy_exchange:
    cbz     w3, 1f
    msr     pan, #0
1:  ldaxr   w4, [x1]
    cmp     w4, w2
    b.ne    2f
    stlxr   w5, w0, [x1]
    cbnz    w5, 1b
usercopy_exchange_end:
    mov     x1, #0
    b       3f
2:  clrex
    mov     x1, #0
3:  mov     w0, w4
    cbz     w3, 4f
    msr     pan, #1
4:  ret
exchange_fault:
    mov     x1, #1
    b       3b
fixup usercopy_exchange, usercopy_exchange_end, exchange_fault

// usercopy_save_vectors(pan: w0, to (user): x1) and usercopy_load_vectors(pan: w0, from (user): x1) move FPSR, FPCR and the 32 vector
// registers; the caller has checked the range. -> x0 = where it faulted, x1 = whether. Vector registers have no unprivileged form.
// The first and the last word are moved by one (or loaded besides), which finds out whether the program may: what is
// moved lies in two pages at most.
.arch_extension fp
.arch_extension simd
.macro move_pairs op
    \op    q0, q1, [x9, #0]
    \op    q2, q3, [x9, #32]
    \op    q4, q5, [x9, #64]
    \op    q6, q7, [x9, #96]
    \op    q8, q9, [x9, #128]
    \op    q10, q11, [x9, #160]
    \op    q12, q13, [x9, #192]
    \op    q14, q15, [x9, #224]
    \op    q16, q17, [x9, #256]
    \op    q18, q19, [x9, #288]
    \op    q20, q21, [x9, #320]
    \op    q22, q23, [x9, #352]
    \op    q24, q25, [x9, #384]
    \op    q26, q27, [x9, #416]
    \op    q28, q29, [x9, #448]
    \op    q30, q31, [x9, #480]
.endm

.global usercopy_save_vectors
usercopy_save_vectors:
    mrs     x2, fpsr
    mrs     x3, fpcr
    bfi     x2, x3, #32, #32
    mov     x4, v31.d[1]
    add     x9, x1, #8
    add     x10, x1, #512
    sttr    x2, [x1]
    sttr    x4, [x10]
    cbz     w0, 1f
    msr     pan, #0
1:  move_pairs stp
usercopy_save_vectors_end:
    mov     x1, #0
    cbz     w0, 2f
    msr     pan, #1
2:  ret

.global usercopy_load_vectors
usercopy_load_vectors:
    add     x9, x1, #8
    add     x10, x1, #512
    ldtr    x2, [x1]
    ldtr    xzr, [x10]
    cbz     w0, 1f
    msr     pan, #0
1:  move_pairs ldp
usercopy_load_vectors_end:
    lsr     x3, x2, #32
    and     x2, x2, #0xffffffff
    msr     fpsr, x2
    msr     fpcr, x3
    mov     x1, #0
    cbz     w0, 2f
    msr     pan, #1
2:  ret

vectors_fault:
    cbz     w0, 1f
    msr     pan, #1
1:  mrs     x0, far_el1
    mov     x1, #1
    ret
fixup usercopy_save_vectors, usercopy_save_vectors_end, vectors_fault
fixup usercopy_load_vectors, usercopy_load_vectors_end, vectors_fault
