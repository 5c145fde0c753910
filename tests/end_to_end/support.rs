use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// The repository's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub const CONCIERGE: &str = "examples/concierge/agent.yaml";

/// The command `puna` with a data folder of its own.
pub struct Puna {
    pub folder: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Puna {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_puna"));
        command
            .args(arguments)
            .current_dir(root())
            .env("PUNA_DATA_DIR", self.data())
            .env_remove("PUNA_LOG")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments).output().expect("the binary runs"))
    }

    /// Standard output of a command that must succeed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        ran.stdout
    }

    /// The same, as lines of JSON.
    pub fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        json_lines(&self.ok(arguments))
    }

    /// Whether a file of the data folder holds some bytes.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let mut folders = vec![self.data()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if fs::read(&path).expect("a file").windows(bytes.len()).any(|window| window == bytes)
                {
                    return true;
                }
            }
        }
        false
    }

    /// The concierge's YAML, edited, in a folder of this command's own.
    pub fn agent(&self, edit: impl FnOnce(String) -> String) -> String {
        let text = read(CONCIERGE).replace("../..", root().to_str().expect("a path in UTF-8"));
        let text =
            text.replace("../models", root().join("examples/models").to_str().expect("a path in UTF-8"));
        let path = self.path("agent.yaml");
        fs::write(&path, edit(text)).expect("the temporary folder is writable");
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    /// A copy of the bundled model, to be damaged.
    pub fn model(&self) -> PathBuf {
        let copy = self.path("model");
        fs::create_dir(&copy).expect("the temporary folder is writable");
        for entry in fs::read_dir(root().join("examples/models/puna-tiny")).expect("the bundled model") {
            let entry = entry.expect("the bundled model");
            if entry.path().is_file() {
                fs::copy(entry.path(), copy.join(entry.file_name())).expect("a copy");
            }
        }
        copy
    }
}

pub fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("standard output in UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("standard error in UTF-8"),
    }
}

pub fn json_lines(text: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("`{line}`: {error}"));
    text.lines().map(parse).collect()
}

/// The events of one kind.
pub fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}
