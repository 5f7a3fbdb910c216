//! Recipes (userland/recipes/NAME): which Debian packages, programs and files make a root file system.
//!
//! What they need is fetched when the machine is set up. Recipes in userland/recipes/proofs, which only one long proof
//! uses and which are large, are fetched by the command that builds them. No two recipes have the same name.
//!
//! One directive a line, `#` begins a comment:
//!
//! ```text
//! include NAME                what another recipe says
//! package NAME...             Debian packages by themselves
//! closure NAME...             Debian packages with what they depend on
//! drop NAME...                packages left out of the closure (`perl*`)
//! prune PATH...               paths left out (`usr/share/doc`)
//! keep PATH...                paths in them that are not
//! source NAME PART PATH       a file or directory of a Debian source package (`orig/...` or `debian/...`), at the given place
//! program NAME PATH           a program of the userland workspace
//! applets BUSYBOX DIRECTORY   a link for each applet of that busybox
//! dir PATH MODE               a directory
//! link PATH TARGET            a symbolic link
//! file PATH MODE SOURCE       a file beside the recipes, at the given place
//! tree PATH DIRECTORY         a directory of the repository (`tests/scripts`) with all that is in it, at the given place
//! device PATH MAJOR MINOR     a character device
//! ```
//!
//! /bin, /sbin, /lib and /lib64 are links into /usr, as on a Debian machine.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::arch::{Arch, out, root};
use crate::cpio::Archive;
use crate::packages::{self, Wanted};

/// What is at a path of the root file system.
#[derive(Debug, Clone, Hash)]
enum Node {
    Directory(u32),
    Link(String),
    Device(u32, u32),
    /// A copy of a file of the development machine.
    Copy(PathBuf, u32),
}

/// A recipe that was read, with those that it includes.
#[derive(Default, Debug)]
pub struct Recipe {
    name: String,
    wanted: Wanted,
    prune: Vec<String>,
    keep: Vec<String>,
    sources: Vec<(String, String, String)>,
    programs: Vec<(String, String)>,
    applets: Vec<(String, String)>,
    trees: Vec<(String, PathBuf)>,
    nodes: Vec<(String, Node)>,
}

fn recipes() -> PathBuf {
    root().join("userland/recipes")
}

fn proofs() -> PathBuf {
    recipes().join("proofs")
}

/// The names of the recipes that setting up the machine fetches.
pub fn names() -> Result<Vec<String>> {
    names_in(&recipes())
}

