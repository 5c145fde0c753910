use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use puna_core::{Result, Tool, ToolContext, ToolError, ToolErrorKind, ToolSchema};
use serde_json::Value;

use crate::{Plugin, Setup};

/// A plugin whose component can be replaced while it is used: while it is written, and built again and again.
///
/// A call begins on the component that is there at that moment and ends on it; the next one after
/// [`LivePlugin::replace`] begins on the new one. Cheap to clone; clones are the same plugin.
#[derive(Clone)]
pub struct LivePlugin {
    setup: Setup,
    tools: Arc<RwLock<Vec<Arc<dyn Tool>>>>,
}

/// A tool of whatever component is there. It presents itself as the one that was there when it was made.
struct LiveTool {
    plugin: LivePlugin,
    schema: ToolSchema,
}

impl LivePlugin {
    /// A plugin with its setup, which every later component gets too.
    ///
    /// # Errors
    /// Those of [`Plugin::ready`].
    pub fn new(plugin: &Plugin, setup: Setup) -> Result<Self> {
        let tools = plugin.ready(setup.clone())?.tools()?;
        Ok(Self { setup, tools: Arc::new(RwLock::new(tools)) })
    }

    /// Takes this component from the next call on. Gives whether its tools present themselves as those before did: if
    /// not, [`LivePlugin::tools`] gives other ones now.
    ///
    /// # Errors
    /// Those of [`Plugin::ready`]; the component before is then still the present one.
    pub fn replace(&self, plugin: &Plugin) -> Result<bool> {
        let tools = plugin.ready(self.setup.clone())?.tools()?;
        let mut present = self.tools.write().unwrap_or_else(PoisonError::into_inner);
        let same = present.iter().map(|tool| tool.schema()).eq(tools.iter().map(|tool| tool.schema()));
        *present = tools;
        Ok(same)
    }

    /// The plugin's functions as tools, in the order of the present component's manifest.
    pub fn tools(&self) -> Vec<Arc<dyn Tool>> {
        let live = |tool: &Arc<dyn Tool>| {
            Arc::new(LiveTool { plugin: self.clone(), schema: tool.schema().clone() }) as Arc<dyn Tool>
        };
        self.tools.read().unwrap_or_else(PoisonError::into_inner).iter().map(live).collect()
    }

    fn tool(&self, name: &str) -> Option<Arc<dyn Tool>> {
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        tools.iter().find(|tool| tool.schema().name == name).cloned()
    }
}

#[async_trait]
impl Tool for LiveTool {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    async fn call(&self, arguments: Value, context: &ToolContext) -> Result<Value, ToolError> {
        let name = &self.schema.name;
        let tool = self.plugin.tool(name).ok_or_else(|| {
            ToolError::new(ToolErrorKind::NotFound, format!("the plugin has no `{name}` any more"))
        })?;
        // Held until the call ends, and with it the component.
        tool.call(arguments, context).await
    }
}
