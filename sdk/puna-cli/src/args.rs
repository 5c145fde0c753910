use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

/// Runs agents: a Llama in process, tools as sandboxed WebAssembly, conversations that last.
#[derive(Debug, Parser)]
#[command(name = "puna", version, after_help = crate::exit::HELP, propagate_version = true)]
pub(crate) struct Args {
    /// Show what happens on standard error; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask an agent once
    Run(RunArgs),
    /// Talk with an agent; Ctrl-C stops an answer, Ctrl-D leaves
    Chat(ChatArgs),
    /// List, show, export, import and delete conversations
    Sessions(SessionsArgs),
    /// Check an agent's YAML
    Validate(ValidateArgs),
    /// Print the JSON Schema of agent.yaml, for editors
    Schema,
    /// Report what Puna finds on this machine
    Doctor(DoctorArgs),
    /// Build, inspect and call plugins
    Plugin(PluginArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DataArgs {
    /// Where conversations are kept [default: the user's data folder, or $PUNA_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// The agent's YAML file
    pub agent: PathBuf,
    /// What to ask; read from standard input when absent or `-`
    pub input: Option<String>,
    /// Go on with the conversation of this name, or begin it; without it, a new one
    #[arg(short, long)]
    pub session: Option<String>,
    #[command(flatten)]
    pub data: DataArgs,
    /// Print events as JSON Lines instead of the answer's text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ChatArgs {
    /// The agent's YAML file
    pub agent: PathBuf,
    /// Go on with the conversation of this name, or begin it
    #[arg(short, long, default_value = "chat")]
    pub session: String,
    #[command(flatten)]
    pub data: DataArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SessionsArgs {
    #[command(subcommand)]
    pub command: SessionsCommand,
    /// Where conversations are kept [default: the user's data folder, or $PUNA_DATA_DIR]
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// Every conversation, the latest first
    List,
    /// The messages of one
    Show {
        /// The conversation's name
        session: String,
    },
    /// Delete one for good
    Delete {
        /// The conversation's name
        session: String,
    },
    /// Every record of one, as JSON Lines
    Export {
        /// The conversation's name
        session: String,
    },
    /// Add a conversation that `export` wrote
    Import {
        /// The file; standard input when absent or `-`
        file: Option<PathBuf>,
        /// Give it this name instead of its own
        #[arg(long, value_name = "SESSION")]
        name: Option<String>,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ValidateArgs {
    /// The agent's YAML file
    pub agent: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Also report on this agent's model and plugins
    #[arg(long, value_name = "FILE")]
    pub agent: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PluginArgs {
    #[command(subcommand)]
    pub command: PluginCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Build a plugin's component from its source folder
    Build {
        /// The folder with plugin.toml
        folder: PathBuf,
        /// Write nothing: compare the component that lies there with a new build
        #[arg(long)]
        check: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a component declares, without running it
    Inspect {
        /// The component
        component: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Call one function of a component
    Call {
        /// The component
        component: PathBuf,
        /// The function
        function: String,
        /// The arguments: a JSON object
        arguments: String,
        /// Allow what the plugin asks for; can be repeated
        #[arg(long = "grant", value_name = "GRANT")]
        grants: Vec<String>,
    },
}