fn names_in(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

impl Recipe {
    /// Reads a recipe.
    pub fn load(name: &str) -> Result<Recipe> {
        let mut recipe = Recipe { name: name.to_string(), ..Recipe::default() };
        recipe.read(name, 0)?;
        Ok(recipe)
    }

    fn read(&mut self, name: &str, depth: usize) -> Result<()> {
        ensure!(depth < 8, "recipe {name}: includes go round in a circle");
        let path = [recipes(), proofs()].map(|dir| dir.join(name)).into_iter().find(|path| path.is_file());
        let path = path.with_context(|| format!("there is no recipe {name} in {}", recipes().display()))?;
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for (number, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
            self.directive(&words, depth).with_context(|| format!("{}:{}", path.display(), number + 1))?;
        }
        Ok(())
    }

    fn directive(&mut self, words: &[&str], depth: usize) -> Result<()> {
        let owned = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        match words {
            [] => {}
            ["include", name] => self.read(name, depth + 1)?,
            ["package", names @ ..] => self.wanted.plain.extend(owned(names)),
            ["closure", names @ ..] => self.wanted.closure.extend(owned(names)),
            ["drop", names @ ..] => self.wanted.drop.extend(owned(names)),
            ["prune", paths @ ..] => self.prune.extend(owned(paths)),
            ["keep", paths @ ..] => self.keep.extend(owned(paths)),
            ["source", name, part, path] => self.sources.push((name.to_string(), part.to_string(), inner(path))),
            ["program", name, path] => self.programs.push((name.to_string(), inner(path))),
            ["applets", busybox, directory] => self.applets.push((inner(busybox), inner(directory))),
            ["dir", path, mode] => self.nodes.push((inner(path), Node::Directory(u32::from_str_radix(mode, 8)?))),
            ["link", path, target] => self.nodes.push((inner(path), Node::Link(target.to_string()))),
            ["file", path, mode, source] => {
                let node = Node::Copy(recipes().join(source), u32::from_str_radix(mode, 8)?);
                self.nodes.push((inner(path), node));
            }
            ["tree", path, directory] => {
                let from = root().join(directory);
                ensure!(from.is_dir(), "{} is not a directory", from.display());
                self.trees.push((inner(path), from));
            }
            ["device", path, major, minor] => {
                self.nodes.push((inner(path), Node::Device(major.parse()?, minor.parse()?)));
            }
            _ => bail!("'{}' is not a directive", words.join(" ")),
        }
        Ok(())
    }

    /// A directory of the development machine with all that is in it, at the given place, besides what the recipe says.
    pub fn add_directory(&mut self, path: &str, from: &Path) {
        self.trees.push((inner(path), from.to_path_buf()));
    }

    /// Fetches what the recipe needs from outside.
    pub fn fetch(&self, arch: Arch) -> Result<Vec<PathBuf>> {
        for (name, _, _) in &self.sources {
            packages::source(name)?;
        }
        if self.wanted.plain.is_empty() && self.wanted.closure.is_empty() {
            return Ok(Vec::new());
        }
        packages::fetch(arch, &self.name, &self.wanted)
    }

    /// Builds the archive, without its end so that a run can add to it. It is made anew only when something changed.
    pub fn build(&self, arch: Arch, programs: &Path) -> Result<Vec<u8>> {
        let tree = self.tree(arch, programs)?;
        let mut hasher = DefaultHasher::new();
        for (path, node) in &tree {
            (path, node).hash(&mut hasher);
            if let Node::Copy(source, _) = node {
                let data = fs::metadata(source)?;
                (data.len(), data.modified()?).hash(&mut hasher);
            }
        }
        let dir = out().join("roots");
        fs::create_dir_all(&dir)?;
        let cached = dir.join(format!("{}-{}-{:016x}", self.name, arch.name(), hasher.finish()));
        if let Ok(bytes) = fs::read(&cached) {
            return Ok(bytes);
        }
        let bytes = archive(&tree)?;
        let old = format!("{}-{}-", self.name, arch.name());
        for entry in fs::read_dir(&dir)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&old) {
                let _ = fs::remove_file(entry.path());
            }
        }
        fs::write(&cached, &bytes)?;
        Ok(bytes)
    }

    fn tree(&self, arch: Arch, programs: &Path) -> Result<BTreeMap<String, Node>> {
        let mut tree = BTreeMap::new();
        for name in ["bin", "sbin", "lib", "lib64"] {
            tree.insert(name.to_string(), Node::Link(format!("usr/{name}")));
            tree.insert(format!("usr/{name}"), Node::Directory(0o755));
        }
        for package in self.fetch(arch)? {
            let top = packages::unpack(&package)?;
            self.add_tree(&mut tree, "", &top, &top)?;
        }
        for (name, part, path) in &self.sources {
            let from = packages::source(name)?.join(part);
            if from.is_dir() {
                self.add_tree(&mut tree, path, &from, &from)?;
            } else {
                tree.insert(path.clone(), Node::Copy(from, 0o644));
            }
        }
        for (name, path) in &self.programs {
            tree.insert(path.clone(), Node::Copy(programs.join(name), 0o755));
        }
        for (busybox, directory) in &self.applets {
            let Some(Node::Copy(source, _)) = tree.get(busybox) else { bail!("no {busybox} in this recipe") };
            let names = applets(&fs::read(source)?).with_context(|| format!("no applets in {}", source.display()))?;
            for name in names {
                tree.entry(inner(&format!("{directory}/{name}"))).or_insert(Node::Link(format!("/{busybox}")));
            }
        }
        for (path, from) in &self.trees {
            self.add_tree(&mut tree, path, from, from)?;
        }
        tree.extend(self.nodes.iter().cloned());
        add_parents(&mut tree);
        Ok(tree)
    }

    fn is_pruned(&self, name: &str) -> bool {
        let within = |paths: &[String]| paths.iter().any(|path| is_within(name, path));
        within(&self.prune) && !within(&self.keep)
    }

    /// Adds what is in `dir`, whose part `top` stands for the directory `at`.
    fn add_tree(&self, tree: &mut BTreeMap<String, Node>, at: &str, top: &Path, dir: &Path) -> Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = Path::new(at).join(path.strip_prefix(top)?);
            let name = inner(name.to_str().context("a name that is not UTF-8")?);
            let data = fs::symlink_metadata(&path)?;
            let mode = data.permissions().mode() & 0o7777;
            if self.is_pruned(&name) {
                // What is kept may be further down, and has its parents added later.
                if data.is_dir() && self.keep.iter().any(|keep| is_within(keep, &name)) {
                    self.add_tree(tree, at, top, &path)?;
                }
                continue;
            }
            if data.is_symlink() {
                let target = fs::read_link(&path)?;
                tree.insert(name, Node::Link(target.to_str().context("a link that is not UTF-8")?.to_string()));
            } else if data.is_dir() {
                if !matches!(name.as_str(), "bin" | "sbin" | "lib" | "lib64") {
                    tree.insert(name, Node::Directory(mode));
                }
                self.add_tree(tree, at, top, &path)?;
            } else {
                tree.insert(name, Node::Copy(path, mode));
            }
        }
        Ok(())
    }
}

