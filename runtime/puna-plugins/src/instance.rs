//! Running a guest: an instance, the bounds around it, and why it ended.

use std::{fmt, sync::PoisonError, time::Duration};

use puna_core::{ToolError, ToolErrorKind, ToolReports};
use wasmtime::{Store, Trap, UpdateDeadline};

use crate::{
    MAX_CALL_DEPTH,
    contract::bindings::puna::plugin::types,
    guest::{GuestState, Metered, scrub, tool_error},
    plugin::Ready,
    turns::Kept,
};

/// What a result may hold beside its text when it is copied out of the guest: the records around it.
const RESULT_OVERHEAD_BYTES: usize = 64 << 10;

/// Most bytes that a guest hands over in one crossing, where its result may not be longer: a request with its body,
/// changes of the store, a file.
const MAX_CROSSING_BYTES: usize = 6 << 20;

tokio::task_local! {
    /// How many calls the present one is inside of.
    static DEPTH: u32;
}

/// An instance of a plugin.
pub struct Instance {
    pub store: Store<GuestState>,
    pub instance: wasmtime::component::Instance,
    /// How often it may still be used.
    left: u32,
    /// Its room while it is kept.
    kept: Option<Kept>,
}

/// What a guest's function gives: a trap, its own error, or a value.
pub type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

/// Processor time ran out.
#[derive(Debug)]
struct CpuExhausted;

impl fmt::Display for CpuExhausted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the processor time is used up")
    }
}

impl std::error::Error for CpuExhausted {}

impl Ready {
    /// Performs one call on a fresh instance or one that is used again, within the call's limits. The wait for a turn
    /// is the caller's.
    pub async fn call<T, F: Future<Output = (Instance, Answer<T>)>>(
        &self,
        function: &str,
        reports: ToolReports,
        work: impl FnOnce(Instance) -> F,
    ) -> Result<T, ToolError> {
        let depth = self.depth(function)?;
        let _turn = self.loaded.turns.take().await;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut slot = None;
        let fresh = async {
            match idle {
                Some(idle) => Ok(idle),
                None => self.instantiate().await,
            }
        };
        let outcome = self.bounded(function, depth, fresh, &mut slot, reports, work).await;
        if outcome.is_ok()
            && let Some(instance) = slot
        {
            self.keep(instance);
        }
        outcome
    }

    /// Begins something that outlives a call: the instance is the caller's.
    pub async fn begin<T, F: Future<Output = (Instance, Answer<T>)>>(
        &self,
        function: &str,
        work: impl FnOnce(Instance) -> F,
    ) -> Result<(Instance, T), ToolError> {
        let depth = self.depth(function)?;
        let kept = self.loaded.turns.keep().await;
        let _ticking = self.loaded.turns.ticking();
        let mut slot = None;
        let fresh = self.instantiate();
        let outcome = self.bounded(function, depth, fresh, &mut slot, ToolReports::default(), work).await?;
        match slot {
            Some(mut instance) => {
                instance.kept = Some(kept);
                Ok((instance, outcome))
            }
            None => Err(ToolError::new(ToolErrorKind::Internal, "the instance is lost")),
        }
    }

    /// Goes on with what [`Ready::begin`] began. After an error the instance is not to be used again.
    pub async fn go_on<T, F: Future<Output = (Instance, Answer<T>)>>(
        &self,
        function: &str,
        instance: Instance,
        work: impl FnOnce(Instance) -> F,
    ) -> Result<(Instance, T), ToolError> {
        let depth = self.depth(function)?;
        let _ticking = self.loaded.turns.ticking();
        let mut slot = None;
        let ready = async { Ok(instance) };
        let outcome = self.bounded(function, depth, ready, &mut slot, ToolReports::default(), work).await?;
        slot.map(|instance| (instance, outcome))
            .ok_or_else(|| ToolError::new(ToolErrorKind::Internal, "the instance is lost"))
    }

    fn depth(&self, function: &str) -> Result<u32, ToolError> {
        let depth = DEPTH.try_with(|depth| *depth).unwrap_or(0) + 1;
        if depth > MAX_CALL_DEPTH {
            return Err(ToolError::new(
                ToolErrorKind::Denied,
                format!(
                    "{} is inside {MAX_CALL_DEPTH} other calls; no more may be nested",
                    self.who(function)
                ),
            ));
        }
        Ok(depth)
    }

