//! The committed guest that does with the host what a test asks for.

use std::{path::Path, sync::Arc};

use puna_core::{Tool, ToolContext, ToolError, ToolErrorKind};
use puna_plugins::{Grants, Limits, Plugin, ReadyPlugin, Services, Setup};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::guests::{HOST, PATIENCE, context};

/// The guest, loaded once.
pub async fn probe() -> &'static Plugin {
    static PROBE: OnceCell<Plugin> = OnceCell::const_new();
    let load = || async {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/probe/probe.wasm");
        HOST.load(file).await.expect("the probe")
    };
    PROBE.get_or_init(load).await
}

/// The probe with a setup.
pub async fn ready(setup: Setup) -> ReadyPlugin {
    probe().await.ready(setup).expect("a ready probe")
}

/// The probe with grants and services.
pub async fn with(grants: Grants, services: Services) -> ReadyPlugin {
    ready(Setup { grants, services, ..Setup::default() }).await
}

/// The probe with grants and limits.
pub async fn limited(grants: Grants, limits: Limits) -> ReadyPlugin {
    ready(Setup { grants, limits, ..Setup::default() }).await
}

/// One of its tools.
pub fn tool(plugin: &ReadyPlugin, name: &str) -> Arc<dyn Tool> {
    let tools = plugin.tools().expect("tools");
    tools.into_iter().find(|tool| tool.schema().name == name).unwrap_or_else(|| panic!("no tool `{name}`"))
}

/// Calls one of its tools, in bounded time.
pub async fn ask(plugin: &ReadyPlugin, name: &str, arguments: Value) -> Result<Value, ToolError> {
    ask_with(plugin, name, arguments, &context()).await
}

/// Calls one of its tools with a context, in bounded time.
pub async fn ask_with(
    plugin: &ReadyPlugin,
    name: &str,
    arguments: Value,
    context: &ToolContext,
) -> Result<Value, ToolError> {
    let tool = tool(plugin, name);
    tokio::time::timeout(PATIENCE, tool.call(arguments, context)).await.expect("an answer in bounded time")
}

/// Why a call failed.
#[track_caller]
pub fn kind(outcome: Result<Value, ToolError>) -> ToolErrorKind {
    outcome.expect_err("a failure").kind
}
