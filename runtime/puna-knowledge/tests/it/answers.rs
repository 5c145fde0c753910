//! Sources in a prompt, citations in an answer, several retrievers as one, and how rankings are scored.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use proptest::prelude::*;
use puna_core::{Hit, HitPage, Result, Retriever, Span, Verdict};
use puna_knowledge::{
    CharacterMeasure, FusedRetriever, Judgements, Measure, PackPolicy, Source, WordMeasure, check_citations,
    pack, score,
};
use serde_json::{Value, json};

use crate::support::block_on;

fn hit(document: &str, start: u64, text: &str) -> Hit {
    Hit {
        document: document.to_owned(),
        text: text.to_owned(),
        span: Some(Span { start, end: start + text.len() as u64 }),
        score: 1.0,
        metadata: json!({"title": format!("About\n[9] {document}")}).as_object().cloned().unwrap_or_default(),
    }
}

fn sources(texts: &[&str]) -> Vec<Source> {
    texts
        .iter()
        .enumerate()
        .map(|(index, text)| Source { number: index + 1, hit: hit(&format!("d{index}"), 100, text) })
        .collect()
}

#[test]
fn sources_fit_the_budget_and_what_is_left_out_is_told() {
    let hits = [
        hit("a", 0, "One two three."),
        hit("b", 0, "Four five six seven eight. Nine ten."),
        hit("c", 0, "Last."),
    ];
    let whole = pack(&hits, 10, &WordMeasure, PackPolicy::Whole).expect("packed");
    assert_eq!(whole.text, "[1] About [9] a\nOne two three.\n\n");
    assert_eq!((whole.sources.len(), whole.left_out, whole.length), (1, 2, 7));
    let more = pack(&hits, 12, &WordMeasure, PackPolicy::Whole).expect("packed");
    let taken: Vec<&str> = more.sources.iter().map(|source| source.hit.document.as_str()).collect();
    assert_eq!((taken, more.left_out), (vec!["a", "c"], 1));
    let cut = pack(&hits, 16, &WordMeasure, PackPolicy::CutLast).expect("packed");
    assert_eq!(cut.sources[1].hit.text, "Four five six seven eight.");
    assert_eq!(cut.sources[1].hit.span, Some(Span { start: 0, end: 26 }));
    assert!(cut.cut && cut.left_out == 1 && cut.length <= 16, "{cut:?}");
    assert!(pack(&hits, 0, &WordMeasure, PackPolicy::CutLast).expect("packed").sources.is_empty());
}

#[test]
fn markers_and_quotations_are_checked() {
    let sources = sources(&[
        "The llama  hums\nto its “young” one.",
        "Salt is cut in blocks. 라마는 고원에서 노래한다.",
    ]);
    let answer = "It \"hums to its 'young' one\"? No. The text says \"Hums to its\" [1]. And “salt is cut” here. [2] \
                  Also \"cut in blocks\" [1], and 「라마는 고원에서 노래한다」 [2]. It \"sings all night long\" [1][3, 4].";
    let check = check_citations(answer, &sources);
    let numbers: Vec<(usize, bool)> =
        check.markers.iter().map(|marker| (marker.number, marker.document.is_some())).collect();
    assert_eq!(numbers, [(1, true), (2, true), (1, true), (2, true), (1, true), (3, false), (4, false)]);
    let verdicts: Vec<(&str, &str)> = check
        .quotes
        .iter()
        .map(|quote| {
            let verdict = match &quote.verdict {
                Verdict::Found { source: 1, .. } => "in 1",
                Verdict::Found { source: 2, .. } => "in 2",
                Verdict::Misattributed { source: 2 } => "in 2, not 1",
                Verdict::NotFound => "in none",
                other => panic!("{other:?}"),
            };
            (quote.text.as_str(), verdict)
        })
        .collect();
    assert_eq!(
        verdicts,
        [
            ("hums to its 'young' one", "in none"),
            ("Hums to its", "in 1"),
            ("salt is cut", "in 2"),
            ("cut in blocks", "in 2, not 1"),
            ("라마는 고원에서 노래한다", "in 2"),
            ("sings all night long", "in none"),
        ]
    );
    let Verdict::Found { citation, .. } = &check.quotes[1].verdict else { panic!("found") };
    assert_eq!((citation.source.as_str(), citation.quote.as_str()), ("d0", "hums\nto its"));
    assert_eq!(citation.span, Some(Span { start: 111, end: 122 }));
    assert_eq!(check.uncited_sentences, 2);
    assert!(!check.holds());
    assert!(check_citations("The llama hums [1].", &sources).holds());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn any_answer_is_checked(answer in "(\\PC|[\\[\\]\"“”„0-9, .\n]){0,80}", text in "\\PC{0,40}") {
        let sources = sources(&[&text]);
        let check = check_citations(&answer, &sources);
        for marker in &check.markers {
            prop_assert!(answer[marker.span.clone()].starts_with('['));
        }
        for quote in &check.quotes {
            prop_assert_eq!(&answer[quote.span.clone()], &quote.text);
            if let Verdict::Found { citation, .. } = &quote.verdict {
                let span = citation.span.expect("a span");
                prop_assert_eq!(&text[span.start as usize - 100..span.end as usize - 100], &citation.quote);
            }
        }
    }

    /// Whatever a source says, its own words are found in it.
    #[test]
    fn own_words_are_found(
        before in "[a-zÀ-ʯ가-힣ﬁ–' \n]{0,30}",
        words in "[a-zÀ-ʯ가-힣ﬁ]{8}[a-zÀ-ʯ가-힣ﬁ–' \n]{0,20}[a-z]",
    ) {
        let check = check_citations(&format!("It says “{words}” [1]."), &sources(&[&format!("{before}{words} {before}")]));
        prop_assert!(check.holds(), "{check:?}");
    }

    #[test]
    fn packed_sources_keep_the_budget(
        texts in prop::collection::vec("[a-z가-힣. \n]{0,60}", 0..8),
        budget in 0_usize..200,
        cut in any::<bool>(),
    ) {
        let hits: Vec<Hit> = texts.iter().enumerate().map(|(n, text)| hit(&n.to_string(), 0, text)).collect();
        let policy = if cut { PackPolicy::CutLast } else { PackPolicy::Whole };
        let packed = pack(&hits, budget, &CharacterMeasure, policy).expect("packed");
        prop_assert!(packed.length <= budget);
        prop_assert_eq!(CharacterMeasure.length(&packed.text).expect("a length"), packed.length);
        prop_assert_eq!(packed.sources.len() + packed.left_out, hits.len());
        for source in &packed.sources {
            let span = source.hit.span.expect("a span");
            let original = hits.iter().find(|hit| hit.document == source.hit.document).expect("one of them");
            prop_assert_eq!(&original.text[..span.end as usize], &source.hit.text);
        }
    }
}

