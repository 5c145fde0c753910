use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::Read,
    num::NonZeroU32,
    path::Path,
};

use puna_core::{BeamOptions, DryOptions, GenerateOptions};

use crate::{
    AgentLimits, AgentSpec, CompanionPolicy, Diagnostic, Diagnostics, FactScope, FactSearch, HistoryPolicy,
    LongTermSpec, MAX_FILE_BYTES, MemorySpec, ModelSpec, PluginLimits, PluginSpec, SummaryFallback,
    SummarySpec, Version,
    diagnostic::lines,
    node::{self, Kind, Node, Place, quote},
    spec::MAX_NAME_CHARS,
    values::Decoder,
};

/// Most diagnostics shown: after that many the first ones are what to mend.
const MAX_DIAGNOSTICS: usize = 20;

/// Most requests that an engine computes at the same time.
const MAX_SLOTS: u32 = 256;

/// The most beams, as the engine says.
const MAX_BEAMS: u32 = 64;
const BEAMS_FORM: &str = "a whole number from 2 to 64";

const COMPANIONS: [(&str, CompanionPolicy); 3] = [
    ("never", CompanionPolicy::Never),
    ("prefill", CompanionPolicy::Prefill),
    ("always", CompanionPolicy::Always),
];

/// A file's bytes, at most one more than allowed.
pub(crate) fn read(path: &Path) -> puna_core::Result<Vec<u8>> {
    let fail = |error| puna_core::Error::from_io("read the agent's file", path, error);
    let file = File::open(path).map_err(fail)?;
    if file.metadata().map_err(fail)?.is_dir() {
        return Err(puna_core::Error::invalid_input(format!(
            "`{}` is a folder; name the agent's YAML file in it",
            path.display()
        )));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

/// One grant, as a list of grants has it.
pub(crate) fn grant(text: &str) -> Result<crate::Grant, Diagnostics> {
    alone(text, "grant", |decoder, node| decoder.grant(node))
}

/// Any YAML as the JSON value that it writes.
pub(crate) fn value(text: &str, name: &str) -> Result<serde_json::Value, Diagnostics> {
    alone(text, name, |decoder, node| decoder.json(node))
}

/// A text that is no agent.
fn alone<T>(
    text: &str,
    name: &str,
    decode: impl FnOnce(&mut Decoder<'_>, &Node) -> Option<T>,
) -> Result<T, Diagnostics> {
    let fail = |diagnostics: Vec<Diagnostic>| Diagnostics {
        file: name.to_owned(),
        diagnostics,
        more: 0,
        text: text.to_owned(),
    };
    if text.len() > MAX_FILE_BYTES {
        return Err(fail(vec![Place::at(1, 1).says(format!("it takes more than {MAX_FILE_BYTES} bytes"))]));
    }
    let root = match node::parse(text) {
        Ok(Some(root)) => root,
        Ok(None) => return Err(fail(vec![Place::at(1, 1).says("it is empty")])),
        Err(diagnostic) => return Err(fail(vec![*diagnostic])),
    };
    let lines = lines(text);
    let mut decoder = Decoder::new(&crate::environment::of_process, &lines);
    match decode(&mut decoder, &root) {
        Some(value) if decoder.diagnostics.is_empty() => Ok(value),
        _ => Err(fail(decoder.diagnostics)),
    }
}

pub(crate) fn decode(
    content: &[u8],
    name: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<AgentSpec, Diagnostics> {
    let text = String::from_utf8_lossy(content);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let fail = |mut diagnostics: Vec<Diagnostic>| {
        diagnostics.sort_by_key(|d| (d.line, d.column));
        diagnostics.dedup();
        let more = diagnostics.len().saturating_sub(MAX_DIAGNOSTICS);
        diagnostics.truncate(MAX_DIAGNOSTICS);
        Diagnostics { file: name.to_owned(), diagnostics, more, text: text.to_owned() }
    };
    let start = Place::at(1, 1);
    if content.len() > MAX_FILE_BYTES {
        return Err(fail(vec![start.says(format!("the file is larger than {MAX_FILE_BYTES} bytes"))]));
    }
    if let Err(error) = std::str::from_utf8(content) {
        let good = String::from_utf8_lossy(&content[..error.valid_up_to()]);
        let lines = lines(good.strip_prefix('\u{feff}').unwrap_or(&good));
        let column = lines.last().map_or(0, |line| line.chars().count()) + 1;
        return Err(fail(vec![Place::at(lines.len(), column).says("this is not UTF-8")]));
    }
    let root = match node::parse(text) {
        Ok(Some(root)) => root,
        Ok(None) => {
            let mut diagnostic = start.says("the file is empty");
            diagnostic.help = Some("an agent has `version`, `name` and `model`".to_owned());
            return Err(fail(vec![diagnostic]));
        }
        Err(diagnostic) => return Err(fail(vec![*diagnostic])),
    };
    let lines = lines(text);
    let mut decoder = Decoder::new(environment, &lines);
    match decoder.agent(&root) {
        Some(spec) if decoder.diagnostics.is_empty() => Ok(spec),
        _ => Err(fail(decoder.diagnostics)),
    }
}

impl Decoder<'_> {
    fn agent(&mut self, node: &Node) -> Option<AgentSpec> {
        let mut f = self.fields(node, "the agent")?;
        let example = Some("version: 1");
        let version = match self.required(&mut f, "version", example) {
            // Of a form that is not this one nothing else can be said.
            Some(node) => Some(self.version(node)?),
            None => None,
        };
        let name = self.required(&mut f, "name", None).and_then(|node| self.name(node));
        let description = self.optional(f.take("description"), Self::text);
        let model = self.required(&mut f, "model", None).and_then(|node| self.model(node));
        let instructions = self.optional(f.take("instructions"), Self::text).unwrap_or_default();
        let tools = self.optional(f.take("tools"), Self::tools).unwrap_or_default();
        let tool_choice = self.optional(f.take("tool_choice"), Self::tool_choice).unwrap_or_default();
        let parallel_tool_calls = self.optional(f.take("parallel_tool_calls"), Self::boolean).unwrap_or(true);
        let knowledge = self.optional(f.take("knowledge"), Self::knowledge).unwrap_or_default();
        let memory = self.optional(f.take("memory"), Self::memory).unwrap_or_default();
        let limits = self.optional(f.take("limits"), Self::limits).unwrap_or_default();
        let output = self.optional(f.take("output"), Self::output).unwrap_or_default();
        self.finish(f);
        Some(AgentSpec {
            version: version?,
            name: name?,
            description,
            model: model?,
            instructions,
            tools,
            tool_choice,
            parallel_tool_calls,
            knowledge,
            memory,
            limits,
            output,
        })
    }

    fn version(&mut self, node: &Node) -> Option<Version> {
        let number: u64 = self.parsed(node, "a version number")?;
        if number == Version::NUMBER {
            return Some(Version);
        }
        let help = (number > Version::NUMBER).then(|| "a newer Puna reads it".to_owned());
        self.report_help(
            node.place,
            format!(
                "version {number} of agent.yaml is not supported; this Puna reads version {}",
                Version::NUMBER
            ),
            help,
        );
        None
    }

    fn name(&mut self, node: &Node) -> Option<String> {
        let name = self.text(node)?;
        if is_name(&name) { Some(name) } else { self.expected(node, format_args!("a name of {NAME_FORM}")) }
    }

    fn model(&mut self, node: &Node) -> Option<ModelSpec> {
        let mut f = self.fields(node, "`model`")?;
        let path = self.required(&mut f, "path", None).and_then(|node| self.path(node));
        let device = self.optional(f.take("device"), |d, n| {
            d.text(n).and_then(|text| {
                if is_device(&text) { Some(text) } else { d.expected(n, "`cpu`, `cuda` or `cuda:1`") }
            })
        });
        let threads = self.optional(f.take("threads"), Self::count);
        let context = self.optional(f.take("context"), Self::count);
        let variant = self.optional(f.take("variant"), |d, n| {
            d.text(n).and_then(|text| {
                if text.is_empty() { d.expected(n, "a graph's name or file") } else { Some(text) }
            })
        });
        let adapter = self.optional(f.take("adapter"), Self::path);
        let companion = self.optional(f.take("companion"), |d, n| d.word(n, &COMPANIONS));
        let slots = self.optional(f.take("slots"), |d, n| {
            d.count(n).and_then(|slots| {
                if slots.get() > MAX_SLOTS {
                    d.expected(n, format_args!("a whole number up to {MAX_SLOTS}"))
                } else {
                    Some(slots)
                }
            })
        });
        let cache_memory = self.optional(f.take("cache_memory"), Self::unit);
        let deterministic = self.optional(f.take("deterministic"), Self::boolean).unwrap_or_default();
        let draft_tokens =
            self.optional(f.take("draft_tokens"), |d, n| d.parsed(n, "a whole number, 0 for none"));
        let warm_start = self.optional(f.take("warm_start"), Self::boolean).unwrap_or_default();
        let options = self.optional(f.take("options"), Self::options).unwrap_or_default();
        self.finish(f);
        Some(ModelSpec {
            path: path?,
            device,
            threads,
            context,
            variant,
            adapter,
            companion,
            slots,
            cache_memory,
            deterministic,
            draft_tokens,
            warm_start,
            options,
        })
    }

    fn options(&mut self, node: &Node) -> Option<GenerateOptions> {
        let mut f = self.fields(node, "`model.options`")?;
        let options = GenerateOptions {
            max_tokens: self.optional(f.take("max_tokens"), Self::count).map(NonZeroU32::get),
            temperature: self.optional(f.take("temperature"), |d, n| {
                d.float(n, "a temperature of 0 or more", |v| v >= 0.0)
            }),
            top_k: self.optional(f.take("top_k"), |d, n| d.parsed(n, "a whole number, 0 for all")),
            top_p: self.optional(f.take("top_p"), |d, n| {
                d.float(n, "a probability above 0 and up to 1", |v| v > 0.0 && v <= 1.0)
            }),
            min_p: self.optional(f.take("min_p"), |d, n| {
                d.float(n, "a probability from 0 to 1", |v| (0.0..=1.0).contains(&v))
            }),
            repetition_penalty: self
                .optional(f.take("repetition_penalty"), |d, n| d.float(n, "a factor above 0", |v| v > 0.0)),
            typical_p: self.optional(f.take("typical_p"), |d, n| {
                d.float(n, "a probability above 0 and up to 1", |v| v > 0.0 && v <= 1.0)
            }),
            frequency_penalty: self.optional(f.take("frequency_penalty"), Self::penalty),
            presence_penalty: self.optional(f.take("presence_penalty"), Self::penalty),
            dry: self.optional(f.take("dry"), Self::dry),
            beam: self.optional(f.take("beam"), Self::beam),
            seed: self.optional(f.take("seed"), |d, n| d.parsed(n, "a whole number of 0 or more")),
            stop: self.optional(f.take("stop"), |d, n| d.list(n, Self::text)).unwrap_or_default(),
        };
        self.finish(f);
        Some(options)
    }

    fn penalty(&mut self, node: &Node) -> Option<f32> {
        self.float(node, "a number from -2 to 2", |value| (-2.0..=2.0).contains(&value))
    }

    fn beam(&mut self, node: &Node) -> Option<BeamOptions> {
        let mut f = self.fields(node, "`model.options.beam`")?;
        let default = BeamOptions::default();
        let beam = BeamOptions {
            beams: self
                .optional(f.take("beams"), |d, n| {
                    d.parsed(n, BEAMS_FORM).and_then(|beams: u32| {
                        if (2..=MAX_BEAMS).contains(&beams) { Some(beams) } else { d.expected(n, BEAMS_FORM) }
                    })
                })
                .unwrap_or(default.beams),
            length_penalty: self
                .optional(f.take("length_penalty"), |d, n| d.float(n, "a number", f32::is_finite))
                .unwrap_or(default.length_penalty),
            early_stopping: self
                .optional(f.take("early_stopping"), Self::boolean)
                .unwrap_or(default.early_stopping),
        };
        self.finish(f);
        Some(beam)
    }

    fn dry(&mut self, node: &Node) -> Option<DryOptions> {
        let mut f = self.fields(node, "`model.options.dry`")?;
        let default = DryOptions::default();
        let dry = DryOptions {
            multiplier: self
                .optional(f.take("multiplier"), |d, n| d.float(n, "a number of 0 or more", |v| v >= 0.0))
                .unwrap_or(default.multiplier),
            base: self
                .optional(f.take("base"), |d, n| d.float(n, "a number of 1 or more", |v| v >= 1.0))
                .unwrap_or(default.base),
            allowed_length: self
                .optional(f.take("allowed_length"), |d, n| d.parsed(n, "a whole number of tokens"))
                .unwrap_or(default.allowed_length),
            sequence_breakers: self
                .optional(f.take("sequence_breakers"), |d, n| d.list(n, Self::text))
                .unwrap_or(default.sequence_breakers),
        };
        self.finish(f);
        Some(dry)
    }

    fn tools(&mut self, node: &Node) -> Option<Vec<PluginSpec>> {
        let tools = self.list(node, Self::plugin)?;
        let Kind::Sequence(nodes) = &node.kind else { return Some(tools) };
        // A model tells tools apart by their names alone. What a plugin holds is not known here, so this
        // sees the functions that are named, and plugins that stand here twice with all of theirs.
        let mut functions: HashMap<&str, usize> = HashMap::new();
        let mut plugins: HashMap<&Path, (usize, bool)> = HashMap::new();
        for (tool, Node { place, .. }) in tools.iter().zip(nodes.iter()) {
            let all = tool.functions.is_none();
            if let Some((line, all_before)) = plugins.get(tool.plugin.as_path())
                && (all || *all_before)
            {
                let message = format!(
                    "the tool of line {line} has the same plugin, and one of the two all its functions"
                );
                self.report(*place, message);
            }
            for name in tool.functions.iter().flatten() {
                if let Some(line) = functions.get(name.as_str()) {
                    self.report(*place, format!("the tool of line {line} has function {} too", quote(name)));
                }
            }
            plugins.entry(&tool.plugin).or_insert((place.line, all)).1 |= all;
            functions.extend(tool.functions.iter().flatten().map(|name| (name.as_str(), place.line)));
        }
        Some(tools)
    }

    fn plugin(&mut self, node: &Node) -> Option<PluginSpec> {
        let mut f = self.fields(node, "a tool")?;
        let plugin = self.required(&mut f, "plugin", None).and_then(|node| self.path(node));
        let functions = self.optional(f.take("functions"), Self::functions);
        let grants = self.optional(f.take("grants"), |d, n| d.list(n, Self::grant)).unwrap_or_default();
        let config = self.optional(f.take("config"), Self::json).unwrap_or_default();
        let reuse = self.optional(f.take("reuse"), Self::count);
        let limits = self.optional(f.take("limits"), Self::plugin_limits).unwrap_or_default();
        self.finish(f);
        Some(PluginSpec { plugin: plugin?, functions, grants, config, reuse, limits })
    }

    fn functions(&mut self, node: &Node) -> Option<Vec<String>> {
        let mut seen = HashSet::new();
        let functions = self.list(node, |d, node| {
            // As it stands: a plugin's functions do not depend on the environment.
            let name = match &node.kind {
                Kind::Scalar { text, .. } if node.is_text() && is_name(text) => text.to_string(),
                _ => return d.expected(node, format_args!("a function's name of {NAME_FORM}")),
            };
            if !seen.insert(name.clone()) {
                d.report(node.place, format!("function `{name}` stands here a second time"));
            }
            Some(name)
        })?;
        if functions.is_empty() {
            let help = "leave it out for all of the plugin's functions".to_owned();
            self.report_help(node.place, "`functions` is empty", Some(help));
        }
        Some(functions)
    }

    pub(crate) fn plugin_limits(&mut self, node: &Node) -> Option<PluginLimits> {
        let mut f = self.fields(node, "a tool's `limits`")?;
        let limits = PluginLimits {
            memory: self.optional(f.take("memory"), Self::unit),
            time: self.optional(f.take("time"), Self::unit),
            cpu: self.optional(f.take("cpu"), Self::unit),
            result: self.optional(f.take("result"), Self::unit),
            http_requests: self.optional(f.take("http_requests"), Self::count),
            http_bytes: self.optional(f.take("http_bytes"), Self::unit),
            file_bytes: self.optional(f.take("file_bytes"), Self::unit),
            generate_tokens: self.optional(f.take("generate_tokens"), Self::count),
            sql_rows: self.optional(f.take("sql_rows"), Self::count),
        };
        self.finish(f);
        Some(limits)
    }

    fn memory(&mut self, node: &Node) -> Option<MemorySpec> {
        let mut f = self.fields(node, "`memory`")?;
        let default = MemorySpec::default();
        let words = [
            ("drop_oldest_turns", HistoryPolicy::DropOldestTurns),
            ("error", HistoryPolicy::Error),
            ("summarize", HistoryPolicy::Summarize),
        ];
        let summary = f.take("summary");
        let stated = f.take("history");
        let history = self.optional(stated, |d, n| d.word(n, &words));
        let memory = MemorySpec {
            conversation: self
                .optional(f.take("conversation"), Self::boolean)
                .unwrap_or(default.conversation),
            history: history.unwrap_or(default.history),
            summary: self.optional(summary, Self::summary),
            long_term: self.optional(f.take("long_term"), Self::long_term),
        };
        self.finish(f);
        if let Some(summary) = summary
            && history.map_or(stated.is_none(), |history| history != HistoryPolicy::Summarize)
        {
            let help = Some("set `history: summarize`, or leave `summary` out".to_owned());
            self.report_help(
                summary.place,
                "`summary` says how to summarise, and nothing is summarised",
                help,
            );
        }
        Some(memory)
    }

    fn long_term(&mut self, node: &Node) -> Option<LongTermSpec> {
        let mut f = self.fields(node, "`memory.long_term`")?;
        let default = LongTermSpec::default();
        let scopes = [
            ("user_and_agent", FactScope::UserAndAgent),
            ("user", FactScope::User),
            ("agent", FactScope::Agent),
        ];
        let searches = [("hybrid", FactSearch::Hybrid), ("keyword", FactSearch::Keyword)];
        let long_term = LongTermSpec {
            scope: self.optional(f.take("scope"), |d, n| d.word(n, &scopes)).unwrap_or_default(),
            search: self.optional(f.take("search"), |d, n| d.word(n, &searches)).unwrap_or_default(),
            tools: self.optional(f.take("tools"), Self::boolean).unwrap_or(default.tools),
            extract: self.optional(f.take("extract"), Self::boolean).unwrap_or(default.extract),
            recall_tokens: self.optional(f.take("recall_tokens"), |d, n| {
                d.parsed(n, "a whole number of tokens, 0 for none")
            }),
            ttl: self.optional(f.take("ttl"), Self::unit),
        };
        self.finish(f);
        Some(long_term)
    }

    fn summary(&mut self, node: &Node) -> Option<SummarySpec> {
        let mut f = self.fields(node, "`memory.summary`")?;
        let words =
            [("drop_oldest_turns", SummaryFallback::DropOldestTurns), ("error", SummaryFallback::Error)];
        let summary = SummarySpec {
            max_tokens: self.optional(f.take("max_tokens"), Self::count),
            fallback: self.optional(f.take("fallback"), |d, n| d.word(n, &words)).unwrap_or_default(),
        };
        self.finish(f);
        Some(summary)
    }

    fn limits(&mut self, node: &Node) -> Option<AgentLimits> {
        let mut f = self.fields(node, "`limits`")?;
        let limits = AgentLimits {
            steps: self.optional(f.take("steps"), Self::count),
            tokens: self.optional(f.take("tokens"), Self::count),
            time: self.optional(f.take("time"), Self::unit),
            tool_time: self.optional(f.take("tool_time"), Self::unit),
            parallel_calls: self.optional(f.take("parallel_calls"), Self::count),
        };
        self.finish(f);
        Some(limits)
    }
}

/// Whether a text names a device.
fn is_device(text: &str) -> bool {
    let number =
        |index: &str| matches!(index.len(), 1..=2) && index.bytes().all(|byte| byte.is_ascii_digit());
    matches!(text, "cpu" | "cuda") || text.strip_prefix("cuda:").is_some_and(number)
}

/// What [`is_name`] wants, for messages.
pub(crate) const NAME_FORM: &str = "1 to 64 letters, digits, `-` and `_`";

pub(crate) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_CHARS).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-')
}
