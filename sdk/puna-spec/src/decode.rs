use std::{fs::File, io::Read, num::NonZeroU32, path::Path, path::PathBuf, str::FromStr};

use puna_core::GenerateOptions;

use crate::{
    AgentLimits, AgentSpec, Diagnostic, Diagnostics, Grant, HistoryPolicy, MAX_FILE_BYTES, MemorySpec,
    ModelSpec, OutputSpec, PluginLimits, PluginSpec, Version,
    environment::expand,
    node::{self, Kind, Node, Place},
};

/// How like a known word a misspelt one must be to be suggested (Jaro-Winkler similarity, 0 to 1).
const SUGGEST_FROM: f64 = 0.75;

/// Most diagnostics shown: after that many the first ones are what to mend.
const MAX_DIAGNOSTICS: usize = 20;

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

pub(crate) fn decode(
    content: &[u8],
    name: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<AgentSpec, Diagnostics> {
    let start = Place { line: 1, column: 1, length: 1 };
    let text = String::from_utf8_lossy(content);
    let text = text.trim_start_matches('\u{feff}');
    let fail = |diagnostics: Vec<Diagnostic>| Diagnostics {
        file: name.to_owned(),
        diagnostics,
        text: text.to_owned(),
    };
    if content.len() > MAX_FILE_BYTES {
        return Err(fail(vec![start.says(format!("the file is larger than {MAX_FILE_BYTES} bytes"))]));
    }
    if let Err(error) = std::str::from_utf8(content) {
        let good = String::from_utf8_lossy(&content[..error.valid_up_to()]).into_owned();
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        return Err(fail(vec![Place { line, column, length: 1 }.says("this is not UTF-8")]));
    }
    let root = match node::parse(text) {
        Ok(Some(root)) => root,
        Ok(None) => return Err(fail(vec![start.says("the file is empty; see the example in the README")])),
        Err(diagnostic) => return Err(fail(vec![*diagnostic])),
    };
    let mut decoder = Decoder { environment, diagnostics: Vec::new() };
    let spec = decoder.agent(&root);
    match spec {
        Some(spec) if decoder.diagnostics.is_empty() => Ok(spec),
        _ => {
            let mut diagnostics = decoder.diagnostics;
            diagnostics.sort_by_key(|d| (d.line, d.column));
            diagnostics.dedup();
            diagnostics.truncate(MAX_DIAGNOSTICS);
            Err(fail(diagnostics))
        }
    }
}

struct Decoder<'a> {
    environment: &'a dyn Fn(&str) -> Option<String>,
    diagnostics: Vec<Diagnostic>,
}

/// A mapping whose keys are taken one by one; what is left is unknown.
struct Fields<'n> {
    place: Place,
    what: &'static str,
    pairs: Vec<(&'n Node, &'n str, &'n Node)>,
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        let at = self.pairs.iter().position(|(_, name, _)| *name == key)?;
        // A key without a value is a key that is not given.
        Some(self.pairs.remove(at).2).filter(|node| !node.is_null())
    }
}

