use std::{fs::File, io::Read as _, path::Path};

use puna_core::{Error, ErrorKind, Result};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use wasmparser::{Encoding, Parser, Payload};

use crate::{
    MANIFEST_SECTION, MAX_COMPONENT_BYTES, MAX_CORE_MODULES, MAX_FUNCTION_BYTES, MAX_MEMORIES,
    MAX_TABLE_ELEMENTS, MAX_TABLES, Manifest,
    contract::{self, PACKAGE},
    guest::scrub,
};

/// Most imports or exports of a component.
const MAX_EXTERNS: usize = 256;

/// What a component is, read without running it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// What it says about itself.
    pub manifest: Manifest,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// Length of the component, in bytes.
    pub bytes: u64,
    /// The interfaces it imports.
    pub imports: Vec<String>,
    /// The interfaces it exports.
    pub exports: Vec<String>,
}

/// Reads a component's manifest and surface. Runs and compiles nothing; time and memory are bounded by
/// the component's length.
///
/// # Errors
/// Invalid input when it is no component, has no sound manifest, speaks another contract (the message
/// names both versions), or passes a bound.
pub fn inspect(component: &[u8]) -> Result<Inspection> {
    let bytes = component.len() as u64;
    if bytes > MAX_COMPONENT_BYTES {
        return Err(too_large(bytes));
    }
    let surface = read_surface(component)?;
    // The versions of the imports first: they tell what the manifest's shape may be.
    let externs = surface.imports.iter().chain(&surface.exports);
    for version in externs.filter_map(|name| name.strip_prefix(PACKAGE)?.split_once('@')) {
        contract::check_version(version.1)?;
    }
    let manifest = surface.manifest.ok_or_else(|| {
        Error::invalid_input(format!(
            "the component has no section `{MANIFEST_SECTION}`; make it with `puna plugin build`"
        ))
    })?;
    let manifest = Manifest::from_json(manifest)?;
    let inspection = Inspection {
        manifest,
        digest: digest(component),
        bytes,
        imports: surface.imports,
        exports: surface.exports,
    };
    inspection.check_exports()?;
    Ok(inspection)
}

impl Inspection {
    /// Whether it exports an interface of the contract.
    pub(crate) fn exports(&self, interface: &str) -> bool {
        let name = format!("{PACKAGE}/{interface}@");
        self.exports.iter().any(|export| export.starts_with(&name))
    }

    /// What the manifest tells of must be there, and the reverse.
    fn check_exports(&self) -> Result<()> {
        let manifest = &self.manifest;
        let parts = [
            ("tools", manifest.tools.len()),
            ("loaders", manifest.loaders.len()),
            ("retrievers", manifest.retrievers.len()),
        ];
        for (interface, count) in parts {
            let wrong = match (count, self.exports(interface)) {
                (1.., false) => format!("exports no `{PACKAGE}/{interface}@{}`", contract::CONTRACT),
                (0, true) => format!("exports `{interface}` and its manifest names none"),
                _ => continue,
            };
            return Err(Error::invalid_input(format!("the component {wrong}")));
        }
        Ok(())
    }
}

/// [`inspect`] for a file.
///
/// # Errors
/// Those of [`inspect`], and those of reading the file.
pub fn inspect_file(path: impl AsRef<Path>) -> Result<Inspection> {
    let path = path.as_ref();
    inspect(&read_component(path)?).map_err(|error| error.context(path.display()))
}

/// Reads a component file, never more than the bound.
pub(crate) fn read_component(path: &Path) -> Result<Vec<u8>> {
    let read = |error| Error::from_io("read", path, error);
    let file = File::open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    if !metadata.is_file() {
        return Err(Error::invalid_input(format!("`{}` is not a file", path.display())));
    }
    if metadata.len() > MAX_COMPONENT_BYTES {
        return Err(too_large(metadata.len()).context(path.display()));
    }
    let mut component = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.take(MAX_COMPONENT_BYTES + 1).read_to_end(&mut component).map_err(read)?;
    Ok(component)
}

/// SHA-256 in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

fn too_large(bytes: u64) -> Error {
    Error::new(
        ErrorKind::ResourceExhausted,
        format!("the component takes {bytes} bytes; the most is {MAX_COMPONENT_BYTES}"),
    )
}

struct Surface<'a> {
    manifest: Option<&'a [u8]>,
    imports: Vec<String>,
    exports: Vec<String>,
}

fn read_surface(component: &[u8]) -> Result<Surface<'_>> {
    let broken = |error: wasmparser::BinaryReaderError| {
        Error::invalid_input(format!(
            "not a sound WebAssembly component at byte {}: {}",
            error.offset(),
            scrub(error.message(), 200)
        ))
    };
    let refuse = |what: &str| Err(Error::invalid_input(format!("the component {what}")));
    let mut surface = Surface { manifest: None, imports: Vec::new(), exports: Vec::new() };
    // How many modules and components are open around what is read; 1 is the component itself.
    let mut depth = 0_usize;
    let (mut modules, mut memories, mut tables, mut manifests) = (0, 0, 0, 0);
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(broken)? {
            Payload::Version { encoding, .. } => {
                if depth == 0 && encoding != Encoding::Component {
                    return Err(Error::invalid_input(
                        "a core WebAssembly module, not a component; make it with `puna plugin build`",
                    ));
                }
                depth += 1;
                if encoding == Encoding::Module {
                    modules += 1;
                    if modules > MAX_CORE_MODULES {
                        return refuse(&format!("holds more than {MAX_CORE_MODULES} core modules"));
                    }
                }
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CodeSectionEntry(body) if body.range().len() > MAX_FUNCTION_BYTES => {
                return refuse(&format!(
                    "holds a function of {} bytes; the most is {MAX_FUNCTION_BYTES}",
                    body.range().len()
                ));
            }
            Payload::MemorySection(section) => {
                memories += section.count() as usize;
                if memories > MAX_MEMORIES {
                    return refuse(&format!("holds more than {MAX_MEMORIES} memories"));
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    let elements = table.map_err(broken)?.ty.initial;
                    tables += 1;
                    if tables > MAX_TABLES || elements > MAX_TABLE_ELEMENTS as u64 {
                        return refuse(&format!(
                            "holds more than {MAX_TABLES} tables or one of more than {MAX_TABLE_ELEMENTS} elements"
                        ));
                    }
                }
            }
            Payload::CustomSection(section) if depth == 1 && section.name() == MANIFEST_SECTION => {
                manifests += 1;
                surface.manifest = Some(section.data());
            }
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    push(&mut surface.imports, import.map_err(broken)?.name.name)?;
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    push(&mut surface.exports, export.map_err(broken)?.name.name)?;
                }
            }
            _ => {}
        }
    }
    if manifests > 1 {
        // Which one counts would depend on the reader.
        return refuse(&format!("has {manifests} sections `{MANIFEST_SECTION}`"));
    }
    Ok(surface)
}

fn push(names: &mut Vec<String>, name: &str) -> Result<()> {
    if names.len() >= MAX_EXTERNS {
        return Err(Error::invalid_input(format!(
            "the component has more than {MAX_EXTERNS} imports or exports"
        )));
    }
    names.push(scrub(name, 200));
    Ok(())
}
