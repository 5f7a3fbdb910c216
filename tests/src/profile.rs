//! `just profile`: which functions a benchmark's instructions are spent in, per operation.
//!
//! A plugin (plugin.c) counts how often each instruction of the guest runs. The machine of BUDGETS.md is booted twice,
//! with different numbers of operations; the difference is what the operations cost, free of boot and of what happens
//! once. Rows that do not repeat an operation cannot be profiled.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSymbol, SymbolKind};

use crate::arch::{Arch, out, root};
use crate::image::{self, Kernel};
use crate::recipe::Recipe;
use crate::symbols::{self, Symbols};
use crate::toolchain::Toolchain;
use crate::{bench, run};

/// Operations of the two runs. Both fill caches that grow with use.
const FEW: u64 = 1_000;
const MANY: u64 = 3_000;

/// How often each instruction ran.
type Counts = HashMap<u64, u64>;

/// Prints what `row` spends in each function, and for functions whose name holds one of `names`, on each line.
pub fn profile(arch: Arch, row: &str, names: &[&str]) -> Result<i32> {
    let programs = Toolchain::load()?.build_programs(arch)?;
    let root = Recipe::load("busybox")?.build(arch, &programs)?;
    let kernel = image::chosen(arch)?;
    let elf = kernel.elf.clone().context("a kernel without symbols")?;
    let plugin = build_plugin(arch)?;
    let few = count(arch, &kernel, &root, &plugin, row, FEW)?;
    let many = count(arch, &kernel, &root, &plugin, row, MANY)?;
    let per_operation: BTreeMap<u64, f64> = many
        .iter()
        .map(|(&address, &count)| {
            let before = few.get(&address).copied().unwrap_or(0);
            (address, (count as f64 - before as f64) / (MANY - FEW) as f64)
        })
        .filter(|(_, cost)| *cost != 0.0)
        .collect();
    ensure!(!per_operation.is_empty(), "{row} does not repeat an operation");
    print(arch, row, &per_operation, &Functions::load(&elf)?);
    if !names.is_empty() {
        print_lines(&per_operation, &Functions::load(&elf)?, &Symbols::load(&elf)?, names);
    }
    Ok(0)
}

/// Compiles the plugin for the QEMU at hand.
fn build_plugin(arch: Arch) -> Result<PathBuf> {
    let version = Command::new(arch.qemu()).arg("--version").output().context("QEMU")?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let major = version.split("version ").nth(1).and_then(|text| text.split('.').next()?.parse::<u32>().ok());
    // QEMU 9 takes nothing older than 2, QEMU 7 nothing newer than 1.
    let interface = if major.is_some_and(|major| major >= 9) { 2 } else { 1 };
    let plugin = out().join("profile-plugin.so");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-shared", "-fPIC", "-fvisibility=hidden", &format!("-DINTERFACE={interface}"), "-o"]);
    cc.arg(&plugin).arg(root().join("tests/src/plugin.c"));
    ensure!(cc.status().context("cc")?.success(), "the plugin does not compile");
    Ok(plugin)
}

fn count(arch: Arch, kernel: &Kernel, root: &[u8], plugin: &Path, row: &str, operations: u64) -> Result<Counts> {
    eprintln!("profile: {row} on {}: {operations} operations", arch.name());
    let file = out().join(format!("profile-{}", std::process::id()));
    let _ = fs::remove_file(&file);
    let options = vec!["-plugin".to_string(), format!("{},out={}", plugin.display(), file.display())];
    let (text, status) = bench::boot(arch, kernel, root, &[row, &format!("ops={operations}")], options)?;
    ensure!(status != run::PANIC && status != run::LIMIT, "the run failed");
    ensure!(text.lines().any(|line| line.starts_with(row)), "there is no row {row}");
    let counts = fs::read_to_string(&file).context("this QEMU takes no plugins: it wrote no counts")?;
    let _ = fs::remove_file(&file);
    counts
        .lines()
        .map(|line| {
            let (address, count) = line.split_once(' ').context("a line without a count")?;
            Ok((u64::from_str_radix(address, 16)?, count.parse()?))
        })
        .collect()
}

/// The kernel's functions by address.
struct Functions(Vec<(u64, String)>);

impl Functions {
    fn load(elf: &Path) -> Result<Functions> {
        let data = fs::read(elf)?;
        let file = object::File::parse(&*data)?;
        // Assembly's labels have no type.
        let code = |symbol: &object::Symbol| {
            matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Unknown) && is_kernel(symbol.address())
        };
        let mut list: Vec<_> = file
            .symbols()
            .filter(code)
            .filter_map(|symbol| Some((symbol.address(), symbols::demangle(symbol.name().ok()?))))
            .filter(|(_, name)| !name.is_empty() && !name.starts_with('$'))
            .collect();
        list.sort();
        Ok(Functions(list))
    }

    /// The function that an address lies in.
    fn at(&self, address: u64) -> &str {
        match self.0.partition_point(|(start, _)| *start <= address) {
            0 => "?",
            after => &self.0[after - 1].1,
        }
    }
}

/// Whether an address is in the upper half.
fn is_kernel(address: u64) -> bool {
    address >> 63 != 0
}

/// Less than this of an operation's instructions is not worth a line.
const SHOWN: f64 = 0.5;

fn print(arch: Arch, row: &str, counts: &BTreeMap<u64, f64>, functions: &Functions) {
    let mut sums: HashMap<&str, f64> = HashMap::new();
    for (&address, cost) in counts {
        let name = if is_kernel(address) { functions.at(address) } else { "(the program)" };
        *sums.entry(name).or_default() += cost;
    }
    let total: f64 = counts.values().sum();
    println!("{} {row}: {total:.1} instructions per operation", arch.name());
    print_sorted(sums, total);
}

fn print_lines(counts: &BTreeMap<u64, f64>, functions: &Functions, symbols: &Symbols, names: &[&str]) {
    let mut sums: HashMap<String, f64> = HashMap::new();
    let chosen = |address| names.iter().any(|name| functions.at(address).contains(name));
    for (&address, cost) in counts.iter().filter(|(address, _)| is_kernel(**address) && chosen(**address)) {
        // The line itself, and the functions that it was inlined through.
        let place = symbols.describe(address).join(" < ");
        *sums.entry(place).or_default() += cost;
    }
    let total: f64 = sums.values().sum();
    println!("\nby line, in functions named {}: {total:.1}", names.join(", "));
    print_sorted(sums, total);
}

fn print_sorted(sums: HashMap<impl AsRef<str>, f64>, total: f64) {
    let mut sums: Vec<_> = sums.into_iter().filter(|(_, cost)| cost.abs() >= SHOWN).collect();
    sums.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (name, cost) in sums {
        println!("{cost:10.1} {:5.1} %  {}", 100.0 * cost / total, name.as_ref());
    }
}
