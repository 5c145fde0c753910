//! Many requests at a time, most of which do not wait for their end.
//!
//! ```text
//! cargo run --release -p puna-inference --example stress -- MODEL_FOLDER SECONDS CONCURRENT
//! ```
//!
//! Keeps so many requests going, each with a random prompt and length, and ends some by cancelling, by a deadline or by
//! going away. Prints a line every ten seconds: outcomes, memory, what the engine is doing. Fails when a request has no
//! outcome or two, when one outlives its deadline by much, or when something still runs at the end.

use std::{
    collections::BTreeMap,
    error::Error,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use puna_core::{CancellationToken, ErrorKind, GenerateOptions, ModelEvent};
use puna_inference::{CompletionRequest, LoadOptions, OnnxModel, Runtime};

/// How long after its deadline a request may still be told of it: a step, and others' turns at the processor.
const PATIENCE: Duration = Duration::from_secs(5);

type Outcomes = Arc<Mutex<BTreeMap<String, u64>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, seconds, concurrent] = &arguments[..] else {
        return Err("usage: stress MODEL_FOLDER SECONDS CONCURRENT".into());
    };
    let (seconds, concurrent): (u64, u64) = (seconds.parse()?, concurrent.parse()?);
    let runtime = Runtime::get(&|progress| progress.line().iter().for_each(|line| eprintln!("{line}")))?;
    let model = Arc::new(OnnxModel::load(&runtime, Path::new(folder), LoadOptions::default())?);
    let outcomes = Outcomes::default();
    let began = Instant::now();
    let end = began + Duration::from_secs(seconds);
    let workers: Vec<_> = (0..concurrent)
        .map(|number| tokio::spawn(work(Arc::clone(&model), Arc::clone(&outcomes), number, end)))
        .collect();
    let mut settled = None;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let memory = resident();
        if began.elapsed() >= Duration::from_secs(60) {
            settled.get_or_insert(memory);
        }
        println!("{:>4.0} s  {memory:>5} MiB  {:?}", began.elapsed().as_secs_f64(), model.status());
    }
    for worker in workers {
        worker.await?.map_err(|message| -> Box<dyn Error> { message.into() })?;
    }
    // Who goes away is noticed at the next step.
    let left = Instant::now() + PATIENCE;
    let mut status = model.status();
    while (status.active, status.queued) != (0, 0) && Instant::now() < left {
        tokio::time::sleep(Duration::from_millis(10)).await;
        status = model.status();
    }
    let outcomes = outcomes.lock().map_err(|error| error.to_string())?;
    println!("{outcomes:?}");
    if let Some(settled) = settled {
        println!("memory after a minute {settled} MiB, at the end {} MiB", resident());
    }
    if (status.active, status.queued) != (0, 0) {
        return Err(format!("something still runs: {status:?}").into());
    }
    println!("{} requests, each with one outcome", outcomes.values().sum::<u64>());
    Ok(())
}

/// One request after the other until the end.
async fn work(model: Arc<OnnxModel>, outcomes: Outcomes, number: u64, end: Instant) -> Result<(), String> {
    let mut random = Random(number);
    while Instant::now() < end {
        let vocabulary = model.details().vocabulary as u64;
        let begin = random.below(20);
        // Some begin alike.
        let mut prompt = Vec::new();
        for place in 0..1 + random.below(300) {
            let token = if place < 40 { begin * 50 + place } else { random.below(vocabulary) };
            prompt.push(u32::try_from(token % vocabulary).unwrap_or(0));
        }
        let cancel = CancellationToken::new();
        let way = random.below(4);
        let patience = Duration::from_millis(random.below(3000));
        let deadline = (way == 1).then(|| Instant::now() + patience);
        let request = CompletionRequest {
            prompt,
            options: GenerateOptions {
                max_tokens: Some(1 + u32::try_from(random.below(200)).unwrap_or(0)),
                temperature: Some(if random.below(2) == 0 { 0.0 } else { 1.0 }),
                ..GenerateOptions::default()
            },
            ignore_end: random.below(2) == 0,
            cancel: cancel.clone(),
            deadline,
            ..CompletionRequest::default()
        };
        let outcome = match model.complete(request) {
            Err(error) if error.kind() == ErrorKind::ResourceExhausted => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                "refused".to_owned()
            }
            Err(error) => return Err(format!("not taken: {error}")),
            Ok(mut stream) => {
                let mut ends = Vec::new();
                let mut gone = false;
                let until = Instant::now() + patience;
                loop {
                    let event = if matches!(way, 2 | 3) && !cancel.is_cancelled() {
                        match tokio::time::timeout_at(until.into(), stream.next()).await {
                            Ok(event) => event,
                            Err(_) if way == 2 => {
                                cancel.cancel();
                                continue;
                            }
                            Err(_) => {
                                gone = true;
                                break;
                            }
                        }
                    } else {
                        stream.next().await
                    };
                    match event {
                        Some(Ok(ModelEvent::Finished(completion))) => {
                            ends.push(format!("{:?}", completion.stop))
                        }
                        Some(Ok(_)) => {}
                        Some(Err(error)) => ends.push(error.kind().to_string()),
                        None => break,
                    }
                }
                if deadline.is_some_and(|deadline| Instant::now() > deadline + PATIENCE) {
                    return Err("a request outlived its deadline".to_owned());
                }
                match (&ends[..], gone) {
                    (_, true) => "gone".to_owned(),
                    ([end], false) => end.clone(),
                    (ends, false) => return Err(format!("a request with the outcomes {ends:?}")),
                }
            }
        };
        *outcomes.lock().map_err(|error| error.to_string())?.entry(outcome).or_default() += 1;
    }
    Ok(())
}

/// Enough chance for a mixture: the multiplier is that of Knuth's MMIX generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

/// What the process holds now, in MiB, where Linux tells.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0) / 1024
}
