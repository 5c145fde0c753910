//! `puna plugin dev`: a plugin that is built and tested again whenever its source changes, and lent to an agent meanwhile.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use puna::{
    AgentSpec, Error, Result, Stack,
    plugins::{BuildOptions, LivePlugin},
};
use tokio::sync::Mutex;

use super::test::{CASES_FILE, judge_all, run_cases};
use crate::{
    args::{ChatArgs, DevArgs},
    chat, exit, run,
};

/// How often the source is looked at: soon for a person, nothing for the machine.
const PAUSE: Duration = Duration::from_millis(300);

/// What the source looks like: each file with its length and when it was written.
type Look = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// The plugin that an agent has, and whether its tools present themselves otherwise than the agent knows them.
#[derive(Clone)]
struct Lent {
    /// Held while an agent is built, so that no component is put into a plugin that is about to be left.
    plugin: Arc<Mutex<LivePlugin>>,
    changed: Arc<AtomicBool>,
}

/// Builds, tests and builds again until Ctrl-C, or until the chat with an agent ends.
///
/// # Errors
/// Those of the agent's file and, where there is an agent, of the first build: later ones are shown, and mended by the
/// next change.
pub(super) async fn dev(args: DevArgs) -> Result<()> {
    let DevArgs { folder, agent, session, data, form } = args;
    let stack = run::open_stack(data.data.clone())?;
    let seen = look(&folder);
    let built = build_and_test(&stack, &folder).await;
    let Some(agent) = agent else {
        report(built.map(|_| ()));
        tokio::select! {
            () = watch(&stack, &folder, seen, None) => {}
            // The way out.
            _ = tokio::signal::ctrl_c() => {}
        }
        return Ok(());
    };
    let component = built?;
    let mut spec = AgentSpec::from_file(&agent)?;
    form.clone().apply(&mut spec);
    let (agent_of_file, live) = chat::builder(&stack, &spec).build_live(&component).await?;
    let lent = Lent { plugin: Arc::new(Mutex::new(live)), changed: Arc::default() };
    let watching = tokio::spawn({
        let (stack, lent) = (stack.clone(), lent.clone());
        async move { watch(&stack, &folder, seen, Some(&lent)).await }
    });
    let args = ChatArgs { agent, session, user: None, save_files: None, data, form };
    let result = chat::converse(&stack, &spec, &args, agent_of_file, async || {
        if !lent.changed.swap(false, Ordering::AcqRel) {
            return Ok(None);
        }
        // The model is told of the tools as they are now.
        let mut plugin = lent.plugin.lock().await;
        let (agent, live) = chat::builder(&stack, &spec).build_live(&component).await?;
        *plugin = live;
        Ok(Some(agent))
    });
    let result = result.await;
    watching.abort();
    result
}

/// Builds and tests whenever the source looks different.
async fn watch(stack: &Stack, folder: &Path, mut seen: Look, lent: Option<&Lent>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let now = look(folder);
        if now == seen {
            continue;
        }
        seen = now;
        let renew = async {
            let component = build_and_test(stack, folder).await?;
            let Some(lent) = lent else { return Ok(()) };
            let new = stack.plugins().load(&component).await?;
            if !lent.plugin.lock().await.replace(&new)? {
                lent.changed.store(true, Ordering::Release);
            }
            anstream::eprintln!("the agent's next call goes to the new component");
            Ok(())
        };
        report(renew.await);
    }
}

/// Gives the component, whose cases pass.
async fn build_and_test(stack: &Stack, folder: &Path) -> Result<PathBuf> {
    let owned = folder.to_owned();
    let built = tokio::task::spawn_blocking(move || puna::plugins::build(&owned, &BuildOptions::default()))
        .await
        .map_err(|error| Error::internal("the build broke").with_source(error))??;
    anstream::eprintln!("built {}", built.component.display());
    if folder.join(CASES_FILE).exists() {
        let outcomes = run_cases(stack, folder, Some(&built.component)).await?;
        for failed in outcomes.iter().filter(|outcome| !outcome.passed) {
            anstream::eprintln!("{}", failed.line());
        }
        judge_all(&outcomes)?;
        anstream::eprintln!("{} cases passed", outcomes.len());
    }
    Ok(built.component)
}

/// Shows what is wrong; the next change mends it.
fn report(result: Result<()>) {
    if let Err(error) = result {
        // The exit code is for scripts.
        let _ = exit::report(&error);
    }
}

/// What the source looks like now. With a `plugin.toml` that is not sound, that file and the cases alone.
fn look(folder: &Path) -> Look {
    let mut files = puna::plugins::source_files(folder).unwrap_or_default();
    files.extend([CASES_FILE.to_owned(), "plugin.toml".to_owned()]);
    let look = |file: String| {
        let path = folder.join(file);
        let metadata = fs::metadata(&path).ok()?;
        Some((path, metadata.len(), metadata.modified().ok()))
    };
    files.into_iter().filter_map(look).collect()
}
