//! A host that is killed in the middle of its turns, again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use async_trait::async_trait;
use puna::{
    Agent, AgentSpec, CancellationToken, EventStream, Message, Stack, Tool, ToolContext, ToolError,
    ToolSchema, plugins::Setup,
};
use serde_json::Value;

use crate::support::{CONCIERGE, Puna, json_lines, root};

/// How often the host is killed; more with `PUNA_KILL_CYCLES`.
const CYCLES: usize = 12;

/// Kills within one session: each costs as much as the session has, and a new one begins empty.
const SESSION_CYCLES: usize = 10;

/// Names the host's folder; set by the test for the process that it kills.
const FOLDER: &str = "PUNA_TEST_HOST_FOLDER";

/// Names the host's session.
const SESSION: &str = "PUNA_TEST_HOST_SESSION";

/// The calculator, telling a file of every call that it performs.
struct Recorded {
    tool: Arc<dyn Tool>,
    log: PathBuf,
}

#[async_trait]
impl Tool for Recorded {
    fn schema(&self) -> &ToolSchema {
        self.tool.schema()
    }

    async fn call(&self, arguments: Value, context: &ToolContext) -> Result<Value, ToolError> {
        let mut log = OpenOptions::new().create(true).append(true).open(&self.log).expect("the log");
        writeln!(log, "{arguments}").and_then(|()| log.sync_all()).expect("the log is writable");
        // Time for a kill between the effect and its record.
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.tool.call(arguments, context).await
    }
}

/// The process that is killed: goes on with what was cut off, then asks one question after the other.
/// On its own it has nothing to do.
#[test]
fn host() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let session = std::env::var(SESSION).expect("set with the folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stack = Stack::builder().data_dir(folder.join("data")).build().expect("a stack");
        let mut spec = AgentSpec::from_file(root().join(CONCIERGE)).expect("the agent");
        let calculator = spec.tools.remove(0);
        let plugin = stack.plugins().load(&calculator.plugin).await.expect("the calculator");
        let mut agent = stack.agent(spec);
        let calculator = plugin.ready(Setup::default()).expect("a plugin that needs nothing");
        for tool in calculator.tools().expect("tools") {
            agent = agent.tool(Arc::new(Recorded { tool, log: folder.join(format!("log-{session}")) }));
        }
        let agent = agent.build().await.expect("the agent");
        if let Some(events) = agent.resume(&session, CancellationToken::new()).await.expect("the journal") {
            print(events).await;
        }
        for number in answered(&agent, &session).await.. {
            let question = format!("What is {} times 7?", 1000 + number);
            print(agent.run(&session, Message::user(question), Default::default())).await;
        }
    });
}

async fn answered(agent: &Agent, session: &str) -> usize {
    agent.conversation(session).await.expect("the journal").turns.len()
}

/// Prints events as lines: what is printed is acknowledged.
async fn print(mut events: EventStream) {
    while let Some(event) = events.next().await {
        let event = event.expect("no errors");
        println!("{}", serde_json::to_string(&event).expect("JSON"));
    }
}

/// A turn of the journal.
#[derive(Default)]
struct Turn {
    question: String,
    /// The arguments of each call with a result.
    finished: Vec<String>,
    answer: Option<String>,
}

#[test]
fn a_killed_host_goes_on_and_repeats_no_finished_call() {
    let cycles =
        std::env::var("PUNA_KILL_CYCLES").ok().map_or(CYCLES, |text| text.parse().expect("a number"));
    let puna = Puna::new();
    // A number that looks random, and is the same in every run.
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut sum = Survived::default();
    for first in (0..cycles).step_by(SESSION_CYCLES) {
        let (session, kills) = (format!("killed-{first}"), SESSION_CYCLES.min(cycles - first));
        let survived = kill_and_check(&puna, &session, kills, &mut random);
        // The next hosts have the folder to themselves, as after a long time.
        puna.ok(&["store", "compact"]);
        assert_eq!(turns(&puna, &session).len(), survived.turns, "a compaction lost a turn");
        sum.turns += survived.turns;
        sum.right += survived.right;
        sum.calls += survived.calls;
    }
    assert!(sum.turns >= cycles / 4, "only {} turns were begun", sum.turns);
    let Survived { turns, right, calls } = sum;
    println!("{cycles} kills: {turns} turns, {right} answered rightly, {calls} calls acknowledged");
}

/// What was there after kills.
#[derive(Default)]
struct Survived {
    turns: usize,
    /// Turns whose answer is right.
    right: usize,
    /// Calls whose result was acknowledged.
    calls: usize,
}

