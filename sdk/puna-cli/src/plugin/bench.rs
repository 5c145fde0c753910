//! `puna plugin bench`: what a call of a plugin costs on this machine.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use puna::{
    Error, Result, Tool, ToolContext,
    plugins::{HostOptions, PluginHost, Setup},
};
use serde::Serialize;
use serde_json::Value;

use crate::{sessions::print_json, spec::print_line};

/// Calls that are made before any is counted.
const WARM_UP_CALLS: usize = 20;

/// Loads from the cache, of which the median is told.
const READY_LOADS: usize = 5;

/// What was measured.
#[derive(Serialize)]
struct Report {
    /// To read, check and compile the component, and to put the code into the cache.
    compile_ms: f64,
    /// To read and check it, and to take the code from the cache: what every later process waits for.
    ready_ms: f64,
    /// A call with a fresh instance: schemas checked, instance made, function called.
    fresh_us: Spread,
    /// A call with an instance that is used again.
    warm_us: Spread,
    /// How many calls were in flight at once.
    concurrent: usize,
    /// How many of them ran at once.
    slots: usize,
    /// Fresh calls a second, all of them in flight at once.
    calls_per_second: f64,
    /// Calls of those that failed.
    failed: usize,
}

/// Microseconds.
#[derive(Serialize)]
struct Spread {
    median: f64,
    p95: f64,
}

/// How a plugin is measured.
pub(super) struct Bench<'a> {
    pub component: &'a Path,
    pub function: &'a str,
    pub arguments: Value,
    pub setup: Setup,
    pub calls: usize,
    pub concurrent: usize,
    pub slots: usize,
    pub json: bool,
}

/// Measures and prints.
///
/// # Errors
/// Those of loading, and the first failure of a call that is alone.
pub(super) async fn bench(bench: Bench<'_>) -> Result<()> {
    // A cache of its own: compiling is measured.
    let folder = std::env::temp_dir();
    let cache = tempfile::tempdir_in(&folder).map_err(|error| Error::from_io("make", &folder, error))?;
    let options = HostOptions { cache_dir: Some(cache.path().to_owned()), max_concurrent_calls: bench.slots };
    let load = async || {
        let host = PluginHost::new(options.clone())?;
        let started = Instant::now();
        let plugin = host.load(bench.component).await?;
        Ok::<_, Error>((plugin, started.elapsed().as_secs_f64() * 1e3))
    };
    let (_, compile_ms) = load().await?;
    let mut readies = Vec::with_capacity(READY_LOADS);
    let mut loaded = None;
    for _ in 0..READY_LOADS {
        let (plugin, ready_ms) = load().await?;
        readies.push(ready_ms);
        loaded = Some(plugin);
    }
    let plugin = loaded.ok_or_else(|| Error::internal("nothing was loaded"))?;
    readies.sort_by(f64::total_cmp);
    let ready_ms = readies[readies.len() / 2];
    let tool = |reuse| plugin.ready(Setup { reuse, ..bench.setup.clone() })?.tool(bench.function);
    let fresh = tool(0)?;
    let report = Report {
        compile_ms,
        ready_ms,
        fresh_us: alone(&fresh, &bench.arguments, bench.calls).await?,
        warm_us: alone(&tool(u32::MAX)?, &bench.arguments, bench.calls).await?,
        concurrent: bench.concurrent,
        slots: bench.slots,
        calls_per_second: 0.0,
        failed: 0,
    };
    let started = Instant::now();
    let calls = (0..bench.concurrent).map(|_| {
        let (tool, arguments) = (Arc::clone(&fresh), bench.arguments.clone());
        tokio::spawn(async move { tool.call(arguments, &context()).await.is_ok() })
    });
    let mut failed = 0;
    for call in calls.collect::<Vec<_>>() {
        failed += usize::from(!call.await.unwrap_or(false));
    }
    let calls_per_second = bench.concurrent as f64 / started.elapsed().as_secs_f64();
    let report = Report { calls_per_second, failed, ..report };
    if bench.json {
        return print_json(&report);
    }
    let spread = |spread: &Spread| format!("{:>8.1} us median, {:>8.1} us p95", spread.median, spread.p95);
    print_line(&format!("compile      {:>8.1} ms", report.compile_ms))?;
    print_line(&format!("ready        {:>8.1} ms from the cache", report.ready_ms))?;
    print_line(&format!("fresh call   {}", spread(&report.fresh_us)))?;
    print_line(&format!("warm call    {}", spread(&report.warm_us)))?;
    print_line(&format!(
        "concurrent   {:>8.0} calls a second, {} at once over {} slots, {} failed",
        report.calls_per_second, report.concurrent, report.slots, report.failed
    ))
}

/// Calls one after the other.
async fn alone(tool: &Arc<dyn Tool>, arguments: &Value, calls: usize) -> Result<Spread> {
    let mut times = Vec::with_capacity(calls);
    for number in 0..WARM_UP_CALLS + calls.max(1) {
        let arguments = arguments.clone();
        let started = Instant::now();
        tool.call(arguments, &context()).await?;
        if number >= WARM_UP_CALLS {
            times.push(started.elapsed());
        }
    }
    times.sort();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Ok(Spread { median: micros(times[times.len() / 2]), p95: micros(times[times.len() * 95 / 100]) })
}

fn context() -> ToolContext {
    ToolContext::new("bench", "puna-plugin-bench")
}
