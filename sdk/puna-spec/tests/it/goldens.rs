//! `bad/NAME.yaml` is refused with the text in `bad/NAME.txt`; `good/NAME.yaml` is read as `good/NAME.json`.
//! `BLESS=1` writes the expectations anew; read what it changed.

use std::path::Path;

use crate::{files_of, parse};

#[test]
fn bad_files_are_explained() {
    compare("bad", "txt", |content, name| match parse(content, name) {
        Ok(_) => Err("is accepted".to_owned()),
        Err(diagnostics) => Ok(diagnostics.to_string()),
    });
}

#[test]
fn good_files_are_read() {
    compare("good", "json", |content, name| match parse(content, name) {
        Ok(spec) => Ok(serde_json::to_string_pretty(&spec).unwrap()),
        Err(diagnostics) => Err(format!("is refused:\n{diagnostics}")),
    });
}

/// Compares what `make` gives for each file of a folder with the file beside it, and tells all differences.
fn compare(folder: &str, extension: &str, make: impl Fn(&[u8], &str) -> Result<String, String>) {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = String::new();
    for path in files_of(folder) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let made = match make(&std::fs::read(&path).unwrap(), &name) {
            Ok(made) => made + "\n",
            Err(problem) => {
                wrong += &format!("--- {name} {problem}\n");
                continue;
            }
        };
        let golden = path.with_extension(extension);
        if bless {
            std::fs::write(&golden, &made).unwrap();
        }
        let wanted = read(&golden);
        if made != wanted {
            wrong += &format!("--- {name}: wanted\n{wanted}--- got\n{made}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| format!("{}: {error}\n", path.display()))
}
