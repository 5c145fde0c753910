use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::encode::{ClassifyArgs, EmbedArgs, RerankArgs};
use crate::model::{adapter::AdapterArgs, compare::CompareArgs, export::ExportArgs, random::RandomArgs};
use crate::{eval::EvalArgs, knowledge::KnowledgeArgs, memory::MemoryArgs, store::StoreArgs};

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
    /// List, show, fork, export, import and delete conversations
    Sessions(SessionsArgs),
    /// List, show, export and forget what agents remember
    Memory(MemoryArgs),
    /// Check, export, import, measure and compact the data folder
    Store(StoreArgs),
    /// Add documents to knowledge bases and search them
    Knowledge(KnowledgeArgs),
    /// Measure how good something is
    Eval(EvalArgs),
    /// Check an agent's YAML
    Validate(ValidateArgs),
    /// Print the JSON Schema of agent.yaml, for editors
    Schema,
    /// Report what Puna finds on this machine
    Doctor(DoctorArgs),
    /// Build, inspect and call plugins
    Plugin(PluginArgs),
    /// Look into a model's folder and measure it
    Model(ModelArgs),
    /// Let a model answer or continue a text, without an agent
    Generate(Box<GenerateArgs>),
    /// Tell how well a model expects a text
    Score(ScoreArgs),
    /// Turn texts into vectors
    Embed(EmbedArgs),
    /// Sort texts by how well they answer a question
    Rerank(RerankArgs),
    /// Sort texts under a model's labels
    Classify(ClassifyArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DataArgs {
    /// Where conversations are kept [default: the user's data folder, or $PUNA_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// What a run asks of answers in place of what the agent says.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct FormArgs {
    /// A file with the JSON Schema of the answer, in place of the agent's
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Whether tools are called, in place of the agent's choice: auto, none, required (at first), or a tool's name
    #[arg(long, value_name = "CHOICE")]
    tool_choice: Option<puna::ToolChoice>,
}

impl FormArgs {
    /// Puts into an agent's specification what was given.
    pub(crate) fn apply(self, spec: &mut puna::AgentSpec) {
        if let Some(file) = self.schema {
            spec.output.schema = Some(puna::SchemaSpec::File(file));
        }
        if let Some(choice) = self.tool_choice {
            spec.tool_choice = choice;
        }
    }
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
With a schema, standard output holds the answer's value alone, as one line of JSON, and the exit code is 7 when the
model gives none that satisfies it. With --json, `partial_output` events show the value while it is written, and
`output_refused` events why an answer was asked for again.

Examples:
  puna run examples/concierge/agent.yaml \"What is 1234 times 5678?\"
  puna run examples/concierge/agent.yaml --schema examples/typed/answer.schema.json \"What is 1234 times 5678?\"
  puna run examples/concierge/agent.yaml --tool-choice calculate \"12 times 34\"
  echo \"Hello\" | puna run examples/concierge/agent.yaml --session lunch --json")]