    async fn instantiate(&self) -> wasmtime::Result<Instance> {
        let (loaded, limits) = (&self.loaded, &self.prepared.limits);
        let state = GuestState::new(loaded.name.clone(), self.prepared.clone());
        let mut store = Store::new(loaded.pre.engine(), state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(
            limits.result_bytes.saturating_add(RESULT_OVERHEAD_BYTES).max(MAX_CROSSING_BYTES),
        );
        store.set_epoch_deadline(1);
        let most = Duration::from_millis(limits.cpu_ms);
        store.epoch_deadline_callback(move |context| {
            if context.data().cpu.spent() > most {
                return Err(wasmtime::Error::new(CpuExhausted));
            }
            Ok(UpdateDeadline::Yield(1))
        });
        let result = loaded.pre.instantiate_async(&mut store).await;
        match result {
            Ok(instance) => Ok(Instance { store, instance, left: self.reuse, kept: None }),
            Err(error) if store.data().memory.refused => Err(error.context(MemoryRefused)),
            Err(error) => Err(error),
        }
    }

    /// Instantiates and works within wall and processor time, and explains what went wrong. On success the instance
    /// lies in `slot`.
    async fn bounded<T, F: Future<Output = (Instance, Answer<T>)>>(
        &self,
        function: &str,
        depth: u32,
        instance: impl Future<Output = wasmtime::Result<Instance>>,
        slot: &mut Option<Instance>,
        reports: ToolReports,
        work: impl FnOnce(Instance) -> F,
    ) -> Result<T, ToolError> {
        let limits = &self.prepared.limits;
        // Around both: the start functions of a component run while it is instantiated.
        let whole = async {
            let mut instance = instance.await?;
            instance.store.data_mut().begin(reports);
            let cpu = instance.store.data().cpu.clone();
            let (instance, answer) = Metered::new(cpu, work(instance)).await;
            match answer {
                Ok(answer) => {
                    *slot = Some(instance);
                    Ok(answer)
                }
                Err(error) if instance.store.data().memory.refused => Err(error.context(MemoryRefused)),
                Err(error) => Err(error),
            }
        };
        match tokio::time::timeout(limits.time(), DEPTH.scope(depth, whole)).await {
            Ok(Ok(answer)) => answer.map_err(tool_error),
            Ok(Err(error)) => Err(self.broken(function, &error)),
            Err(_) => Err(ToolError::new(
                ToolErrorKind::Timeout,
                format!("{} took longer than {} ms", self.who(function), limits.time_ms),
            )),
        }
    }

    fn keep(&self, mut instance: Instance) {
        if instance.left == 0 {
            return;
        }
        instance.left -= 1;
        if instance.kept.is_none() {
            instance.kept = self.loaded.turns.try_keep();
        }
        if instance.kept.is_some() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
        }
    }

    /// Why a guest ended without an answer.
    fn broken(&self, function: &str, error: &wasmtime::Error) -> ToolError {
        let report = format!("{error:#}");
        tracing::debug!(report, "the guest broke");
        let (who, limits) = (self.who(function), &self.prepared.limits);
        if error.is::<MemoryRefused>() {
            return ToolError::new(
                ToolErrorKind::TooLarge,
                format!("{who} wanted more memory than {} bytes", limits.memory_bytes),
            );
        }
        if error.chain().any(|cause| cause.is::<CpuExhausted>()) {
            return ToolError::new(
                ToolErrorKind::Timeout,
                format!("{who} used more than {} ms of processor time", limits.cpu_ms),
            );
        }
        // The engine's type for this one is private.
        if report.contains("fuel allocated for hostcalls has been exhausted") {
            return ToolError::new(
                ToolErrorKind::TooLarge,
                format!("{who} handed over more than {} bytes", limits.result_bytes),
            );
        }
        if error.chain().any(|cause| cause.is::<std::str::Utf8Error>()) {
            return ToolError::new(ToolErrorKind::InvalidOutput, format!("{who} gave text that is no UTF-8"));
        }
        let reason = match error.downcast_ref::<Trap>() {
            Some(trap) => trap.to_string(),
            None => error.root_cause().to_string(),
        };
        ToolError::new(ToolErrorKind::Internal, format!("{who} broke: {}", scrub(&reason, 300)))
    }

    pub fn who(&self, function: &str) -> String {
        format!("`{function}` of plugin `{}`", self.loaded.name)
    }
}

/// The guest was refused memory before it ended.
#[derive(Debug)]
struct MemoryRefused;

impl fmt::Display for MemoryRefused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("it was refused memory")
    }
}

impl std::error::Error for MemoryRefused {}
