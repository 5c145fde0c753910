//! What one call of a tool costs: the same echo, written in Rust, as a Puna plugin, as an Extism plugin and as a tool of
//! an MCP server over stdio. Calls are made one after the other, in rounds that take turns; the medians are printed, and
//! their ratios.

mod mcp;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use extism::{CompiledPlugin, Plugin, PluginBuilder, Wasm};
use jsonschema::Validator;
use puna_core::{Error, Result, Tool, ToolContext};
use puna_plugins::{BuildOptions, HostOptions, PluginHost, Setup};
use serde_json::{Value, json};

/// The argument that makes this program the MCP server.
const SERVE: &str = "serve";

/// Rounds of every kind of call, which take turns so that a slow moment of the machine meets all of them.
const ROUNDS: usize = 10;

/// Calls in a round.
const CALLS: usize = 500;

/// Length of the text that is said: that of a short page.
const TEXT_BYTES: usize = 1_000;

#[tokio::main]
async fn main() -> Result<()> {
    if env::args().nth(1).as_deref() == Some(SERVE) {
        return mcp::serve().await;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let puna = puna(folder).await?;
    let (fresh, warm) = puna;
    let compiled = extism(folder)?;
    let client = mcp::Client::start().await?;
    let schema = jsonschema::validator_for(&fresh.schema().parameters).map_err(other)?;
    let said = json!({"text": "x".repeat(TEXT_BYTES)});

    let mut kept = Plugin::new_from_compiled(&compiled).map_err(other)?;
    let mut times: [Vec<Duration>; 7] = Default::default();
    for _ in 0..ROUNDS {
        let mut row = times.iter_mut();
        let mut next = || row.next().expect("as many rows as kinds of calls");
        let (times, context) = (next(), ToolContext::new("call", "bench"));
        for _ in 0..CALLS {
            time(times, &said, async || fresh.call(said.clone(), &context).await.map_err(Error::from)).await?;
        }
        let times = next();
        for _ in 0..CALLS {
            time(times, &said, async || warm.call(said.clone(), &context).await.map_err(Error::from)).await?;
        }
        let times = next();
        for _ in 0..CALLS {
            time(times, &said, async || {
                let mut plugin = Plugin::new_from_compiled(&compiled).map_err(other)?;
                call(&mut plugin, &said, Some(&schema))
            })
            .await?;
        }
        let times = next();
        for _ in 0..CALLS {
            let begun = Instant::now();
            let answer = call(&mut kept, &said, Some(&schema))?;
            times.push(begun.elapsed());
            check(&answer, &said)?;
        }
        let times = next();
        for _ in 0..CALLS {
            let begun = Instant::now();
            let answer = call(&mut kept, &said, None)?;
            times.push(begun.elapsed());
            check(&answer, &said)?;
        }
        let times = next();
        for _ in 0..CALLS {
            time(times, &said, async || client.call(&said).await).await?;
        }
        let times = next();
        for _ in 0..CALLS {
            time(times, &said, async || {
                is_valid(&schema, &said)?;
                let answer = client.call(&said).await?;
                is_valid(&schema, &answer)?;
                Ok(answer)
            })
            .await?;
        }
    }
    print(times);
    Ok(())
}

/// The plugin with a fresh instance for each call, and with one that is used again.
async fn puna(folder: &Path) -> Result<(Arc<dyn Tool>, Arc<dyn Tool>)> {
    let report = puna_plugins::build(&folder.join("echo"), &BuildOptions::default())?;
    let host = PluginHost::new(HostOptions::default())?;
    let plugin = host.load(&report.component).await?;
    let tool = |reuse| Ok::<_, Error>(plugin.ready(Setup { reuse, ..Setup::default() })?.tools()?.remove(0));
    Ok((tool(0)?, tool(u32::MAX)?))
}

fn extism(folder: &Path) -> Result<CompiledPlugin> {
    let module = extism_module(&folder.join("extism-echo"))?;
    let manifest = extism::Manifest::new([Wasm::data(fs::read(module).map_err(other)?)]);
    CompiledPlugin::new(PluginBuilder::new(manifest).with_wasi(false)).map_err(other)
}

/// Builds Extism's guest with what builds Puna's: Rust's own target, or Debian's.
fn extism_module(folder: &Path) -> Result<PathBuf> {
    const TARGET: &str = "wasm32-unknown-unknown";
    let build = |cargo: &str, from_source: bool| {
        let mut command = Command::new(cargo);
        command.args(["build", "--release", "--target", TARGET]).current_dir(folder);
        if from_source {
            command
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", "/usr/bin/rustc")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "/usr/bin/wasm-ld-19");
        }
        command.status().is_ok_and(|status| status.success())
    };
    // The first fails at once where the target's library is missing.
    if build("cargo", false) || build("/usr/bin/cargo", true) {
        return Ok(folder.join("target").join(TARGET).join("release/extism_echo.wasm"));
    }
    Err(Error::internal("Extism's guest does not build: `rustup target add wasm32-unknown-unknown`"))
}

/// One call of Extism's guest, in JSON values as an agent has them, held against the schema where one is given.
fn call(plugin: &mut Plugin, said: &Value, schema: Option<&Validator>) -> Result<Value> {
    if let Some(schema) = schema {
        is_valid(schema, said)?;
    }
    let answer: String = plugin.call("echo", said.to_string()).map_err(other)?;
    let answer = serde_json::from_str(&answer).map_err(other)?;
    if let Some(schema) = schema {
        is_valid(schema, &answer)?;
    }
    Ok(answer)
}

fn is_valid(schema: &Validator, value: &Value) -> Result<()> {
    schema.validate(value).map_err(|error| Error::internal(error.to_string()))
}

async fn time(
    times: &mut Vec<Duration>,
    said: &Value,
    call: impl AsyncFnOnce() -> Result<Value>,
) -> Result<()> {
    let begun = Instant::now();
    let answer = call().await?;
    times.push(begun.elapsed());
    check(&answer, said)
}

fn check(answer: &Value, said: &Value) -> Result<()> {
    if answer == said { Ok(()) } else { Err(Error::internal(format!("the echo of `{said}` is `{answer}`"))) }
}

fn print(times: [Vec<Duration>; 7]) {
    let medians = times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e6
    });
    let [fresh, warm, extism_fresh, extism_checked, extism_bare, mcp, mcp_checked] = medians;
    println!("{:<44} {:>9} {:>9} {:>9}", "one call, 1 kB echo", "median us", "to fresh", "to warm");
    for (name, median) in [
        ("puna, fresh instance, validated", fresh),
        ("puna, warm instance, validated", warm),
        ("extism, fresh instance, validated by the host", extism_fresh),
        ("extism, warm instance, validated by the host", extism_checked),
        ("extism, warm instance, not validated", extism_bare),
        ("MCP over stdio (rmcp), not validated", mcp),
        ("MCP over stdio (rmcp), validated by the host", mcp_checked),
    ] {
        println!("{name:<44} {median:>9.1} {:>9.2} {:>9.2}", median / fresh, median / warm);
    }
}

fn other(error: impl std::fmt::Display) -> Error {
    Error::internal(error.to_string())
}
