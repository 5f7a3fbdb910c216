//! Debian packages for the guest, of either architecture, kept under target/debs.
//!
//! apt works here in a state directory of its own, so that the machine's own configuration and foreign architectures
//! stay as they are. The sources are those in the file that POLLUX_APT_SOURCES names (in sources.list form), else the machine's
//! own Debian ones, else what setup has found for a machine that is not Debian. What was resolved once is remembered and needs no network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::arch::{Arch, out};

/// What a recipe asks for.
#[derive(Default, Debug, Clone, Hash)]
pub struct Wanted {
    /// Packages taken by themselves.
    pub plain: Vec<String>,
    /// Packages taken with what they depend on.
    pub closure: Vec<String>,
    /// Packages left out of the closure; a `*` at the end stands for anything.
    pub drop: Vec<String>,
}

/// Fetches what is wanted, if it is not there yet, and gives the paths of the packages.
pub fn fetch(arch: Arch, name: &str, wanted: &Wanted) -> Result<Vec<PathBuf>> {
    let dir = out().join("debs").join(arch.debian());
    fs::create_dir_all(&dir)?;
    let list = dir.join(format!("{name}.list"));
    let key = format!("{wanted:?}");
    if let Some(paths) = remembered(&list, &key, &dir) {
        return Ok(paths);
    }
    eprintln!("setup: fetching Debian packages for the guest ({name}, {}) into {}", arch.debian(), dir.display());
    let apt = Apt::prepare(arch.debian(), arch, &debian_sources()?)?;
    let mut names = Vec::new();
    for package in &wanted.plain {
        names.push(apt.resolve(package)?);
    }
    if !wanted.closure.is_empty() {
        for package in apt.closure(&wanted.closure)? {
            if !wanted.drop.iter().any(|pattern| matches(pattern, &package)) && !names.contains(&package) {
                names.push(package);
            }
        }
    }
    let files = apt.download(&names, &dir)?;
    fs::write(&list, format!("{key}\n{}\n", files.join("\n")))?;
    remembered(&list, &key, &dir).context("apt-get said it had downloaded everything, but files are missing")
}

fn remembered(list: &Path, key: &str, dir: &Path) -> Option<Vec<PathBuf>> {
    let text = fs::read_to_string(list).ok()?;
    let mut lines = text.lines();
    if lines.next()? != key {
        return None;
    }
    let paths: Vec<PathBuf> = lines.map(|file| dir.join(file)).collect();
    paths.iter().all(|path| path.is_file()).then_some(paths)
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

/// Unpacks a package once and gives the directory.
pub fn unpack(package: &Path) -> Result<PathBuf> {
    let file = package.file_name().and_then(|name| name.to_str()).context("a package without a name")?;
    let dir = out().join("unpacked").join(file.trim_end_matches(".deb"));
    if dir.is_dir() {
        return Ok(dir);
    }
    let partial = dir.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial)?;
    let status = Command::new("dpkg-deb").arg("-x").arg(package).arg(&partial).status().context("dpkg-deb")?;
    ensure!(status.success(), "dpkg-deb cannot unpack {}", package.display());
    fs::rename(&partial, &dir)?;
    Ok(dir)
}

/// Fetches a source package, if it is not there yet, and gives the directory with the upstream source in `orig` and
/// Debian's part in `debian`.
pub fn source(name: &str) -> Result<PathBuf> {
    let dir = out().join("unpacked").join(format!("source-{name}"));
    if dir.is_dir() {
        return Ok(dir);
    }
    let archives = out().join("debs/source");
    fs::create_dir_all(&archives)?;
    eprintln!("setup: fetching the Debian source of {name} into {}", archives.display());
    let apt = Apt::prepare("source", Arch::X86_64, &debian_sources()?.replace("deb [", "deb-src ["))?;
    let text = apt.get(&["source", "--print-uris", name])?;
    apt.run(&archives, &["source", "--download-only", name])?;
    let files = text.lines().filter(|line| line.starts_with('\'')).filter_map(|line| line.split_whitespace().nth(1));
    let partial = dir.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    for file in files.filter(|file| file.contains(".tar.")) {
        let (part, strip) = if file.contains(".debian.tar.") { (".", "0") } else { ("orig", "1") };
        let target = partial.join(part);
        fs::create_dir_all(&target)?;
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(archives.join(file)).args(["--strip-components", strip, "-C"]).arg(&target);
        ensure!(tar.status().context("tar")?.success(), "tar cannot unpack {file}");
    }
    fs::rename(&partial, &dir).with_context(|| format!("the source of {name} has no archives"))?;
    Ok(dir)
}

