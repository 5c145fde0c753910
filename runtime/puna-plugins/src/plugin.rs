use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use jsonschema::Validator;
use puna_core::{Error, Result, Tool, ToolContext, ToolError, ToolErrorKind, ToolSchema};
use serde_json::Value;
use tracing::Instrument as _;
use wasmtime::{Store, Trap};

use crate::{
    Grants, Inspection, Limits, Manifest,
    contract::bindings::ToolPre,
    guest::{GuestState, scrub, tool_error},
    schema,
    turns::Turns,
};

/// What a result may hold beside its text when it is copied out of the guest: the record around it.
const RESULT_OVERHEAD_BYTES: usize = 4 << 10;

/// A loaded component. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(Arc<Loaded>);

struct Loaded {
    pre: ToolPre<GuestState>,
    turns: Arc<Turns>,
    inspection: Inspection,
    name: Arc<str>,
    functions: Vec<Function>,
}

struct Function {
    schema: ToolSchema,
    parameters: Validator,
    output: Option<Validator>,
}

impl Plugin {
    pub(crate) fn new(pre: ToolPre<GuestState>, turns: Arc<Turns>, inspection: Inspection) -> Result<Self> {
        let function = |schema: &ToolSchema| {
            Ok(Function {
                parameters: schema::compile(&schema.parameters)?,
                output: schema.output.as_ref().map(schema::compile).transpose()?,
                schema: schema.clone(),
            })
        };
        let functions = inspection.manifest.tools.iter().map(function).collect::<Result<_, Error>>()?;
        let name = inspection.manifest.name.as_str().into();
        Ok(Self(Arc::new(Loaded { pre, turns, inspection, name, functions })))
    }

    /// What the plugin says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.0.inspection.manifest
    }

    /// What the component is: its manifest, digest and surface.
    pub fn inspection(&self) -> &Inspection {
        &self.0.inspection
    }

    /// The plugin's functions as tools, in the manifest's order. What the plugin asks for and is not
    /// granted is denied when a call uses it.
    pub fn tools(&self, grants: &Grants, limits: &Limits) -> Vec<Arc<dyn Tool>> {
        for (grant, reason) in self.manifest().asks.iter().filter(|(grant, _)| !grants.has(**grant)) {
            tracing::info!(plugin = &*self.0.name, %grant, reason, "the plugin asks for a grant that it does not have");
        }
        let tool = |index| -> Arc<dyn Tool> {
            Arc::new(PluginTool {
                plugin: self.clone(),
                index,
                grants: grants.clone(),
                limits: limits.clone(),
            })
        };
        (0..self.0.functions.len()).map(tool).collect()
    }
}

struct PluginTool {
    plugin: Plugin,
    index: usize,
    grants: Grants,
    limits: Limits,
}

#[async_trait]
impl Tool for PluginTool {
    fn schema(&self) -> &ToolSchema {
        &self.function().schema
    }

    async fn call(&self, arguments: Value, context: &ToolContext) -> Result<Value, ToolError> {
        let span =
            tracing::debug_span!("plugin_call", plugin = &*self.plugin.0.name, tool = self.schema().name);
        let work = with_deadline(context.deadline, self.perform(&arguments)).instrument(span);
        match context.cancel.run_until_cancelled(work).await {
            Some(outcome) => outcome,
            None => Err(ToolError::new(ToolErrorKind::Cancelled, "the call was cancelled")),
        }
    }
}

impl PluginTool {
    fn function(&self) -> &Function {
        &self.plugin.0.functions[self.index]
    }

    async fn perform(&self, arguments: &Value) -> Result<Value, ToolError> {
        let function = self.function();
        let text = arguments.to_string();
        if text.len() > self.limits.argument_bytes {
            return Err(too_large("the arguments take", text.len(), self.limits.argument_bytes));
        }
        schema::check(&function.parameters, arguments, ToolErrorKind::InvalidInput)?;
        let started = Instant::now();
        let result = self.run(&text).await;
        tracing::debug!(elapsed_us = started.elapsed().as_micros(), failed = result.is_err(), "called");
        let result = result?;
        if result.len() > self.limits.result_bytes {
            return Err(too_large("the result takes", result.len(), self.limits.result_bytes));
        }
        // The parser bounds the depth.
        let value: Value = serde_json::from_str(&result).map_err(|error| {
            ToolError::new(ToolErrorKind::InvalidOutput, format!("{} gave no JSON: {error}", self.who()))
        })?;
        if let Some(output) = &function.output {
            schema::check(output, &value, ToolErrorKind::InvalidOutput)?;
        }
        Ok(value)
    }

    /// Instantiates and calls, within the call's time and memory. The wait for a turn is the caller's.
    async fn run(&self, arguments: &str) -> Result<String, ToolError> {
        let loaded = &*self.plugin.0;
        let _turn = loaded.turns.take().await;
        let state = GuestState::new(Arc::clone(&loaded.name), self.grants.clone(), &self.limits);
        let mut store = Store::new(loaded.pre.engine(), state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(self.limits.result_bytes.saturating_add(RESULT_OVERHEAD_BYTES));
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);

        let call = async {
            let instance = loaded.pre.instantiate_async(&mut store).await?;
            instance.puna_plugin_tools().call_call(&mut store, &self.schema().name, arguments).await
        };
        // Around both: the start functions of a component run while it is instantiated.
        let outcome = tokio::time::timeout(self.limits.time(), call).await;
        match outcome {
            Ok(Ok(result)) => result.map_err(tool_error),
            Ok(Err(error)) => Err(self.broken(&error, store.data().memory.refused)),
            Err(_) => Err(ToolError::new(
                ToolErrorKind::Timeout,
                format!("{} took longer than {} ms", self.who(), self.limits.time_ms),
            )),
        }
    }

    /// Why a guest ended without an answer.
    fn broken(&self, error: &wasmtime::Error, refused_memory: bool) -> ToolError {
        let report = format!("{error:#}");
        tracing::debug!(report, "the guest broke");
        if refused_memory {
            return ToolError::new(
                ToolErrorKind::TooLarge,
                format!("{} wanted more memory than {} bytes", self.who(), self.limits.memory_bytes),
            );
        }
        // The engine's type for this one is private.
        if report.contains("fuel allocated for hostcalls has been exhausted") {
            return ToolError::new(
                ToolErrorKind::TooLarge,
                format!("{} handed over more than {} bytes", self.who(), self.limits.result_bytes),
            );
        }
        if error.chain().any(|cause| cause.is::<std::str::Utf8Error>()) {
            return ToolError::new(
                ToolErrorKind::InvalidOutput,
                format!("{} gave text that is no UTF-8", self.who()),
            );
        }
        let reason = match error.downcast_ref::<Trap>() {
            Some(trap) => trap.to_string(),
            None => error.root_cause().to_string(),
        };
        ToolError::new(ToolErrorKind::Internal, format!("{} broke: {}", self.who(), scrub(&reason, 300)))
    }

    fn who(&self) -> String {
        format!("`{}` of plugin `{}`", self.schema().name, self.plugin.0.name)
    }
}

async fn with_deadline<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, ToolError>>,
) -> Result<T, ToolError> {
    let Some(deadline) = deadline else { return work.await };
    tokio::time::timeout_at(deadline.into(), work)
        .await
        .unwrap_or_else(|_| Err(ToolError::new(ToolErrorKind::Timeout, "the call's deadline has passed")))
}

fn too_large(what: &str, bytes: usize, limit: usize) -> ToolError {
    ToolError::new(ToolErrorKind::TooLarge, format!("{what} {bytes} bytes; the most is {limit}"))
}
