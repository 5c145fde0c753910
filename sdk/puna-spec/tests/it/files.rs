use std::{error::Error, fs, path::Path};

use puna_core::ErrorKind;
use puna_spec::{AgentSpec, Diagnostics, MAX_FILE_BYTES, SchemaSpec};

use crate::MINIMAL;

#[test]
fn relative_paths_start_at_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.yaml");
    let tools = "tools:\n- plugin: ../p.wasm\n- plugin: /absolute/q.wasm\n";
    fs::write(&path, format!("{MINIMAL}{tools}")).unwrap();
    let spec = AgentSpec::from_file(&path).unwrap();
    assert_eq!(spec.model.path, folder.path().join("m"));
    assert_eq!(spec.tools[0].plugin, folder.path().join("../p.wasm"));
    assert_eq!(spec.tools[1].plugin, Path::new("/absolute/q.wasm"));
    fs::write(&path, format!("{MINIMAL}output: {{ schema: a.json }}\n")).unwrap();
    let output = AgentSpec::from_file(&path).unwrap().output;
    assert_eq!(output.schema, Some(SchemaSpec::File(folder.path().join("a.json"))));
}

#[test]
fn files_take_variables_from_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.yaml");
    // Cargo sets this one for every test.
    fs::write(&path, format!("{MINIMAL}description: ${{CARGO_PKG_NAME}}\n")).unwrap();
    assert_eq!(AgentSpec::from_file(&path).unwrap().description.as_deref(), Some("puna-spec"));
}

#[test]
fn errors_have_kinds() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, kind: ErrorKind, message: &str| {
        let error = AgentSpec::from_file(folder.path().join(name)).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.report().contains(message), "{}", error.report());
        error
    };
    check("none.yaml", ErrorKind::NotFound, "cannot read the agent's file `");
    check("none.yaml", ErrorKind::NotFound, "none.yaml");
    check("", ErrorKind::InvalidInput, "is a folder; name the agent's YAML file in it");

    fs::write(folder.path().join("large.yaml"), "#".repeat(MAX_FILE_BYTES + 1)).unwrap();
    check("large.yaml", ErrorKind::InvalidInput, "the file is larger than 1048576 bytes");

    fs::write(folder.path().join("wrong.yaml"), "version: 1\nname: a\nmdel: {}\nlimits: 3\n").unwrap();
    let error = check("wrong.yaml", ErrorKind::InvalidInput, "unknown key `mdel` in the agent");
    let diagnostics = error.source().unwrap().downcast_ref::<Diagnostics>().unwrap();
    let lines: Vec<usize> = diagnostics.diagnostics.iter().map(|diagnostic| diagnostic.line).collect();
    assert_eq!(lines, [3, 4]);
    assert_eq!(diagnostics.diagnostics[0].help.as_deref(), Some("did you mean `model`?"));
    // The report says it once.
    assert_eq!(error.report(), diagnostics.to_string());
}

#[test]
fn largest_file_is_read() {
    let mut text = MINIMAL.to_owned();
    text += "#";
    text += &"x".repeat(MAX_FILE_BYTES - text.len());
    assert!(crate::parse(&text, "a.yaml").is_ok());
    assert!(crate::parse(text + "x", "a.yaml").is_err());
}