/// A path as an archive has it: no leading slash, and under /usr what Debian has there.
fn inner(path: &str) -> String {
    let path = path.trim_start_matches('/');
    match path.split_once('/') {
        Some(("bin" | "sbin" | "lib" | "lib64", _)) => format!("usr/{path}"),
        _ => path.to_string(),
    }
}

/// Whether a path is that of a directory or of something in it.
fn is_within(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Every path's parents are there and come before it.
fn add_parents(tree: &mut BTreeMap<String, Node>) {
    let paths: Vec<String> = tree.keys().cloned().collect();
    for path in paths {
        let mut parent = path.as_str();
        while let Some((up, _)) = parent.rsplit_once('/') {
            tree.entry(up.to_string()).or_insert(Node::Directory(0o755));
            parent = up;
        }
    }
}

fn archive(tree: &BTreeMap<String, Node>) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for (path, node) in tree {
        match node {
            Node::Directory(mode) => archive.directory(path, *mode),
            Node::Link(target) => archive.link(path, target),
            Node::Device(major, minor) => archive.device(path, 0o600, (*major, *minor)),
            Node::Copy(source, mode) => {
                let data = fs::read(source).with_context(|| format!("{}", source.display()))?;
                archive.file(path, *mode, &data);
            }
        }
    }
    Ok(archive.unfinished())
}

/// The applet names that are compiled into a busybox: strings in alphabetical order that begin with `[` and `[[`. Anything
/// may stand before them.
fn applets(busybox: &[u8]) -> Option<Vec<String>> {
    let is_start = |window: &[u8]| window.starts_with(b"[\0[[\0") && window[5].is_ascii_lowercase();
    let start = busybox.windows(6).position(is_start)?;
    let names = busybox[start..].split(|&byte| byte == 0).take_while(|name| !name.is_empty());
    Some(names.filter_map(|name| String::from_utf8(name.to_vec()).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applet_names_are_read_from_the_table_in_the_binary() {
        let names = applets(b"\x7fELF..\0\0[\0[[\0acpid\0ash\0zcip\0\0more").unwrap();
        assert_eq!(names, ["[", "[[", "acpid", "ash", "zcip"]);
        let names = applets(b"\x7fELF..[\0[[\0\x01\xae [\0[[\0acpid\0\0").unwrap();
        assert_eq!(names, ["[", "[[", "acpid"]);
    }

    #[test]
    fn bin_and_lib_are_under_usr() {
        assert_eq!(inner("/bin/sh"), "usr/bin/sh");
        assert_eq!(inner("lib64/ld.so"), "usr/lib64/ld.so");
        assert_eq!(inner("/init"), "init");
    }

    #[test]
    fn every_recipe_can_be_read() {
        let (ordinary, proofs) = (names().unwrap(), names_in(&proofs()).unwrap());
        assert!(!ordinary.iter().any(|name| proofs.contains(name)));
        for name in ordinary.iter().chain(&proofs) {
            Recipe::load(name).unwrap();
        }
    }

    #[test]
    fn what_is_kept_of_a_pruned_directory_comes_with_its_parents() {
        let mut recipe = Recipe { prune: vec!["here/src".to_string()], ..Recipe::default() };
        recipe.directive(&["keep", "here/src/bin"], 0).unwrap();
        recipe.directive(&["tree", "/here", "tests"], 0).unwrap();
        let mut tree = BTreeMap::new();
        for (path, from) in &recipe.trees {
            recipe.add_tree(&mut tree, path, from, from).unwrap();
        }
        add_parents(&mut tree);
        assert!(tree.contains_key("here/src/bin/harness.rs") && tree.contains_key("here/src"));
        assert!(tree.contains_key("here/Cargo.toml") && !tree.contains_key("here/src/recipe.rs"));
    }

    #[test]
    fn a_directory_of_the_repository_is_copied_to_its_place() {
        let mut recipe = Recipe { prune: vec!["here/src/bin".to_string()], ..Recipe::default() };
        recipe.directive(&["tree", "/here", "tests"], 0).unwrap();
        let mut tree = BTreeMap::new();
        for (path, from) in &recipe.trees {
            recipe.add_tree(&mut tree, path, from, from).unwrap();
        }
        let file = |path: &str| matches!(tree.get(path), Some(Node::Copy(from, _)) if from.is_file());
        assert!(file("here/Cargo.toml") && file("here/src/recipe.rs"));
        assert!(!tree.contains_key("here/src/bin/harness.rs"));
        assert!(recipe.directive(&["tree", "/here", "tests/nothing"], 0).is_err());
    }
}
