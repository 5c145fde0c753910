//! Finding what compiles for WebAssembly, and running it.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use puna_core::{Error, ErrorKind, Result};

use super::{
    super::BuildOptions,
    DESCRIBE_VARIABLE,
    package::{self, Metadata},
};

const TARGET: &str = "wasm32-unknown-unknown";

/// Where Debian's packages `rustc-web`, `cargo-web` and `lld-19` put their programs.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld-19";

/// A component is small before it is fast, and the same from the same source: one code unit, no debug
/// information. They override the workspace's profile, whose settings suit the host.
const PROFILE: [(&str, &str); 7] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
    ("CARGO_INCREMENTAL", "0"),
];

/// What compiles for WebAssembly.
pub struct Toolchain {
    kind: Kind,
    version: String,
    sysroot: PathBuf,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// The target's standard library is installed.
    Installed,
    /// Debian's: the standard library is compiled from its source.
    FromSource,
}

/// Finds a toolchain for the package in a folder.
///
/// # Errors
/// Unavailable, naming both remedies.
pub fn find(folder: &Path) -> Result<Toolchain> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let installed = sysroot(&rustc, folder).filter(|sysroot| {
        let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
        fs::read_dir(libraries).is_ok_and(|mut files| {
            files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
        })
    });
    if let Some(sysroot) = installed {
        return Ok(Toolchain { kind: Kind::Installed, version: version(&rustc, folder)?, sysroot });
    }
    let debian = OsString::from(DEBIAN_RUSTC);
    let complete = [DEBIAN_RUSTC, DEBIAN_CARGO, DEBIAN_LINKER].iter().all(|path| Path::new(path).exists());
    let from_source = sysroot(&debian, folder)
        .filter(|sysroot| complete && sysroot.join("lib/rustlib/src/rust/library/std").exists());
    if let Some(sysroot) = from_source {
        let version = format!("{}, std from source", version(&debian, folder)?);
        return Ok(Toolchain { kind: Kind::FromSource, version, sysroot });
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        format!(
            "nothing here compiles for `{TARGET}`: run `rustup target add {TARGET}`, or on Debian \
             `apt-get install rustc-web cargo-web rust-web-src lld-19`"
        ),
    ))
}

impl Toolchain {
    /// The compiler's own words for its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Compiles the package to a core module and gives its path. Cargo speaks on standard error.
    pub fn compile(
        &self,
        metadata: &Metadata,
        target_dir: &Path,
        options: &BuildOptions,
        describe: bool,
    ) -> Result<PathBuf> {
        let mut command = self.cargo();
        command
            .args(["build", "--release", "--lib", "--target", TARGET, "--manifest-path"])
            .arg(&metadata.manifest_path)
            .arg("--target-dir")
            .arg(target_dir)
            .envs(PROFILE)
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags(metadata))
            .env_remove("RUSTFLAGS")
            .env_remove(DESCRIBE_VARIABLE)
            .stdout(std::process::Stdio::null());
        if self.kind == Kind::FromSource {
            command.arg("-Zbuild-std=std,panic_abort");
        }
        if describe {
            command.env(DESCRIBE_VARIABLE, "1");
        }
        package::add_options(&mut command, options);
        tracing::debug!(?command, "compiling the plugin");
        let status = command.status().map_err(|error| package::unavailable(&error))?;
        if !status.success() {
            return Err(Error::invalid_input(format!(
                "`{}` does not compile for `{TARGET}`; cargo says why above",
                metadata.manifest_path.display()
            )));
        }
        Ok(target_dir.join(TARGET).join("release").join(format!("{}.wasm", metadata.library)))
    }

    fn cargo(&self) -> Command {
        match self.kind {
            Kind::Installed => Command::new(package::cargo()),
            Kind::FromSource => {
                let mut command = Command::new(DEBIAN_CARGO);
                command
                    .env("RUSTC", DEBIAN_RUSTC)
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER)
                    // A rustup around us would steer these to its own toolchain.
                    .env_remove("CARGO")
                    .env_remove("RUSTUP_TOOLCHAIN");
                command
            }
        }
    }

    /// Panic messages hold paths: without this, where a machine keeps its sources would be in the
    /// component, and no two machines would build the same one.
    fn flags(&self, metadata: &Metadata) -> OsString {
        let mut remaps = vec![(metadata.workspace_root.clone(), "/plugin".to_owned())];
        // Those outside the workspace, under their names alone. The last remapping that fits wins.
        for dependency in &metadata.path_dependencies {
            if let Some(name) =
                dependency.file_name().filter(|_| !dependency.starts_with(&metadata.workspace_root))
            {
                remaps.push((dependency.clone(), format!("/dependency/{}", name.to_string_lossy())));
            }
        }
        for registry in registries() {
            remaps.push((registry, "/registry".to_owned()));
        }
        remaps.push((self.sysroot.join("lib/rustlib/src/rust"), "/rust".to_owned()));
        let mut flags = OsString::new();
        for (from, to) in remaps {
            if !flags.is_empty() {
                flags.push("\x1f");
            }
            flags.push("--remap-path-prefix=");
            flags.push(from);
            flags.push("=");
            flags.push(to);
        }
        flags
    }
}

/// The folders into which Cargo unpacks crates, one for each registry.
fn registries() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let entries = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    let mut folders: Vec<PathBuf> =
        entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

fn sysroot(rustc: &OsString, folder: &Path) -> Option<PathBuf> {
    let output = Command::new(rustc).args(["--print", "sysroot"]).current_dir(folder).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(text.trim()))
}

fn version(rustc: &OsString, folder: &Path) -> Result<String> {
    let output = Command::new(rustc).arg("--version").current_dir(folder).output();
    let output = output.map_err(|error| package::unavailable(&error))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
