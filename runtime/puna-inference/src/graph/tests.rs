//! A cache in a device's memory. The processor's own stands for it, which ONNX Runtime allocates and copies as it does a
//! GPU's.

use std::path::PathBuf;

use super::*;
use crate::ModelFolder;

/// A model's graph, and the place that stands for a device.
fn graph(case: &str) -> (Graph, Place) {
    let runtime = Runtime::get(&|_| ()).expect("ONNX Runtime");
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(case);
    let found = ModelFolder::open(&folder).expect("the model");
    let options = GraphOptions {
        file: &found.graph,
        device: Device::Cpu,
        threads: 1,
        spinning: false,
        context: found.context_length,
        sizes: found.sizes,
        cache: None,
    };
    let place = place_on(&runtime, Device::Cpu, &options).expect("a place");
    (Graph::open(&runtime, options).expect("a graph"), place)
}

/// The logits of steps between which rows are copied, swapped, forgotten, saved and restored, and the cache grows.
fn logits(graph: &mut Graph) -> Vec<f32> {
    let mut all = Vec::new();
    let mut cache = graph.new_cache(3, u64::MAX);
    let mut step = |graph: &mut Graph, cache: &mut Cache, row: usize, tokens: &[u32]| {
        let (room, more) = (cache.is_full(row, tokens.len()), tokens.len());
        if room {
            graph.unbind();
            cache.grow(row, more).expect("room");
        }
        graph.step(cache, row, tokens, Wanted::Last).expect("a step");
        all.extend_from_slice(graph.logits().row(0));
    };
    let tokens: Vec<u32> = (0..40).map(|token| token * 5 % 60).collect();
    step(graph, &mut cache, 0, &tokens[..20]);
    step(graph, &mut cache, 1, &tokens[3..9]);
    cache.copy(0, 2, 15).expect("a copy");
    step(graph, &mut cache, 2, &tokens[20..23]);
    cache.swap(1, 2).expect("a swap");
    step(graph, &mut cache, 1, &tokens[1..2]);
    let saved = cache.read(1, 10).expect("keys and values");
    cache.rewind(0, 4);
    step(graph, &mut cache, 0, &tokens[30..33]);
    cache.write(2, &tokens[..10], &saved).expect("what was saved");
    step(graph, &mut cache, 2, &tokens[10..12]);
    // More than a cache begins with, where the context is as long.
    let most = crate::cache::CACHE_STEP.min(graph.context() - 12);
    let long: Vec<u32> = tokens.iter().copied().cycle().take(most).collect();
    for chunk in long.chunks(64) {
        step(graph, &mut cache, 2, chunk);
    }
    graph.unbind();
    cache.rewind(2, 30);
    cache.shrink().expect("less room");
    graph.step_rows(&mut cache, 0, &[7, 8, 9]).expect("a step of rows");
    (0..3).for_each(|row| all.extend_from_slice(graph.logits().row(row)));
    graph.unbind();
    all
}

#[test]
fn a_devices_memory_holds_what_the_hosts_does() {
    for case in ["../../examples/models/puna-tiny", "tests/references/gemma2/genai-fp32"] {
        for kind in [CacheKind::Shared, CacheKind::Growing] {
            let (mut graph, place) = graph(case);
            assert_eq!(graph.kind, CacheKind::Shared, "{case}");
            graph.kind = kind;
            let expected = logits(&mut graph);
            graph.place = place;
            assert!(logits(&mut graph) == expected, "{case} {kind:?}");
        }
    }
}