/// Gives the same each time.
struct Fixed(Vec<Hit>);

#[async_trait]
impl Retriever for Fixed {
    async fn retrieve(&self, _: &str, k: usize, _: &Value, _: Option<&str>) -> Result<HitPage> {
        Ok(HitPage { hits: self.0.iter().take(k).cloned().collect(), next: None })
    }
}

#[test]
fn several_retrievers_are_one() {
    block_on(async {
        let fixed = |names: &[&str]| {
            let hits = names.iter().map(|name| hit(name, 0, name)).collect();
            (Arc::new(Fixed(hits)) as Arc<dyn Retriever>, Value::Null)
        };
        let fused =
            FusedRetriever { retrievers: vec![fixed(&["a", "b", "c"]), fixed(&["d", "b"])], reranker: None };
        let page = fused.retrieve("", 10, &Value::Null, None).await.expect("hits");
        let names: Vec<&str> = page.hits.iter().map(|hit| hit.document.as_str()).collect();
        assert_eq!(names, ["b", "a", "d", "c"]);
        assert_eq!(page.hits[0].score, 2.0 / 62.0);
        let first = fused.retrieve("", 3, &Value::Null, None).await.expect("hits");
        assert_eq!((first.hits.len(), first.next.as_deref()), (3, Some("3")));
        let rest = fused.retrieve("", 3, &Value::Null, first.next.as_deref()).await.expect("hits");
        assert_eq!((rest.hits[0].document.as_str(), rest.next), ("c", None));
    });
}

#[test]
fn rankings_are_scored_by_the_definitions() {
    let relevant = HashMap::from([("a".to_owned(), 2.0), ("b".to_owned(), 1.0), ("c".to_owned(), 1.0)]);
    let ranking: Vec<String> = ["x", "a", "y", "b"].map(str::to_owned).to_vec();
    let scores = score(&ranking, &relevant);
    let log = |n: f64| n.log2();
    let wanted = (2.0 / log(3.0) + 1.0 / log(5.0)) / (2.0 / log(2.0) + 1.0 / log(3.0) + 1.0 / log(4.0));
    assert!((scores.ndcg_10 - wanted).abs() < 1e-12);
    assert!((scores.recall_10 - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!(scores.mrr_10, 0.5);
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    std::fs::create_dir(folder.path().join("qrels")).expect("a folder");
    write("queries.jsonl", "{\"_id\": 1, \"text\": \"q\"}\n");
    write("qrels/test.tsv", "query-id\tcorpus-id\tscore\n1\ta\t1\n1\tb\t0\n");
    let read = Judgements::read(folder.path()).expect("judgements");
    assert_eq!(read.relevant["1"], HashMap::from([("a".to_owned(), 1.0)]));
    write("qrels/test.tsv", "1\ta\t1\n1\tb\n");
    let error = Judgements::read(folder.path()).expect_err("a column is missing");
    assert!(error.to_string().contains("line 2 of `"), "{error}");
}
