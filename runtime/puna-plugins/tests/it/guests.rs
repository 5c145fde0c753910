//! Guests written as WebAssembly text, made into components in the test.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use puna_core::{Result, Tool, ToolContext, ToolError, ToolSchema};
use puna_plugins::{Grants, HostOptions, Limits, Manifest, Plugin, PluginHost, Setup, embed_manifest};
use serde_json::{Value, json};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

/// A bound on every step of every test: what a hostile guest must never reach.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One host for all tests, so that each also shows that the others did it no harm.
pub static HOST: LazyLock<PluginHost> =
    LazyLock::new(|| PluginHost::new(HostOptions::default()).expect("a host"));

/// A guest's core module: what stands before the memory, beside the functions, and in `call`.
#[derive(Clone, Default)]
pub struct Guest {
    /// Imports, which the text format wants first.
    pub imports: &'static str,
    /// Functions, globals, data, tables.
    pub items: String,
    /// The body of `call`: locals 0 and 1 are the name, 2 and 3 the arguments; `$answer` makes a result
    /// of an address and a length.
    pub body: String,
    /// Pages of the memory at the start; one where it is zero.
    pub pages: u32,
}

impl Guest {
    /// Answers with its own arguments.
    pub fn echo() -> Self {
        Self::of("(call $answer (local.get 2) (local.get 3))")
    }

    pub fn of(body: impl Into<String>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    pub fn with_items(mut self, items: impl Into<String>) -> Self {
        self.items = items.into();
        self
    }

    /// Answers with a fixed text, whatever is in it.
    pub fn saying(text: &[u8]) -> Self {
        let bytes: String = text.iter().map(|byte| format!("\\{byte:02x}")).collect();
        Self::of(format!("(call $answer (i32.const 2048) (i32.const {}))", text.len()))
            .with_items(format!("(data (i32.const 2048) \"{bytes}\")"))
    }

    /// The component, without a manifest.
    pub fn component(&self) -> Vec<u8> {
        let call = format!(
            r#"(func (export "puna:plugin/tools@0.1.0#call") (param i32 i32 i32 i32) (result i32) {})"#,
            self.body
        );
        component_with(self.imports, self.pages.max(1), &format!("{}\n{call}", self.items))
    }

    /// The component with the manifest of [`manifest`].
    pub fn plugin(&self) -> Vec<u8> {
        let mut component = self.component();
        embed_manifest(&mut component, &manifest()).expect("a sound manifest");
        component
    }
}

/// A component from the fields of a core module, beside a memory of so many pages, its allocator, and `$answer`, which
/// makes a result of an address and a length.
#[track_caller]
pub fn component_with(imports: &str, pages: u32, fields: &str) -> Vec<u8> {
    component_of(&format!(
        r#"(module
            {imports}
            (memory (export "memory") {pages})
            (global $next (mut i32) (i32.const 16384))
            (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
                (local.set $at (i32.and
                    (i32.add (global.get $next) (i32.sub (local.get 2) (i32.const 1)))
                    (i32.sub (i32.const 0) (local.get 2))))
                (global.set $next (i32.add (local.get $at) (local.get 3)))
                (block $fits (loop $grow
                    (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
                    (br_if $fits (i32.eq (memory.grow (i32.const 16)) (i32.const -1)))
                    (br $grow)))
                (local.get $at))
            (func $answer (param i32 i32) (result i32)
                ;; One content: json, of an address and a length.
                (i32.store8 (i32.const 576) (i32.const 0))
                (i32.store (i32.const 580) (local.get 0))
                (i32.store (i32.const 584) (local.get 1))
                (i32.store8 (i32.const 512) (i32.const 0))
                (i32.store (i32.const 520) (i32.const 576))
                (i32.store (i32.const 524) (i32.const 1))
                (i32.const 512))
            {fields})"#
    ))
}

/// A component of the contract's world from a core module's text.
#[track_caller]
pub fn component_of(text: &str) -> Vec<u8> {
    let mut module = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/wit");
    let (package, _) = resolve.push_path(wit).expect("the contract");
    let world = resolve.select_world(&[package], Some("tool")).expect("the world");
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("metadata");
    let encoder = ComponentEncoder::default().module(&module).expect("a module");
    encoder.validate(true).encode().unwrap_or_else(|error| panic!("{error:#}\n{text}"))
}

/// One tool `go` that takes and gives anything.
pub fn manifest() -> Manifest {
    Manifest {
        name: "guest".to_owned(),
        version: "0.1.0".to_owned(),
        contract: "0.1.0".to_owned(),
        description: "A guest.".to_owned(),
        asks: Default::default(),
        tools: vec![ToolSchema {
            name: "go".to_owned(),
            description: "Go.".to_owned(),
            parameters: json!({"type": "object"}),
            output: None,
        }],
        configuration: None,
        loaders: Vec::new(),
        retrievers: Vec::new(),
        source: None,
    }
}

pub fn context() -> ToolContext {
    ToolContext::new("call", "session")
}

/// A plugin's tools with grants and limits.
pub fn tools(plugin: &Plugin, grants: &Grants, limits: &Limits) -> Vec<Arc<dyn Tool>> {
    let setup = Setup { grants: grants.clone(), limits: limits.clone(), ..Setup::default() };
    plugin.ready(setup).and_then(|ready| ready.tools()).expect("tools")
}

/// Loads a plugin and calls its first tool, all within [`PATIENCE`].
pub async fn call(
    plugin: Vec<u8>,
    grants: &Grants,
    limits: &Limits,
    arguments: Value,
) -> Result<Value, ToolError> {
    let work = async {
        let plugin = HOST.load_bytes(plugin).await.expect("a plugin that loads");
        tools(&plugin, grants, limits)[0].call(arguments, &context()).await
    };
    tokio::time::timeout(PATIENCE, work).await.expect("an answer in bounded time")
}

/// The host still serves a good plugin.
pub async fn check_alive() {
    let limits = Limits::default();
    let answer = call(Guest::echo().plugin(), &Grants::default(), &limits, json!({"still": "here"})).await;
    assert_eq!(answer, Ok(json!({"still": "here"})));
}