impl Decoder<'_> {
    fn report(&mut self, place: Place, message: impl Into<String>) {
        self.diagnostics.push(place.says(message));
    }

    fn report_help(&mut self, place: Place, message: impl Into<String>, help: Option<String>) {
        self.diagnostics.push(Diagnostic { help, ..place.says(message) });
    }

    fn expected<T>(&mut self, node: &Node, what: &str) -> Option<T> {
        self.report(node.place, format!("expected {what}, got {}", node.describe()));
        None
    }

    // -------------------------------------------------------------- values

    fn fields<'n>(&mut self, node: &'n Node, what: &'static str) -> Option<Fields<'n>> {
        let Kind::Mapping(pairs) = &node.kind else {
            return self.expected(node, &format!("a mapping for {what}"));
        };
        let mut fields = Fields { place: node.place, what, pairs: Vec::new(), known: Vec::new() };
        for (key, value) in pairs {
            let Kind::Scalar { text, .. } = &key.kind else {
                self.report(key.place, "a key must be a word");
                continue;
            };
            if fields.pairs.iter().any(|(_, name, _)| name == text) {
                self.report(key.place, format!("`{text}` stands here a second time"));
                continue;
            }
            fields.pairs.push((key, text, value));
        }
        Some(fields)
    }

    fn finish(&mut self, fields: Fields<'_>) {
        for (key, name, _) in fields.pairs {
            let help = suggest(name, &fields.known)
                .or_else(|| Some(format!("known here: {}", fields.known.join(", "))));
            self.report_help(
                key.place,
                format!("unknown key `{}` in {}", name.escape_debug(), fields.what),
                help,
            );
        }
    }

    fn required<'n>(&mut self, fields: &mut Fields<'n>, key: &'static str) -> Option<&'n Node> {
        let node = fields.take(key);
        if node.is_none() {
            self.report(fields.place, format!("`{key}` is missing in {}", fields.what));
        }
        node
    }

    fn text(&mut self, node: &Node) -> Option<String> {
        let Kind::Scalar { text, .. } = &node.kind else { return self.expected(node, "text") };
        match expand(text, self.environment) {
            Ok(text) => Some(text),
            Err(message) => {
                self.report(node.place, message);
                None
            }
        }
    }

    /// A value that a plain scalar spells.
    fn parsed<T: FromStr>(&mut self, node: &Node, what: &str) -> Option<T> {
        match &node.kind {
            Kind::Scalar { text, plain: true } => match text.parse() {
                Ok(value) => Some(value),
                Err(_) => self.expected(node, what),
            },
            _ => self.expected(node, what),
        }
    }

    fn boolean(&mut self, node: &Node) -> Option<bool> {
        self.parsed(node, "true or false")
    }

    fn float(&mut self, node: &Node, what: &str, allowed: impl Fn(f32) -> bool) -> Option<f32> {
        let value: f32 = self.parsed(node, what)?;
        if value.is_finite() && allowed(value) { Some(value) } else { self.expected(node, what) }
    }

    fn unit<T: FromStr<Err = String>>(&mut self, node: &Node) -> Option<T> {
        let text = self.text(node)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(message) => {
                self.report(node.place, message);
                None
            }
        }
    }

    fn count(&mut self, node: &Node) -> Option<NonZeroU32> {
        self.parsed(node, "a whole number from 1 to 4294967295")
    }

    fn word<T: Copy>(&mut self, node: &Node, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(node)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help = suggest(&text, &known).or_else(|| Some(format!("known: {}", known.join(", "))));
        self.report_help(node.place, format!("{} is not known here", node.describe()), help);
        None
    }

    fn list<T>(
        &mut self,
        node: &Node,
        mut item: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Kind::Sequence(items) = &node.kind else { return self.expected(node, "a list") };
        let decoded: Vec<Option<T>> = items.iter().map(|node| item(self, node)).collect();
        decoded.into_iter().collect()
    }

    fn path(&mut self, node: &Node) -> Option<PathBuf> {
        let text = self.text(node)?;
        if text.is_empty() || text.contains('\0') { self.expected(node, "a path") } else { Some(text.into()) }
    }

    /// An optional value: none where it is absent, and where it is wrong, which was reported.
    fn optional<T>(
        &mut self,
        node: Option<&Node>,
        decode: impl FnOnce(&mut Self, &Node) -> Option<T>,
    ) -> Option<T> {
        decode(self, node?)
    }

    // -------------------------------------------------------------- the form

    fn agent(&mut self, node: &Node) -> Option<AgentSpec> {
        let mut f = self.fields(node, "the agent")?;
        let version = self.required(&mut f, "version").and_then(|node| self.version(node));
        let name = self.required(&mut f, "name").and_then(|node| self.name(node));
        let description = self.optional(f.take("description"), Self::text);
        let model = self.required(&mut f, "model").and_then(|node| self.model(node));
        let instructions = self.optional(f.take("instructions"), Self::text).unwrap_or_default();
        let tools = self.optional(f.take("tools"), |d, node| d.list(node, Self::plugin)).unwrap_or_default();
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
        let fits = (1..=64).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        if fits { Some(name) } else { self.expected(node, "a name of 1 to 64 letters, digits, `-` and `_`") }
    }

    fn model(&mut self, node: &Node) -> Option<ModelSpec> {
        let mut f = self.fields(node, "`model`")?;
        let path = self.required(&mut f, "path").and_then(|node| self.path(node));
        let threads = self.optional(f.take("threads"), Self::count);
        let context = self.optional(f.take("context"), Self::count);
        let options = self.optional(f.take("options"), Self::options).unwrap_or_default();
        self.finish(f);
        Some(ModelSpec { path: path?, threads, context, options })
    }

    fn options(&mut self, node: &Node) -> Option<GenerateOptions> {
        let mut f = self.fields(node, "`model.options`")?;
        let options = GenerateOptions {
            max_tokens: self.optional(f.take("max_tokens"), Self::count).map(NonZeroU32::get),
            temperature: self
                .optional(f.take("temperature"), |d, n| {
                    d.float(n, "a temperature of 0 or more", |v| v >= 0.0)
                })
                .unwrap_or_default(),
            top_k: self
                .optional(f.take("top_k"), |d, n| d.parsed(n, "a whole number, 0 for all"))
                .unwrap_or_default(),
            top_p: self.optional(f.take("top_p"), |d, n| {
                d.float(n, "a probability above 0 and up to 1", |v| v > 0.0 && v <= 1.0)
            }),
            min_p: self.optional(f.take("min_p"), |d, n| {
                d.float(n, "a probability from 0 to 1", |v| (0.0..=1.0).contains(&v))
            }),
            repetition_penalty: self
                .optional(f.take("repetition_penalty"), |d, n| d.float(n, "a factor above 0", |v| v > 0.0)),
            seed: self.optional(f.take("seed"), |d, n| d.parsed(n, "a whole number of 0 or more")),
            stop: self.optional(f.take("stop"), |d, n| d.list(n, Self::text)).unwrap_or_default(),
        };
        self.finish(f);
        Some(options)
    }

    fn plugin(&mut self, node: &Node) -> Option<PluginSpec> {
        let mut f = self.fields(node, "a tool")?;
        let plugin = self.required(&mut f, "plugin").and_then(|node| self.path(node));
        let functions_node = f.take("functions");
        let functions = self.optional(functions_node, |d, n| d.list(n, Self::text));
        if let (Some(functions), Some(node)) = (&functions, functions_node) {
            if functions.is_empty() {
                self.report(
                    node.place,
                    "`functions` is empty; leave it out for all of the plugin's functions",
                );
            }
            if let Some(twice) = functions.iter().enumerate().find(|(i, name)| functions[..*i].contains(name))
            {
                self.report(node.place, format!("function `{}` stands here twice", twice.1));
            }
        }
        let grants = self
            .optional(f.take("grants"), |d, n| d.list(n, |d, n| d.word(n, &[("clock", Grant::Clock)])))
            .unwrap_or_default();
        let limits = self.optional(f.take("limits"), Self::plugin_limits).unwrap_or_default();
        self.finish(f);
        Some(PluginSpec { plugin: plugin?, functions, grants, limits })
    }

    fn plugin_limits(&mut self, node: &Node) -> Option<PluginLimits> {
        let mut f = self.fields(node, "a tool's `limits`")?;
        let limits = PluginLimits {
            memory: self.optional(f.take("memory"), Self::unit),
            time: self.optional(f.take("time"), Self::unit),
            result: self.optional(f.take("result"), Self::unit),
            concurrency: self.optional(f.take("concurrency"), Self::count),
        };
        self.finish(f);
        Some(limits)
    }

    fn memory(&mut self, node: &Node) -> Option<MemorySpec> {
        let mut f = self.fields(node, "`memory`")?;
        let default = MemorySpec::default();
        let words = [("drop_oldest_turns", HistoryPolicy::DropOldestTurns), ("error", HistoryPolicy::Error)];
        let memory = MemorySpec {
            conversation: self
                .optional(f.take("conversation"), Self::boolean)
                .unwrap_or(default.conversation),
            history: self.optional(f.take("history"), |d, n| d.word(n, &words)).unwrap_or(default.history),
        };
        self.finish(f);
        Some(memory)
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

    fn output(&mut self, node: &Node) -> Option<OutputSpec> {
        let mut f = self.fields(node, "`output`")?;
        let default = OutputSpec::default();
        let output = OutputSpec {
            stream: self.optional(f.take("stream"), Self::boolean).unwrap_or(default.stream),
            show_tools: self.optional(f.take("show_tools"), Self::boolean).unwrap_or(default.show_tools),
        };
        self.finish(f);
        Some(output)
    }
}

fn suggest(word: &str, known: &[&str]) -> Option<String> {
    let likeness = |candidate: &str| strsim::jaro_winkler(word, candidate);
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= SUGGEST_FROM).then(|| format!("did you mean `{best}`?"))
}