/// Kills hosts in the midst of one session's turns.
fn kill_and_check(puna: &Puna, session: &str, kills: usize, random: &mut impl FnMut(u64) -> u64) -> Survived {
    let log = || fs::read_to_string(puna.path(&format!("log-{session}"))).unwrap_or_default();
    // How often each call had been performed when its result was acknowledged.
    let mut performed: BTreeMap<String, usize> = BTreeMap::new();
    let mut told = Told::default();
    for _ in 0..kills {
        let mut host = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "kill::host", "--nocapture"])
            .env(FOLDER, puna.folder.path())
            .env(SESSION, session)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the host runs");
        let mut lines = BufReader::new(host.stdout.take().expect("piped")).lines();
        let read = |host_lines: &mut std::io::Lines<_>| -> Option<Value> {
            loop {
                let line = host_lines.next()?.ok()?;
                if let Some(start) = line.find("{\"event\"") {
                    return serde_json::from_str(&line[start..]).ok();
                }
            }
        };
        // After so many events, and a little more, since work goes on between events.
        for _ in 0..1 + random(60) {
            told.hear(&read(&mut lines).expect("the host asks without end"));
        }
        thread::sleep(Duration::from_micros(random(20_000)));
        host.kill().expect("the host runs");
        host.wait().expect("the host is dead");
        while let Some(event) = read(&mut lines) {
            told.hear(&event);
        }
        told.started.clear();
        let log = log();
        for call in &told.finished {
            performed.entry(call.clone()).or_insert_with(|| count(&log, call));
        }
        // What was acknowledged is in the journal, which a reader that was never killed opens.
        let turns = turns(puna, session);
        for call in &told.finished {
            assert!(turns.iter().any(|turn| turn.finished.contains(call)), "the result of {call} is lost");
        }
    }
    let log = log();
    for (call, times) in &performed {
        assert_eq!(count(&log, call), *times, "{call} was performed again after its result was acknowledged");
    }
    let turns = turns(puna, session);
    for (number, turn) in turns.iter().enumerate() {
        assert_eq!(
            turn.question,
            format!("What is {} times 7?", 1000 + number),
            "every question once, in order"
        );
    }
    // All but the last, which the last kill cut off, were answered.
    assert!(turns.iter().rev().skip(1).all(|turn| turn.answer.is_some()), "a turn was left unfinished");
    let right = |(number, turn): (usize, &Turn)| {
        turn.answer.as_ref().is_some_and(|answer| answer.contains(&((1000 + number) * 7).to_string()))
    };
    let right = turns.iter().enumerate().filter(|pair| right((pair.0, pair.1))).count();
    Survived { turns: turns.len(), right, calls: performed.len() }
}

/// What the hosts have told, and so must never be lost.
#[derive(Default)]
struct Told {
    /// The arguments of the calls that this host has started, by id.
    started: BTreeMap<String, String>,
    /// The arguments of the calls whose result was told.
    finished: BTreeSet<String>,
}

impl Told {
    fn hear(&mut self, event: &Value) {
        match event["event"].as_str() {
            Some("tool_started") => {
                let call = &event["call"];
                self.started.insert(call["id"].to_string(), call["arguments"].to_string());
            }
            Some("tool_finished") => {
                let id = event["result"]["call_id"].to_string();
                self.finished.insert(self.started.remove(&id).expect("a result after its call"));
            }
            _ => {}
        }
    }
}

fn count(log: &str, call: &str) -> usize {
    log.lines().filter(|line| *line == call).count()
}

/// The session as a later process finds it.
fn turns(puna: &Puna, session: &str) -> Vec<Turn> {
    let exported = json_lines(&puna.ok(&["sessions", "export", session]));
    let mut turns: Vec<Turn> = Vec::new();
    let mut calls: BTreeMap<String, String> = BTreeMap::new();
    for line in &exported[1..] {
        let record = &line["record"];
        match record["record"].as_str() {
            Some("turn_started") => turns.push(Turn {
                question: record["message"]["content"][0]["text"].as_str().unwrap_or_default().to_owned(),
                ..Turn::default()
            }),
            Some("step") => {
                for part in record["message"]["content"].as_array().into_iter().flatten() {
                    if part["type"] == "tool_call" {
                        calls.insert(part["id"].to_string(), part["arguments"].to_string());
                    }
                }
            }
            Some("tool_finished") => {
                let id = record["result"]["call_id"].to_string();
                let call = calls.get(&id).unwrap_or_else(|| panic!("a result for no call: {record}"));
                turns.last_mut().expect("a turn").finished.push(call.clone());
            }
            Some("turn_finished") => {
                let answer = record["outcome"]["text"].as_str().unwrap_or_default().to_owned();
                turns.last_mut().expect("a turn").answer = Some(answer);
            }
            other => panic!("an unknown record {other:?}"),
        }
    }
    turns
}
