use puna_agent::HistoryPolicy;
use puna_core::{Event, TurnOutcome};

use crate::support::{Bench, Reply, SESSION, ScriptedModel, answered, outcome, say, transcript};

/// An agent after `turns` turns of 20 bytes each, with a context of `context_length` bytes from then on.
async fn after(turns: usize, context_length: usize, policy: HistoryPolicy) -> Bench {
    let inputs: Vec<String> = (0..turns).map(|turn| format!("question {turn:02}")).collect();
    let mut script: Vec<(&str, Vec<Reply>)> =
        inputs.iter().map(|input| (input.as_str(), vec![say("an answer")])).collect();
    script.push(("last", vec![say("ok")]));
    let mut model = ScriptedModel::new(&script);
    model.info.context_length = context_length;
    let bench = Bench::with(model, |options| {
        options.history = policy;
        options.instructions = "be brief".into();
    });
    for (number, input) in inputs.iter().enumerate() {
        // Written, not run: these turns fitted a larger model.
        let message = puna_core::Message::user(input);
        let (turn, agent) = (format!("t{number}"), "tester".to_owned());
        let answer = puna_core::Message::assistant("an answer");
        let records = [
            puna_core::Record::TurnStarted { turn, agent, message, form: Default::default(), user: None },
            puna_core::Record::Step { message: answer, usage: Default::default() },
            puna_core::Record::TurnFinished { outcome: answered("an answer") },
        ];
        bench.journal.write(SESSION, &records);
    }
    bench
}

fn packed(events: &[Event]) -> Vec<u32> {
    let dropped = |event: &Event| match event {
        Event::HistoryPacked { dropped_turns } => Some(*dropped_turns),
        _ => None,
    };
    events.iter().filter_map(dropped).collect()
}

#[tokio::test(start_paused = true)]
async fn the_fewest_oldest_turns_are_left_out() {
    // Instructions (8), the question (4) and one token of room are 13; each turn is 20 more.
    for turns in 0..12 {
        for fitting in 0..=turns {
            for spare in [0, 19] {
                let bench = after(turns, 13 + 20 * fitting + spare, HistoryPolicy::default()).await;
                let events = bench.run("last").await;
                assert_eq!(outcome(&events), &answered("ok"));
                let dropped = turns - fitting;
                let expect = if dropped == 0 { vec![] } else { vec![dropped as u32] };
                assert_eq!(packed(&events), expect, "{fitting} of {turns} turns fit");
                let shown = transcript(&bench.model.last_messages());
                assert_eq!(shown.len(), 2 + 2 * fitting);
                assert_eq!(shown[0], "system: be brief");
                if fitting > 0 {
                    assert_eq!(shown[1], format!("user: question {dropped:02}"));
                }
                // The journal keeps everything.
                assert_eq!(bench.messages().await.len(), 2 * (turns + 1));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_does_not_fit_alone_fails() {
    for (turns, context) in [(0, ""), (5, "the turn does not fit even without the turns before it: ")] {
        let bench = after(turns, 12, HistoryPolicy::default()).await;
        let events = bench.run("last").await;
        let (kind, message) = ("context_overflow".to_owned(), format!("{context}12 tokens do not fit"));
        assert_eq!(outcome(&events), &TurnOutcome::Failed { kind, message });
        assert!(packed(&events).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_policy_drops_nothing() {
    let bench = after(2, 50, HistoryPolicy::Error).await;
    let events = bench.run("last").await;
    let (kind, message) = ("context_overflow".to_owned(), "52 tokens do not fit".to_owned());
    assert_eq!(outcome(&events), &TurnOutcome::Failed { kind, message });
}