/// apt with a state of its own for one architecture.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn prepare(name: &str, arch: Arch, list: &str) -> Result<Apt> {
        let base = out().join("apt").join(name);
        for dir in ["state/lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(base.join(dir))?;
        }
        let status = base.join("state/status");
        fs::write(&status, "")?;
        let sources = base.join("sources.list");
        fs::write(&sources, list)?;
        let mut apt = Apt { options: Vec::new() };
        for (key, value) in [
            ("Dir::State", base.join("state").display().to_string()),
            ("Dir::State::status", status.display().to_string()),
            ("Dir::Cache", base.join("cache").display().to_string()),
            ("Dir::Etc::sourcelist", sources.display().to_string()),
            ("Dir::Etc::sourceparts", base.join("parts").display().to_string()),
            ("APT::Architecture", arch.debian().to_string()),
            ("APT::Architectures", arch.debian().to_string()),
            ("APT::Sandbox::User", "root".to_string()),
            ("APT::Install-Recommends", "false".to_string()),
            ("Acquire::Languages", "none".to_string()),
            ("Acquire::Retries", "3".to_string()),
        ] {
            apt.options.push("-o".to_string());
            apt.options.push(format!("{key}={value}"));
        }
        let updated = base.join("updated");
        let fresh = fs::metadata(&updated)
            .and_then(|data| data.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age.as_secs() < 3600));
        if !fresh {
            apt.get(&["update"])?;
            fs::write(&updated, "")?;
        }
        Ok(apt)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("-q").args(&self.options).args(arguments).stdin(Stdio::null());
        command
    }

    fn get(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command("apt-get", arguments).output().context("apt-get")?;
        ensure!(
            output.status.success(),
            "apt-get {} failed:\n{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A package that only depends on a versioned one (a kernel) stands for that one.
    fn resolve(&self, package: &str) -> Result<String> {
        if !package.starts_with("linux-image") {
            return Ok(package.to_string());
        }
        let output = self.command("apt-cache", &["depends", package]).output().context("apt-cache")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let real = text.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
        Ok(real.map_or(package.to_string(), |name| format!("linux-image-{name}")))
    }

    fn closure(&self, packages: &[String]) -> Result<Vec<String>> {
        let mut arguments = vec!["install", "-y", "--print-uris"];
        arguments.extend(packages.iter().map(String::as_str));
        let text = self.get(&arguments)?;
        let names = text.lines().filter(|line| line.starts_with('\'')).filter_map(|line| {
            let file = line.split_whitespace().nth(1)?;
            Some(file.split('_').next()?.to_string())
        });
        Ok(names.collect())
    }

    /// Downloads packages and gives their file names.
    fn download(&self, packages: &[String], dir: &Path) -> Result<Vec<String>> {
        let mut arguments = vec!["download", "--print-uris"];
        arguments.extend(packages.iter().map(String::as_str));
        let text = self.get(&arguments)?;
        let files: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with('\''))
            .filter_map(|line| line.split_whitespace().nth(1).map(str::to_string))
            .collect();
        arguments.remove(1);
        self.run(dir, &arguments)?;
        Ok(files)
    }

    /// apt-get in a directory, where it puts what it downloads.
    fn run(&self, dir: &Path, arguments: &[&str]) -> Result<()> {
        let output = self.command("apt-get", arguments).current_dir(dir).output().context("apt-get")?;
        if !output.status.success() {
            bail!("apt-get {} failed:\n{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

/// The machine's own Debian sources as one-line entries.
fn debian_sources() -> Result<String> {
    if let Some(path) = std::env::var_os("POLLUX_APT_SOURCES") {
        return fs::read_to_string(&path).with_context(|| format!("POLLUX_APT_SOURCES={}", path.display()));
    }
    let format = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)";
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", format, "Created-By: Packages"])
        .output()
        .context("apt-get (the guest's programs are Debian's)")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        if let [origin, uri, release, component] = line.split('|').collect::<Vec<_>>()[..]
            && origin == "Debian"
        {
            let line =
                format!("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {uri} {release} {component}");
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    if lines.is_empty() {
        return fs::read_to_string(out().join("setup/debian.list")).context(
            "no Debian package source is known here (after apt-get update, `apt-get indextargets` shows none of origin Debian).\n\
             Install debian-archive-keyring, write a sources.list for Debian stable, and set POLLUX_APT_SOURCES to that file",
        );
    }
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_at_the_end_of_a_dropped_name_stands_for_anything() {
        assert!(matches("perl*", "perl-base"));
        assert!(!matches("perl", "perl-base"));
        assert!(matches("perl", "perl"));
    }
}
