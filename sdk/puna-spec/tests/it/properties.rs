use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
};
use puna_core::{BeamOptions, DryOptions, Filter, GenerateOptions, ToolChoice};
use puna_spec::{
    AgentLimits, AgentSpec, ByteSize, CompanionPolicy, DatabaseRule, FactScope, FactSearch, FolderRule,
    Grant, HistoryPolicy, HttpRule, KnowledgeMode, KnowledgeSpec, LongTermSpec, MemorySpec, ModelSpec,
    OutputSpec, PackSpec, PluginLimits, PluginSpec, RerankSpec, RetrieverSpec, SchemaSpec, SecretRule, Span,
    SplitKind, SplitSpec, SplitUnit, SummaryFallback, SummarySpec, Version,
};
use serde_json::{Map, Value, json};

use crate::{parse, schema, yaml};

/// Any bytes: an agent, or diagnostics that can be shown and point into the file.
fn check_any(content: &[u8]) {
    let Err(diagnostics) = parse(content, "a.yaml") else { return };
    assert!(!diagnostics.diagnostics.is_empty());
    let lines = String::from_utf8_lossy(content).split(['\n', '\r']).count();
    for diagnostic in &diagnostics.diagnostics {
        assert!((1..=lines).contains(&diagnostic.line), "{diagnostic:?} in {lines} lines");
        assert!(diagnostic.column >= 1 && diagnostic.length >= 1, "{diagnostic:?}");
    }
    let shown = diagnostics.to_string();
    let steers = |c: char| c.is_control() && c != '\n';
    assert!(!shown.contains(steers), "{shown:?}");
}

/// A text as a file writes it: what looks like a variable is escaped.
fn escaped(value: Value) -> Value {
    match value {
        Value::String(text) => text.replace("${", "$${").into(),
        Value::Array(items) => items.into_iter().map(escaped).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, escaped(value))).collect(),
        other => other,
    }
}

fn text() -> impl Strategy<Value = String> {
    // Characters that YAML takes as they are, and some that mean something to it or to variables.
    "([ -~\n\t\u{a0}-\u{2027}\u{4e00}-\u{4fff}\u{1f600}]|[$][{]|[}]|: |\n- |---|#|'|\"){0,30}"
}

fn path() -> impl Strategy<Value = std::path::PathBuf> {
    "[ -~]{1,20}".prop_map(Into::into)
}

fn count() -> impl Strategy<Value = Option<NonZeroU32>> {
    option::of((1..=u32::MAX).prop_map(|count| NonZeroU32::new(count).unwrap()))
}

fn span() -> impl Strategy<Value = Option<Span>> {
    option::of(prop_oneof![1..=u64::MAX, 1..10_000_000_u64].prop_map(|ms| Span(Duration::from_millis(ms))))
}

fn size() -> impl Strategy<Value = Option<ByteSize>> {
    option::of(prop_oneof![1..=u64::MAX, (1..1024_u64).prop_map(|mib| mib << 20)].prop_map(ByteSize))
}

fn options() -> impl Strategy<Value = GenerateOptions> {
    let chances = (
        option::of(0.0_f32..100.0),
        option::of(0.001_f32..=1.0),
        option::of(0.0_f32..=1.0),
        option::of(0.1_f32..9.0),
    );
    let counts =
        (option::of(1..=u32::MAX), option::of(any::<u32>()), option::of(any::<u64>()), vec(text(), 0..3));
    let penalty = || option::of(-2.0_f32..=2.0);
    let dry = (0.0_f32..9.0, 1.0_f32..9.0, any::<u32>(), vec(text(), 0..3)).prop_map(
        |(multiplier, base, allowed_length, sequence_breakers)| DryOptions {
            multiplier,
            base,
            allowed_length,
            sequence_breakers,
        },
    );
    let beam =
        (2..=64_u32, -9.0_f32..9.0, any::<bool>()).prop_map(|(beams, length_penalty, early_stopping)| {
            BeamOptions { beams, length_penalty, early_stopping }
        });
    let repeats = (option::of(0.001_f32..=1.0), penalty(), penalty(), option::of(dry), option::of(beam));
    (chances, counts, repeats).prop_map(|(chances, counts, repeats)| {
        let (temperature, top_p, min_p, repetition_penalty) = chances;
        let (max_tokens, top_k, seed, stop) = counts;
        let (typical_p, frequency_penalty, presence_penalty, dry, beam) = repeats;
        GenerateOptions {
            max_tokens,
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            typical_p,
            frequency_penalty,
            presence_penalty,
            dry,
            beam,
            seed,
            stop,
        }
    })
}

