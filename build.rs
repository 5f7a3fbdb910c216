//! Tells the linker how the image is laid out on the machine that it is built for.

use std::env::var;

fn main() {
    let (root, arch) = (var("CARGO_MANIFEST_DIR"), var("CARGO_CFG_TARGET_ARCH"));
    let (Ok(root), Ok(arch)) = (root, arch) else { return };
    if var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let script = format!("{root}/arch/src/{arch}/link.ld");
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rustc-link-arg-bins=-T{script}");
}