pub(crate) struct RunArgs {
    /// The agent's YAML file
    pub agent: PathBuf,
    /// What to ask; read from standard input when absent or `-`
    pub input: Option<String>,
    /// Go on with the conversation of this name, or begin it; without it, a new one
    #[arg(short, long)]
    pub session: Option<String>,
    /// Who speaks: whose facts are remembered and recalled
    #[arg(short, long, value_name = "NAME")]
    pub user: Option<String>,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub form: FormArgs,
    /// Save the files that tools leave in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "json")]
    pub save_files: Option<PathBuf>,
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
    /// Who speaks: whose facts are remembered and recalled
    #[arg(short, long, value_name = "NAME")]
    pub user: Option<String>,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub form: FormArgs,
    /// Save the files that tools leave in this folder
    #[arg(long, value_name = "DIR")]
    pub save_files: Option<PathBuf>,
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
    /// Begin one that goes on from another
    #[command(after_help = "\
Examples:
  puna sessions fork lunch dinner
  puna sessions fork lunch dinner --turn 2")]
    Fork {
        /// The conversation to go on from
        session: String,
        /// The new one's name
        name: String,
        /// The last turn that they have in common, from 1 [default: the last finished one]
        #[arg(long, value_name = "NUMBER")]
        turn: Option<u64>,
    },
    /// Those that go on from one, directly or from one that does
    Branches {
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

/// What a plugin is given.
#[derive(Debug, ClapArgs)]
pub(crate) struct PluginSetupArgs {
    /// Allow what the plugin asks for, as an agent's file has it; can be repeated
    #[arg(long = "grant", value_name = "GRANT")]
    pub grants: Vec<String>,
    /// The plugin's configuration: JSON
    #[arg(long, value_name = "JSON")]
    pub config: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DevArgs {
    /// The folder with plugin.toml
    pub folder: PathBuf,
    /// Chat with this agent, one of whose plugins it is
    #[arg(long, value_name = "FILE")]
    pub agent: Option<PathBuf>,
    /// The chat's conversation
    #[arg(short, long, default_value = "dev")]
    pub session: String,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub form: FormArgs,
}

/// A language that `puna plugin new` knows.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum PluginLanguage {
    /// Rust: the smallest and fastest components; schemas come from the types
    Rust,
    /// Python, by componentize-py
    Python,
    /// JavaScript, by componentize-qjs
    Javascript,
    /// C, by clang
    C,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Write the folder of a new plugin, with a tool and its tests
    New {
        /// The plugin's name: lower-case letters, digits and `-`
        name: String,
        /// The language it is written in
        #[arg(long, value_enum, default_value_t = PluginLanguage::Rust)]
        lang: PluginLanguage,
        /// Where to write it; without it, a folder of the plugin's name
        #[arg(long)]
        folder: Option<PathBuf>,
    },
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
    /// Build and test a plugin whenever its source changes, and lend it to an agent meanwhile
    #[command(after_help = "\
With `--agent` it is a chat. Once the plugin is built again and its cases pass, the agent's next call goes to the new component;
calls under way end on the old one, which also stays when a build or a case fails.")]
    Dev(DevArgs),
    /// Show what a component declares, without running it
    Inspect {
        /// The component
        component: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run the cases of a plugin's tests.yaml on its component
    #[command(after_help = "\
A case names a tool, a loader or a retriever, its input, and the output or error it must come to; and what
the plugin is granted, the time, the network's answers and what its store holds. A loader's output is the list
of its documents, a retriever's its page of hits:

  cases:
    - tool: shout
      input: {text: hello}
      output: {text: HELLO!}
    - tool: shout
      input: {text: 3}
      error: {kind: invalid_input, path: /text}
    - tool: current_time
      grants: [clock]
      clock: 2026-01-31T12:00:00Z
      input: {place: UTC}
      output_has: {date: '2026-01-31'}
    - tool: fetch_page
      grants: [{http: ['https://example.com']}]
      http: [{url: 'https://example.com/', headers: {content-type: text/plain}, body: hello}]
      input: {url: 'https://example.com/'}
      output_has: {status: 200}
    - loader: csv
      input: {file: herd.csv, options: {rows: 50}}
      output_has: [{id: rows 2-3}]
    - loader: csv
      input: {uri: a.csv, text: \"a,b\\n1,2\"}
      output_has: [{metadata: {columns: [a, b]}}]
    - retriever: keyword
      grants: [store]
      input: {query: llama wool, k: 3}
      output: {hits: [], next: null}")]
    Test {
        /// The plugin's folder, or a file of cases
        path: PathBuf,
        /// The component; without it, the one beside the cases
        #[arg(long)]
        component: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Measure what a call of a component costs: compiling, fresh and warm calls, many at once
    Bench {
        /// The component
        component: PathBuf,
        /// The function
        function: String,
        /// The arguments: a JSON object
        arguments: String,
        #[command(flatten)]
        setup: PluginSetupArgs,
        /// Calls of each kind, one after the other
        #[arg(long, default_value_t = 1_000)]
        calls: usize,
        /// Calls that are made at once
        #[arg(long, default_value_t = 1_000)]
        concurrent: usize,
        /// How many of them run at once
        #[arg(long, default_value_t = 64)]
        slots: usize,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List what agents' plugins may use, as it was agreed to
    Consents {
        #[command(flatten)]
        data: DataArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what an agent's plugins may use and why, and agree to it
    #[command(after_help = "\
An agent's file says what its plugins may use. `puna chat` shows that before the first use and asks; what is agreed to is
recorded in the data folder. A new version that asks for more is refused until it is agreed to again, here or in
`puna chat`. `puna run` takes the file as the consent and records that.")]
    Allow {
        /// The agent's YAML file
        agent: PathBuf,
        /// Agree without being asked
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        data: DataArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take back what was agreed to: the agent does not start with the plugin until it is allowed again
    Revoke {
        /// The agent's name
        agent: String,
        /// The plugin's name
        plugin: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Call a tool, a loader or a retriever of a component
    #[command(after_help = "\
A loader takes `file`, or `uri` and `text`, and `options`, and its documents are printed one a line; a retriever
takes `query`, `k`, `options` and `page`.

Examples:
  puna plugin call plugins/datetime/datetime.wasm current_time '{\"place\": \"Seoul\"}' --grant clock
  puna plugin call notes.wasm search '{\"text\": \"llama\"}' --grant 'files: {notes: {path: ./notes}}'
  puna plugin call fetch.wasm fetch '{\"url\": \"https://example.com\"}' --grant 'http: [https://example.com]'
  puna plugin call plugins/pdf/pdf.wasm pdf '{\"file\": \"report.pdf\"}'
  puna plugin call plugins/keyword/keyword.wasm keyword '{\"query\": \"llama\"}' --grant store")]
    Call {
        /// The component
        component: PathBuf,
        /// The function
        function: String,
        /// The arguments: a JSON object
        arguments: String,
        #[command(flatten)]
        setup: PluginSetupArgs,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ModelArgs {
    #[command(subcommand)]
    pub command: ModelCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Load a model and show what it is
    #[command(after_help = "\
Examples:
  puna model inspect examples/models/puna-tiny
  puna model inspect --variant q4 models/llama-3.2-1b --json")]
    Inspect {
        /// The model's folder
        folder: PathBuf,
        #[command(flatten)]
        load: LoadArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Measure how fast a model is on this machine
    #[command(after_help = "\
Each figure is the median of the rounds. Prompts are tokens without a meaning, and answers do not end before
they are as long as asked.

Examples:
  puna model bench examples/models/puna-tiny
  puna model bench --threads 2 --streams 4 --rounds 5 models/llama-3.2-1b --json")]
    Bench {
        /// The model's folder
        folder: PathBuf,
        #[command(flatten)]
        load: LoadArgs,
        /// Tokens of a prompt
        #[arg(long, value_name = "COUNT", default_value_t = 512)]
        prompt_tokens: usize,
        /// Tokens of an answer
        #[arg(long, value_name = "COUNT", default_value_t = 64)]
        tokens: u32,
        /// Requests at the same time
        #[arg(long, value_name = "COUNT", default_value_t = 8)]
        streams: usize,
        /// Tokens of the conversation before the second turn
        #[arg(long, value_name = "COUNT", default_value_t = 2000)]
        prefix_tokens: usize,
        /// How often each figure is taken
        #[arg(long, value_name = "COUNT", default_value_t = 3)]
        rounds: usize,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Hold a model against another: perplexity, divergence, size and speed
    Compare(CompareArgs),
    /// Turn a checkpoint of safetensors into an ONNX model
    Export(ExportArgs),
    /// Turn an adapter that PEFT saved into a file that a model takes beside its weights
    Adapter(AdapterArgs),
    /// Make a model of a known shape with random weights, to measure a machine with
    Random(RandomArgs),
}

/// How a model is loaded.
#[derive(Debug, ClapArgs)]
pub(crate) struct LoadArgs {
    /// What to compute on: cpu, cuda, or cuda:1 for the second GPU
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: puna::inference::Device,
    /// Threads for one step [default: the machine's physical cores]
    #[arg(long, value_name = "COUNT")]
    pub threads: Option<usize>,
    /// Most tokens of prompt and answer together [default: what the model holds]
    #[arg(long, value_name = "TOKENS")]
    pub context: Option<usize>,
    /// Which of the folder's graphs, by name or file: q4, fp16, onnx/model_int8.onnx [default: the fastest]
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// What the folder's second graph is used for [default: prompts, where it is faster and memory allows]
    #[arg(long, value_enum, value_name = "USE")]
    pub companion: Option<CompanionArg>,
    /// Requests computed at the same time
    #[arg(long, value_name = "COUNT", default_value_t = puna::inference::LoadOptions::default().slots)]
    pub slots: usize,
    /// Most memory for keys and values, as 2GiB [default: half of what is free]
    #[arg(long, value_name = "SIZE")]
    pub cache_memory: Option<puna::ByteSize>,
    /// The same answer to the bit whatever runs beside it; requests are computed one row at a time
    #[arg(long)]
    pub deterministic: bool,
    /// Tokens guessed ahead when a request runs alone; 0 is none
    #[arg(long, value_name = "COUNT")]
    pub draft_tokens: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CompanionArg {
    /// It is not loaded
    Never,
    /// Prompts go through it
    Prefill,
    /// It is used in place of the other: best for many requests at a time
    Always,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  puna generate examples/models/puna-tiny \"Hello\"
  puna generate models/llama --adapter concierge \"Hello\"
  puna generate examples/models/puna-tiny --schema examples/typed/answer.schema.json \"12 and 34\"
  puna generate examples/models/puna-tiny --regex \"yes|no\" \"Is it late?\"
  puna generate examples/models/puna-tiny --temperature 0.7 --seed 1 --choices 3 \"Hello\"
  echo \"Once upon a time\" | puna generate models/llama-3.2-1b --raw --max-tokens 100")]
pub(crate) struct GenerateArgs {
    /// The model's folder
    pub folder: PathBuf,
    /// What to answer or continue; read from standard input when absent or `-`
    pub input: Option<String>,
    #[command(flatten)]
    pub load: LoadArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Continue the text as it stands, without the model's chat template
    #[arg(long)]
    pub raw: bool,
    /// Answer with an adapter: a name in the model's folder `adapters`, or a file
    #[arg(long, value_name = "NAME")]
    pub adapter: Option<String>,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub system: Option<String>,
    /// A file with the JSON Schema of the answer, which is then its value alone as JSON
    #[arg(long, value_name = "FILE", group = "form")]
    pub schema: Option<PathBuf>,
    /// A regular expression that matches the answer as a whole
    #[arg(long, value_name = "REGEX", group = "form")]
    pub regex: Option<String>,
    /// A file with the answer's context-free grammar in Lark's notation, from its rule `start`
    #[arg(long, value_name = "FILE", group = "form")]
    pub grammar: Option<PathBuf>,
    /// So many answers; with a seed, each has the next
    #[arg(long, value_name = "COUNT", default_value_t = 1, conflicts_with = "raw")]
    pub choices: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How tokens are chosen and when an answer stops.
#[derive(Debug, ClapArgs)]
pub(crate) struct SamplingArgs {
    /// Most tokens to write [default: what the context leaves]
    #[arg(long, value_name = "COUNT")]
    pub max_tokens: Option<u32>,
    /// 0 takes the likeliest token; higher values flatten the distribution [default: the model's own, else 0]
    #[arg(long, value_name = "NUMBER")]
    pub temperature: Option<f32>,
    /// Only the k likeliest tokens; 0 is all [default: the model's own, else all]
    #[arg(long, value_name = "COUNT")]
    pub top_k: Option<u32>,
    /// Only the likeliest tokens whose probabilities reach this sum
    #[arg(long, value_name = "NUMBER")]
    pub top_p: Option<f32>,
    /// Only tokens at least this fraction as likely as the likeliest
    #[arg(long, value_name = "NUMBER")]
    pub min_p: Option<f32>,
    /// Divides the logits of tokens already seen
    #[arg(long, value_name = "NUMBER")]
    pub repetition_penalty: Option<f32>,
    /// Only tokens whose surprise is near the expected, the likeliest that reach this sum
    #[arg(long, value_name = "NUMBER")]
    pub typical_p: Option<f32>,
    /// Taken from logits for each time a token was written, from -2 to 2
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub frequency_penalty: Option<f32>,
    /// Taken once from the logits of tokens that were written, from -2 to 2
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub presence_penalty: Option<f32>,
    /// Discourage going on with passages that stood before, so strongly; 0.8 is usual
    #[arg(long, value_name = "MULTIPLIER")]
    pub dry: Option<f32>,
    /// Search for the likeliest answer as a whole with so many beams; it comes at once when it is found
    #[arg(long, value_name = "COUNT")]
    pub beams: Option<u32>,
    /// Above 0 favours long answers among beams, below 0 short ones
    #[arg(
        long,
        value_name = "NUMBER",
        requires = "beams",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    pub length_penalty: f32,
    /// The same seed gives the same answer
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// A text that ends the answer; can be repeated
    #[arg(long = "stop", value_name = "TEXT")]
    pub stop: Vec<String>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The perplexity is exp of the mean surprise of a token; lower is better. A text longer than the context is scored
in windows that overlap by half.

Examples:
  puna score examples/models/puna-tiny \"Hello! How can I help?\"
  puna score models/llama-3.2-1b --file book.txt --json
  puna score models/llama-3.2-1b --file book.txt --adapter concierge")]
pub(crate) struct ScoreArgs {
    /// The model's folder
    pub folder: PathBuf,
    /// The text; read from standard input when absent or `-`
    pub text: Option<String>,
    /// Read the text from this file
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub load: LoadArgs,
    /// Score with an adapter: a name in the model's folder `adapters`, or a file
    #[arg(long, value_name = "NAME")]
    pub adapter: Option<String>,
    /// Also show every token's log-probability, and so many likelier ones; the text must fit the context
    #[arg(long, value_name = "COUNT")]
    pub top: Option<usize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