fn grant() -> impl Strategy<Value = Grant> {
    let name = || "[A-Za-z0-9_-]{1,64}";
    let methods = option::of(vec(text(), 0..3));
    let rule = (text(), methods, any::<bool>()).prop_map(|(origin, methods, private_addresses)| HttpRule {
        origin,
        methods,
        private_addresses,
    });
    let secret = (text(), vec(text(), 0..3)).prop_map(|(env, origins)| SecretRule { env, origins });
    let folder = (path(), any::<bool>()).prop_map(|(path, write)| FolderRule { path, write });
    let database =
        (path(), option::of(vec(text(), 0..3))).prop_map(|(path, tables)| DatabaseRule { path, tables });
    prop_oneof![
        select(vec![Grant::Clock, Grant::Random, Grant::Store, Grant::Embed, Grant::Generate]),
        vec(rule, 0..3).prop_map(Grant::Http),
        btree_map(name(), secret, 0..3).prop_map(Grant::Secrets),
        btree_map(name(), folder, 0..3).prop_map(Grant::Files),
        btree_map(name(), database, 0..3).prop_map(Grant::Sql),
    ]
}

/// Plugins and functions are numbered, so that none stands twice.
fn tools() -> impl Strategy<Value = Vec<PluginSpec>> {
    let sizes = (size(), size(), size(), size());
    let limits = (sizes, span(), span(), count(), count(), count()).prop_map(
        |((memory, result, http_bytes, file_bytes), time, cpu, http_requests, generate_tokens, sql_rows)| {
            PluginLimits {
                memory,
                time,
                cpu,
                result,
                http_requests,
                http_bytes,
                file_bytes,
                generate_tokens,
                sql_rows,
            }
        },
    );
    let tool = (path(), option::of(1..4_usize), vec(grant(), 0..4), limits, count());
    vec(tool, 0..4).prop_map(|tools| {
        let tools = tools.into_iter().enumerate();
        let tool = |(at, (path, functions, grants, limits, reuse)): (
            usize,
            (std::path::PathBuf, Option<usize>, Vec<Grant>, _, _),
        )| {
            PluginSpec {
                plugin: format!("{at}{}", path.display()).into(),
                functions: functions.map(|count| (0..count).map(|name| format!("f{at}-{name}")).collect()),
                grants,
                config: Value::Null,
                reuse,
                limits,
            }
        };
        tools.map(tool).collect()
    })
}

fn spec() -> impl Strategy<Value = AgentSpec> {
    let head = ("[A-Za-z0-9_-]{1,64}", option::of(text()), text());
    let variant = option::of(text().prop_filter("a name", |text| !text.is_empty()));
    let companion =
        option::of(select(vec![CompanionPolicy::Never, CompanionPolicy::Prefill, CompanionPolicy::Always]));
    let slots = option::of((1..=256_u32).prop_map(|slots| NonZeroU32::new(slots).expect("above 0")));
    let device = option::of("cpu|cuda(:[0-9]{1,2})?");
    let companion = (companion, option::of(path()));
    let engine = (device, variant, companion, slots, size(), any::<[bool; 2]>(), option::of(any::<u32>()));
    let model = (path(), count(), count(), engine, options()).prop_map(
        |(path, threads, context, engine, options)| {
            let (device, variant, companion, slots, cache_memory, switches, draft_tokens) = engine;
            let ((companion, adapter), [deterministic, warm_start]) = (companion, switches);
            ModelSpec {
                path,
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
            }
        },
    );
    let limits = (count(), count(), span(), span(), count()).prop_map(
        |(steps, tokens, time, tool_time, parallel_calls)| AgentLimits {
            steps,
            tokens,
            time,
            tool_time,
            parallel_calls,
        },
    );
    let history =
        select(vec![HistoryPolicy::DropOldestTurns, HistoryPolicy::Error, HistoryPolicy::Summarize]);
    let fallback = select(vec![SummaryFallback::DropOldestTurns, SummaryFallback::Error]);
    let summary = (count(), fallback).prop_map(|(max_tokens, fallback)| SummarySpec { max_tokens, fallback });
    let scope = select(vec![FactScope::UserAndAgent, FactScope::User, FactScope::Agent]);
    let search = select(vec![FactSearch::Hybrid, FactSearch::Keyword]);
    let long_term = (scope, search, any::<(bool, bool, Option<u32>)>(), span()).prop_map(
        |(scope, search, (tools, extract, recall_tokens), ttl)| LongTermSpec {
            scope,
            search,
            tools,
            extract,
            recall_tokens,
            ttl,
        },
    );
    let memory = (any::<bool>(), history, option::of(summary), option::of(long_term)).prop_map(
        |(conversation, history, summary, long_term)| MemorySpec {
            conversation,
            history,
            summary: summary.filter(|_| history == HistoryPolicy::Summarize),
            long_term,
        },
    );
    let tools = (tools(), tool_choice(), any::<bool>(), knowledge());
    (head, model, tools, memory, limits, output()).prop_map(
        |((name, description, instructions), model, tools, memory, limits, output)| {
            let (tools, tool_choice, parallel_tool_calls, knowledge) = tools;
            AgentSpec {
                version: Version,
                name,
                description,
                model,
                instructions,
                tools,
                tool_choice,
                parallel_tool_calls,
                knowledge,
                memory,
                limits,
                output,
            }
        },
    )
}

