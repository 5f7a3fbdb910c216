//! /proc/cpuinfo, in the lines and with the names that Linux users know (proc_cpuinfo(5)).

use super::features::cpuid;
use super::{percpu, smp, time};
use core::fmt;
use core::sync::atomic::Ordering;

/// Which register of which leaf a row of names describes.
#[derive(Clone, Copy)]
enum Word {
    L1Edx,
    E1Edx,
    L1Ecx,
    E1Ecx,
    L7Ebx,
    L7Ecx,
    L7Edx,
    LdEax,
    E8Ebx,
}

/// The names of the bits, from 0 up; "-" where Linux shows nothing.
const FLAGS: [(Word, &str); 9] = [
    (
        Word::L1Edx,
        "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse \
         sse2 ss ht tm ia64 pbe",
    ),
    (
        Word::E1Edx,
        "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow",
    ),
    (
        Word::L1Ecx,
        "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 \
         x2apic movbe popcnt tsc_deadline_timer aes xsave - avx f16c rdrand hypervisor",
    ),
    (
        Word::E1Ecx,
        "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp \
         fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx - -",
    ),
    (
        Word::L7Ebx,
        "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq rdseed adx \
         smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl",
    ),
    (
        Word::L7Ecx,
        "- avx512vbmi umip pku ospke waitpkg avx512_vbmi2 - gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme \
         avx512_vpopcntdq - la57 - - - - - rdpid - bus_lock_detect cldemote - movdiri movdir64b enqcmd sgx_lc -",
    ),
    (
        Word::L7Edx,
        "- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear - - - serialize - tsxldtrk - pconfig \
         arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 - - flush_l1d arch_capabilities - -",
    ),
    (Word::LdEax, "xsaveopt xsavec xgetbv1 xsaves"),
    (Word::E8Ebx, "clzero irperf xsaveerptr - rdpru - - - - wbnoinvd"),
];

fn word(word: Word) -> u32 {
    match word {
        Word::L1Edx => cpuid(1, 0).edx,
        Word::L1Ecx => cpuid(1, 0).ecx,
        Word::E1Edx => cpuid(0x8000_0001, 0).edx,
        Word::E1Ecx => cpuid(0x8000_0001, 0).ecx,
        Word::L7Ebx => cpuid(7, 0).ebx,
        Word::L7Ecx => cpuid(7, 0).ecx,
        Word::L7Edx => cpuid(7, 0).edx,
        Word::LdEax => cpuid(0xd, 1).eax,
        Word::E8Ebx => cpuid(0x8000_0008, 0).ebx,
    }
}

/// Registers as the text they hold, without what is not printable.
fn text(out: &mut dyn fmt::Write, registers: &[u32]) -> fmt::Result {
    let mut started = false;
    for byte in registers.iter().flat_map(|register| register.to_le_bytes()) {
        started |= byte != b' ';
        if started && matches!(byte, b' '..=b'~') {
            out.write_char(char::from(byte))?;
        }
    }
    Ok(())
}

fn model_name(out: &mut dyn fmt::Write) -> fmt::Result {
    if cpuid(0x8000_0000, 0).eax < 0x8000_0004 {
        return out.write_str("unknown");
    }
    let mut registers = [0; 12];
    for (i, chunk) in (0x8000_0002u32..).zip(registers.chunks_mut(4)) {
        let leaf = cpuid(i, 0);
        chunk.copy_from_slice(&[leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]);
    }
    text(out, &registers)
}

/// Family, model, stepping (SDM vol. 2, CPUID).
fn signature() -> (u32, u32, u32) {
    let eax = cpuid(1, 0).eax;
    let base = eax >> 8 & 15;
    let family = if base == 15 { base + (eax >> 20 & 0xff) } else { base };
    let model = eax >> 4 & 15 | if base >= 6 { eax >> 12 & 0xf0 } else { 0 };
    (family, model, eax & 15)
}

/// The largest cache in KiB.
fn cache_kib() -> u32 {
    let amd = cpuid(0x8000_0006, 0).ecx >> 16;
    (0..8)
        .map(|i| cpuid(4, i))
        .take_while(|leaf| leaf.eax & 31 != 0)
        .map(|leaf| {
            let (line, parts, ways) = (leaf.ebx & 0xfff, leaf.ebx >> 12 & 0x3ff, leaf.ebx >> 22);
            let bytes = u64::from(line + 1) * u64::from(parts + 1) * u64::from(ways + 1) * (u64::from(leaf.ecx) + 1);
            (bytes >> 10) as u32
        })
        .max()
        .unwrap_or(0)
        .max(amd)
}

/// See `cpu::describe`.
pub fn describe(cpu: usize, out: &mut dyn fmt::Write) -> fmt::Result {
    let vendor = cpuid(0, 0);
    let (family, model, stepping) = signature();
    let khz = time::tsc_hz() / 1000;
    let apic_id = percpu::of(cpu).apic_id.load(Ordering::Relaxed);
    let cpus = smp::online();
    write!(out, "processor\t: {cpu}\nvendor_id\t: ")?;
    text(out, &[vendor.ebx, vendor.edx, vendor.ecx])?;
    write!(out, "\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: ")?;
    model_name(out)?;
    write!(out, "\nstepping\t: {stepping}\ncpu MHz\t\t: {}.{:03}\n", khz / 1000, khz % 1000)?;
    write!(out, "cache size\t: {} KB\nphysical id\t: 0\nsiblings\t: {cpus}\n", cache_kib())?;
    write!(out, "core id\t\t: {cpu}\ncpu cores\t: {cpus}\napicid\t\t: {apic_id}\n")?;
    write!(out, "initial apicid\t: {apic_id}\nfpu\t\t: yes\nfpu_exception\t: yes\n")?;
    write!(out, "cpuid level\t: {}\nwp\t\t: yes\nflags\t\t:", vendor.eax)?;
    for (which, names) in FLAGS {
        let bits = word(which);
        for (bit, name) in names.split_whitespace().enumerate() {
            if bits >> bit & 1 != 0 && name != "-" {
                write!(out, " {name}")?;
            }
        }
    }
    let sizes = cpuid(0x8000_0008, 0).eax;
    // Two ticks for each round of a delay loop: what Linux prints where the TSC is the clock.
    write!(out, "\nbugs\t\t:\nbogomips\t: {}.{:02}\n", khz / 500, khz / 5 % 100)?;
    write!(out, "clflush size\t: {0}\ncache_alignment\t: {0}\n", (cpuid(1, 0).ebx >> 8 & 0xff) * 8)?;
    writeln!(out, "address sizes\t: {} bits physical, {} bits virtual", sizes & 0xff, sizes >> 8 & 0xff)?;
    out.write_str("power management:\n\n")
}
