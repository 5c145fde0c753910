//! History that the model summarises.

use std::collections::VecDeque;

use puna_agent::{
    AgentOptions, Conversation, HistoryPolicy, SUMMARY_INSTRUCTIONS, SummaryFallback, SummaryOptions,
};
use puna_core::{
    CancellationToken, ErrorKind, Event, JournalEntry, Message, Record, StopReason, TurnOutcome, Usage,
};

use crate::support::{
    Bench, Death, End, Reply, SESSION, ScriptedModel, answered, collect, outcome, say, transcript,
};

/// Bytes of a turn in the prompt.
const TURN: usize = 20;

/// An agent after `turns` turns, whose summaries are these replies.
fn after(turns: usize, context_length: usize, options: SummaryOptions, summaries: Vec<Reply>) -> Bench {
    let mut model = ScriptedModel::new(&[("last", vec![say("ok")]), ("more", vec![say("ok")])]);
    model.info.context_length = context_length;
    *model.summaries.get_mut().unwrap() = summaries.into();
    let bench = Bench::with(model, |agent: &mut AgentOptions| {
        agent.history = HistoryPolicy::Summarize(options);
        agent.instructions = "be brief".into();
    });
    for number in 0..turns {
        let message = Message::user(format!("question {number:02}"));
        let (turn, agent) = (format!("t{number}"), "tester".to_owned());
        let records = [
            Record::TurnStarted { turn, agent, message, form: Default::default(), user: None },
            Record::Step { message: Message::assistant("an answer"), usage: Usage::default() },
            Record::TurnFinished { outcome: answered("an answer") },
        ];
        bench.journal.write(SESSION, &records);
    }
    bench
}

/// The turns that each summary stands for, and its text.
fn summaries(events: &[Event]) -> Vec<(u32, &str)> {
    let summary = |event| match event {
        &Event::HistorySummarized { turns, ref text, .. } => Some((turns, text.as_str())),
        _ => None,
    };
    events.iter().filter_map(summary).collect()
}