/// Names are numbered, so that none stands twice.
fn knowledge() -> impl Strategy<Value = Vec<KnowledgeSpec>> {
    let mode = option::of(select(vec![KnowledgeMode::Hybrid, KnowledgeMode::Vector, KnowledgeMode::Keyword]));
    let at_most =
        |most: u32| option::of((1..=most).prop_map(|count| NonZeroU32::new(count).expect("above 0")));
    let order = prop_oneof![
        Just((None, None)),
        Just((Some(RerankSpec::LateInteraction), None)),
        path().prop_map(|path| (Some(RerankSpec::Model(path)), None)),
        (0.0f32..=1.0).prop_map(|lambda| (None, Some(lambda))),
    ];
    let head = (option::of(text()), vec(path(), 0..3), option::of(path()), any::<(bool, bool)>());
    let pack = option::of(select(vec![PackSpec::Whole, PackSpec::CutLast]));
    let retrieval = (mode, option::of(filter()), at_most(8), vec(retriever(), 0..2), order);
    let base = (head, option::of(split()), retrieval, at_most(100), count(), pack);
    vec(base, 0..3).prop_map(|bases| {
        let bases = bases.into_iter().enumerate();
        let base = |(at, (head, split, retrieval, results, budget, pack))| {
            let (description, loaders, model, (private_addresses, parents)): (_, Vec<PathBuf>, _, _) = head;
            let (mode, filter, rewrites, retrievers, (rerank, diversity)) = retrieval;
            KnowledgeSpec {
                name: format!("base-{at}"),
                description,
                sources: loaders.iter().map(|path| path.display().to_string()).collect(),
                private_addresses,
                loaders,
                model,
                split,
                mode,
                filter,
                rewrites,
                retrievers,
                rerank,
                diversity,
                parents,
                results,
                budget,
                pack,
            }
        };
        bases.map(base).collect()
    })
}

