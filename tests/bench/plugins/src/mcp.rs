//! The echo as a tool of an MCP server over stdio.

use puna_core::{Error, Result};
use rmcp::{
    Json, RoleClient, ServerHandler, ServiceExt,
    handler::server::{router::tool::ToolRouter, wrapper::Parameters},
    model::CallToolRequestParams,
    service::RunningService,
    tool, tool_handler, tool_router,
    transport::{TokioChildProcess, stdio},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{SERVE, other};

#[derive(Deserialize, Serialize, JsonSchema)]
struct Said {
    /// What is said
    text: String,
}

#[derive(Clone)]
struct Server {
    tool_router: ToolRouter<Self>,
}

#[tool_router(router = tool_router)]
impl Server {
    #[tool(description = "Say what it hears.")]
    async fn echo(&self, said: Parameters<Said>) -> Json<Said> {
        Json(said.0)
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Server {}

/// Answers on the standard streams until they close.
pub async fn serve() -> Result<()> {
    let server = Server { tool_router: Server::tool_router() };
    server.serve(stdio()).await.map_err(other)?.waiting().await.map_err(other)?;
    Ok(())
}

/// A client and its server, which is this program again.
pub struct Client(RunningService<RoleClient, ()>);

impl Client {
    pub async fn start() -> Result<Self> {
        let program = std::env::current_exe().map_err(other)?;
        let mut command = tokio::process::Command::new(program);
        command.arg(SERVE);
        let transport = TokioChildProcess::new(command).map_err(other)?;
        Ok(Self(().serve(transport).await.map_err(other)?))
    }

    pub async fn call(&self, arguments: &Value) -> Result<Value> {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let called = self.0.call_tool(CallToolRequestParams::new("echo").with_arguments(arguments)).await;
        called.map_err(other)?.structured_content.ok_or_else(|| Error::internal("an answer without a value"))
    }
}