fn options(fallback: SummaryFallback) -> SummaryOptions {
    SummaryOptions { fallback, ..SummaryOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn what_leaves_the_window_is_summarised_once() {
    for turns in 1..30_usize {
        // Room for five turns, and for the summary.
        let context = 400 + 5 * TURN;
        let bench = after(turns, context, SummaryOptions::default(), vec![say("short"); 40]);
        let first = bench.run("last").await;
        assert_eq!(outcome(&first), &answered("ok"), "{turns} turns");
        let shown = transcript(&bench.model.last_messages());
        let fits = 8 + 4 + TURN * turns < context;
        assert_eq!(summaries(&first).is_empty(), fits, "{turns} turns");
        let Some((covered, text)) = summaries(&first).last().copied() else { continue };
        assert_eq!(text, "short");
        // Every turn is in the summary or in the prompt, none in both.
        assert_eq!(shown[0], "system: be brief\n\nwhat was said before, as a summary:\nshort");
        assert_eq!(shown[1], format!("user: question {covered:02}"));
        assert_eq!(shown.len(), 2 + 2 * (turns - covered as usize));
        // The next turn has room without another.
        let second = bench.run("more").await;
        assert_eq!(summaries(&second), [], "{turns} turns");
        assert!(transcript(&bench.model.last_messages())[0].ends_with("short"));
        // Nothing is lost from the journal.
        assert_eq!(bench.messages().await.len(), 2 * (turns + 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_summary_goes_on_from_the_one_before() {
    let bench = after(40, 500, SummaryOptions::default(), (0..40).map(|at| say(&format!("s{at}"))).collect());
    let events = bench.run("last").await;
    let told = summaries(&events);
    assert!(told.len() > 1, "40 turns do not fit into one request: {told:?}");
    assert!(told.windows(2).all(|pair| pair[0].0 < pair[1].0), "{told:?}");
    let requests = bench.model.requests.lock().unwrap().clone();
    let asked: Vec<String> = requests
        .iter()
        .filter(|request| request.messages[0].plain_text() == SUMMARY_INSTRUCTIONS)
        .map(|request| {
            assert_eq!(request.options.max_tokens, Some(125), "a quarter of the context");
            assert!(request.tools.is_empty());
            request.messages[1].plain_text()
        })
        .collect();
    let last = asked.last().expect("a request");
    let before = told[told.len() - 2];
    assert!(last.starts_with(&format!("Summary so far:\n{}\n\nConversation:\n", before.1)), "{last}");
    assert!(last.contains(&format!("User: question {:02}\nAssistant: an answer\n", before.0)), "{last}");
    let provenance: Vec<(u64, String, String)> = bench
        .records()
        .into_iter()
        .filter_map(|record| match record {
            Record::HistorySummarized { turns, through, model, .. } => Some((turns, through, model)),
            _ => None,
        })
        .collect();
    let wanted: Vec<_> = told
        .iter()
        .map(|(turns, _)| (u64::from(*turns), format!("t{}", turns - 1), "scripted".to_owned()))
        .collect();
    assert_eq!(provenance, wanted);
}

#[tokio::test(start_paused = true)]
async fn a_summary_that_fails_is_reported_and_falls_back() {
    let empty = say("  ");
    let broken = Reply { end: End::Error(ErrorKind::Unavailable), ..say("") };
    let nothing = Reply { end: End::Nothing, ..say("half") };
    for (reply, kind) in [(empty, "internal"), (broken, "unavailable"), (nothing, "internal")] {
        for fallback in [SummaryFallback::DropOldestTurns, SummaryFallback::Error] {
            let bench = after(30, 500, options(fallback), vec![reply.clone()]);
            let events = bench.run("last").await;
            let failed = events.iter().filter_map(|event| match event {
                Event::SummaryFailed { kind, .. } => Some(kind.as_str()),
                _ => None,
            });
            assert_eq!(failed.collect::<Vec<_>>(), [kind]);
            let packed = events.iter().any(|event| matches!(event, Event::HistoryPacked { .. }));
            match fallback {
                SummaryFallback::DropOldestTurns => {
                    assert_eq!((outcome(&events), packed), (&answered("ok"), true));
                }
                SummaryFallback::Error => match outcome(&events) {
                    TurnOutcome::Failed { kind: found, message } => {
                        assert_eq!(found, kind);
                        assert!(message.starts_with("the history does not fit and is not summarised: "));
                        assert!(!packed);
                    }
                    other => panic!("{other:?}"),
                },
            }
            assert_eq!(summaries(&events), []);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_too_long_for_a_summary_is_told() {
    let mut model = ScriptedModel::new(&[("last", vec![say("ok")])]);
    model.info.context_length = 600;
    let bench = Bench::with(model, |agent: &mut AgentOptions| {
        agent.history = HistoryPolicy::Summarize(options(SummaryFallback::DropOldestTurns));
    });
    let message = Message::user("x".repeat(596));
    let (turn, agent) = ("long".to_owned(), "tester".to_owned());
    bench.journal.write(
        SESSION,
        &[
            Record::TurnStarted { turn, agent, message, form: Default::default(), user: None },
            Record::Step { message: Message::assistant("yes"), usage: Usage::default() },
            Record::TurnFinished { outcome: answered("yes") },
        ],
    );
    let events = bench.run("last").await;
    assert_eq!(outcome(&events), &answered("ok"));
    let told = events.iter().find_map(|event| match event {
        Event::SummaryFailed { kind, message } => Some((kind.as_str(), message.as_str())),
        _ => None,
    });
    let (kind, message) = told.expect("it is told");
    assert_eq!(kind, "context_overflow");
    assert!(message.starts_with("turn `long` is too long to be summarised"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_cut_summary_is_marked() {
    let cut = Reply { stop: StopReason::MaxTokens, ..say("and so") };
    let bench = after(60, 1_000, SummaryOptions::default(), vec![cut; 10]);
    let events = bench.run("last").await;
    assert!(events.iter().any(|event| matches!(event, Event::HistorySummarized { cut: true, .. })));
    assert_eq!(outcome(&events), &answered("ok"));
}

#[tokio::test(start_paused = true)]
async fn a_summary_is_stopped_as_an_answer_is() {
    let hanging = Reply { end: End::Hang, ..say("") };
    let bench = after(30, 500, SummaryOptions::default(), vec![hanging]);
    let cancel = CancellationToken::new();
    let stream = bench.start("last", &cancel);
    let stop = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        cancel.cancel();
    };
    let (events, ()) = tokio::join!(collect(stream), stop);
    assert_eq!(outcome(&events.expect("a turn")), &TurnOutcome::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_summary_outlives_the_process_that_made_it() {
    let undisturbed = after(60, 1_000, SummaryOptions::default(), vec![say("short"); 20]);
    undisturbed.run("last").await;
    let count = |bench: &Bench| {
        bench.records().iter().filter(|record| matches!(record, Record::HistorySummarized { .. })).count()
    };
    let wanted = count(&undisturbed);
    assert!(wanted > 1, "{wanted}");
    // It dies at each append of the turn, before and after the append is durable.
    for at in 0..wanted + 2 {
        for durable in [false, true] {
            let bench = after(60, 1_000, SummaryOptions::default(), vec![say("short"); 20]);
            bench.journal.die_at(Some(Death { at, durable }));
            let cancel = CancellationToken::new();
            tokio::select! {
                events = collect(bench.start("last", &cancel)) => panic!("it does not die: {events:?}"),
                () = bench.journal.died.notified() => {}
            }
            bench.journal.die_at(None);
            match bench.agent.resume(SESSION, cancel).await.expect("a session") {
                Some(stream) => drop(collect(stream).await.expect("a turn")),
                None if at == 0 => drop(bench.run("last").await),
                None => {}
            }
            let conversation = bench.agent.conversation(SESSION).await.expect("a session");
            assert_eq!(conversation.turns.len(), 61, "at {at}, {durable}");
            assert_eq!(conversation.turns[60].outcome, Some(answered("ok")), "at {at}, {durable}");
            // What is recorded stands for its turns: the rest needs as many summaries or fewer.
            assert!((1..=wanted).contains(&count(&bench)), "at {at}, {durable}: {}", count(&bench));
        }
    }
}

#[test]
fn summaries_of_what_is_not_there_are_corrupt() {
    let started = || Record::TurnStarted {
        turn: "t".to_owned(),
        agent: "a".to_owned(),
        message: Message::user("hi"),
        form: Default::default(),
        user: None,
    };
    let summary = |turns, text: &str| Record::HistorySummarized {
        turns,
        through: "t".to_owned(),
        text: text.to_owned(),
        cut: false,
        model: "m".to_owned(),
        usage: Usage::default(),
    };
    let ended = || Record::TurnFinished { outcome: answered("") };
    let fold = |records: Vec<Record>| {
        let entry = |(sequence, record)| JournalEntry { sequence, at_ms: 0, record };
        let entries: VecDeque<JournalEntry> = (0..).zip(records).map(entry).collect();
        Conversation::fold(entries.as_slices().0)
    };
    for records in [
        vec![summary(1, "s")],
        vec![started(), summary(1, "s")],
        vec![started(), ended(), summary(0, "s")],
        vec![started(), ended(), summary(2, "s")],
        vec![started(), ended(), summary(u64::MAX, "s")],
        vec![started(), ended(), summary(1, "s"), summary(1, "s")],
    ] {
        assert_eq!(fold(records).expect_err("it does not follow").kind(), ErrorKind::Corrupt);
    }
    let kept = fold(vec![started(), ended(), summary(1, "s")]).expect("a session");
    assert_eq!(kept.summary.map(|summary| (summary.turns, summary.text)), Some((1, "s".to_owned())));
    let forgotten = fold(vec![started(), ended(), summary(1, "")]).expect("a session");
    assert_eq!(forgotten.summary, None);
}