fn split() -> impl Strategy<Value = SplitSpec> {
    let by = select(vec![
        SplitKind::Recursive,
        SplitKind::Markdown,
        SplitKind::Html,
        SplitKind::Code,
        SplitKind::Semantic,
    ]);
    let unit = select(vec![SplitUnit::Tokens, SplitUnit::Characters, SplitUnit::Words]);
    let sizes = option::of((1u32.., 0u32..100, option::of(0u32..100)));
    (option::of(by), option::of(unit), sizes).prop_map(|(by, unit, sizes)| SplitSpec {
        by,
        unit,
        size: sizes.and_then(|(size, ..)| NonZeroU32::new(size)),
        overlap: sizes.map(|(size, share, _)| (u64::from(size / 2) * u64::from(share) / 100) as u32),
        parent_size: sizes.and_then(|(size, _, more)| NonZeroU32::new(size.saturating_add(more?))),
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let word = "[a-z]{1,8}";
    let value =
        prop_oneof![word.prop_map(Value::from), any::<i64>().prop_map(Value::from), Just(Value::Bool(true))];
    let leaf = prop_oneof![
        (word, value.clone()).prop_map(|(field, value)| Filter::Eq(field, value)),
        (word, value.clone()).prop_map(|(field, value)| Filter::Lte(field, value)),
        (word, vec(value, 0..3)).prop_map(|(field, values)| Filter::In(field, values)),
        word.prop_map(Filter::Exists),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Filter::And),
            vec(inner.clone(), 0..3).prop_map(Filter::Or),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}

fn retriever() -> impl Strategy<Value = RetrieverSpec> {
    (path(), option::of("[A-Za-z0-9_-]{1,64}"), any::<bool>()).prop_map(|(plugin, retriever, more)| {
        RetrieverSpec {
            plugin,
            retriever,
            options: if more { json!({"depth": 3}) } else { Value::Null },
            grants: if more { vec![Grant::Store] } else { Vec::new() },
            config: Value::Null,
            limits: PluginLimits::default(),
        }
    })
}

fn tool_choice() -> impl Strategy<Value = ToolChoice> {
    prop_oneof![
        select(vec![ToolChoice::Auto, ToolChoice::None, ToolChoice::Required]),
        "[A-Za-z0-9_-]{1,64}".prop_map(ToolChoice::Named),
    ]
}

fn output() -> impl Strategy<Value = OutputSpec> {
    // Every kind of value that a schema may hold, and texts that look like others.
    let schema = (text(), any::<i64>(), -1e9..1e9, any::<bool>()).prop_map(|(text, int, float, flag)| {
        // As it stands: variables are not read in schemas.
        let text = text.replace('{', "(");
        let schema = json!({
            "description": text,
            "properties": { "a": { "enum": [text, int, float, flag, null, "1", "true", "null"] }, "b": flag },
            "required": [text],
        });
        SchemaSpec::Inline(schema.as_object().expect("an object").clone())
    });
    let schema = prop_oneof![path().prop_map(SchemaSpec::File), schema];
    (option::of(schema), option::of(any::<u32>()), any::<(bool, bool, bool)>()).prop_map(
        |(schema, repairs, (citations, stream, show_tools))| OutputSpec {
            schema,
            repairs,
            citations,
            stream,
            show_tools,
        },
    )
}

/// Mappings of the form's keys with values that are right, nearly right and wrong.
fn nearly() -> impl Strategy<Value = Value> {
    let leaf = select(vec![
        json!("a"),
        json!("a b"),
        json!(""),
        json!("5s"),
        json!("0s"),
        json!("5  GiB"),
        json!("5\tB"),
        json!("12"),
        json!("clock"),
        json!("error"),
        json!("required"),
        json!("true"),
        json!("é"),
        json!(0),
        json!(1),
        json!(2),
        json!(-1),
        json!(0.5),
        json!(4294967296_u64),
        json!(true),
        Value::Null,
        json!([]),
        json!({}),
    ]);
    let key = select(vec![
        "version",
        "name",
        "description",
        "model",
        "path",
        "threads",
        "context",
        "variant",
        "adapter",
        "companion",
        "slots",
        "cache_memory",
        "deterministic",
        "draft_tokens",
        "warm_start",
        "options",
        "max_tokens",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "repetition_penalty",
        "typical_p",
        "frequency_penalty",
        "presence_penalty",
        "dry",
        "multiplier",
        "base",
        "allowed_length",
        "sequence_breakers",
        "beam",
        "beams",
        "length_penalty",
        "early_stopping",
        "seed",
        "stop",
        "instructions",
        "tools",
        "plugin",
        "functions",
        "grants",
        "limits",
        "memory",
        "time",
        "result",
        "conversation",
        "history",
        "steps",
        "tokens",
        "tool_time",
        "parallel_calls",
        "output",
        // Not `schema`: what stands in one is beyond the schema of this form.
        "repairs",
        "tool_choice",
        "parallel_tool_calls",
        "named",
        "stream",
        "show_tools",
        "other",
    ]);
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::Array),
            vec((key.clone(), inner), 0..4)
                .prop_map(|pairs| {
                    // A key without a value is right or wrong by more than its value: goldens have it.
                    let pairs = pairs.into_iter().filter(|(_, value)| !value.is_null());
                    pairs.map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>()
                })
                .prop_map(Value::Object),
        ]
    })
}

/// A right agent with one value put in some place of it.
fn altered() -> impl Strategy<Value = Value> {
    let places = vec![
        "/version",
        "/name",
        "/description",
        "/model",
        "/model/path",
        "/model/threads",
        "/model/context",
        "/model/variant",
        "/model/adapter",
        "/model/companion",
        "/model/slots",
        "/model/cache_memory",
        "/model/deterministic",
        "/model/draft_tokens",
        "/model/warm_start",
        "/model/options",
        "/model/options/max_tokens",
        "/model/options/temperature",
        "/model/options/top_k",
        "/model/options/top_p",
        "/model/options/min_p",
        "/model/options/repetition_penalty",
        "/model/options/typical_p",
        "/model/options/frequency_penalty",
        "/model/options/presence_penalty",
        "/model/options/dry",
        "/model/options/dry/multiplier",
        "/model/options/dry/base",
        "/model/options/dry/allowed_length",
        "/model/options/dry/sequence_breakers",
        "/model/options/seed",
        "/model/options/stop",
        "/instructions",
        "/tools",
        "/tools/0",
        "/tools/0/plugin",
        "/tools/0/functions",
        "/tools/0/functions/0",
        "/tools/0/grants",
        "/tools/0/grants/0",
        "/tools/0/limits",
        "/tools/0/limits/memory",
        "/tools/0/limits/time",
        "/memory",
        "/memory/conversation",
        "/memory/history",
        "/limits",
        "/limits/steps",
        "/limits/time",
        "/output",
        "/output/stream",
        "/output/repairs",
        "/tool_choice",
        "/tool_choice/named",
        "/parallel_tool_calls",
    ];
    (select(places), nearly()).prop_map(|(place, value)| {
        let mut agent = json!({
            "version": 1, "name": "a", "description": "d",
            "model": { "path": "m", "threads": 1, "context": 9, "variant": "q4", "adapter": "a", "companion": "prefill", "slots": 2,
                "cache_memory": "1MiB", "deterministic": true, "draft_tokens": 0, "warm_start": true, "options": {
                "max_tokens": 1, "temperature": 0, "top_k": 0, "top_p": 1, "min_p": 0,
                "repetition_penalty": 1, "typical_p": 1, "frequency_penalty": 0, "presence_penalty": 0,
                "dry": { "multiplier": 1, "base": 1, "allowed_length": 1, "sequence_breakers": [] }, "seed": 1, "stop": [] } },
            "instructions": "i",
            "tools": [{ "plugin": "p", "functions": ["f"], "grants": ["clock"],
                "limits": { "memory": "1B", "time": "1s" } }],
            "memory": { "conversation": true, "history": "error" },
            "limits": { "steps": 1, "time": "1s" },
            "tool_choice": { "named": "f" }, "parallel_tool_calls": true,
            "output": { "stream": true, "repairs": 1 },
        });
        *agent.pointer_mut(place).unwrap() = value;
        agent
    })
}

#[test]
fn a_file_that_stops_inside_a_line_is_judged() {
    for content in ["?\n  ", "?", "- ", "a:\n ? ", "\r\n?\r\n\t", "|", "a: |\n "] {
        check_any(content.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_judged(content in vec(any::<u8>(), 0..400)) {
        check_any(&content);
    }

    #[test]
    fn any_text_is_judged(content in "([a-z]|[ \n\r\t\u{85}\u{2028}]|[-:,?&*!|>'\"%@`{}\\[\\]#~]|: |\n  |- |\\PC){0,80}") {
        check_any(content.as_bytes());
    }

    #[test]
    fn damaged_files_are_judged(at in 0..2_000_usize, cut in 0..40_usize, insert in "([-:,?&*!|>'\"{}\\[\\]#$\n\t ]|\\PC){0,6}") {
        let good: Vec<char> = include_str!("good/full.yaml").chars().collect();
        let at = at % good.len();
        let damaged: String =
            good[..at].iter().copied().chain(insert.chars()).chain(good[at..].iter().skip(cut).copied()).collect();
        check_any(damaged.as_bytes());
    }

    #[test]
    fn what_is_written_is_read(spec in spec()) {
        let value = serde_json::to_value(&spec).unwrap();
        prop_assert!(schema::validator().is_valid(&value), "{value}");
        prop_assert_eq!(&serde_json::from_value::<AgentSpec>(value.clone()).unwrap(), &spec);
        let text = format!("{:#}", escaped(value));
        match parse(&text, "a.yaml") {
            Ok(read) => prop_assert_eq!(read, spec),
            Err(diagnostics) => prop_assert!(false, "{diagnostics}"),
        }
    }

    #[test]
    fn the_schema_and_the_reader_agree(agent in prop_oneof![altered(), nearly()]) {
        let text = agent.to_string();
        let read = parse(&text, "a.yaml");
        let value = schema::without_nulls(yaml::to_json(&text).unwrap());
        prop_assert_eq!(read.is_ok(), schema::validator().is_valid(&value), "{}: {:?}", value, read);
    }

    #[test]
    fn units_read_what_they_show(value in prop_oneof![1..=u64::MAX, (0..64_u32).prop_map(|bit| 1 << bit)]) {
        prop_assert_eq!(ByteSize(value).to_string().parse(), Ok(ByteSize(value)));
        let span = Span(Duration::from_millis(value));
        prop_assert_eq!(span.to_string().parse(), Ok(span));
    }
}
