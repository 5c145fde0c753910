//! A graph of near vectors: hierarchical navigable small worlds, after Malkov and Yashunin, Efficient and robust
//! approximate nearest neighbor search using hierarchical navigable small world graphs (2016), algorithms 1 to 5.
//!
//! It holds links alone; the vectors are the index's. Scores are dot products: more is nearer.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use super::{Row, Vectors, dot, visited::Visited};

/// Links of a row in the layers above the lowest; in the lowest twice as many.
const LINKS: usize = 16;
const BASE_LINKS: usize = 2 * LINKS;

/// Links that a row with too many keeps in the lowest layer: not every further link makes the choice again, which takes a
/// third of the time to build away, at the same recall. Above there are few rows, and the links are the way to all others.
const KEPT_BASE_LINKS: usize = BASE_LINKS * 5 / 8;

/// Chosen rows that a candidate is compared with at a time.
const COMPARED: usize = 4;

/// Rows that are held as candidates while a row is added.
const EF_CONSTRUCTION: usize = 128;

/// Rows that are held as candidates in the layers above those that a row is added to or looked for in. With one, as in the
/// paper, 8 of 500 searches among 400,000 vectors of 200 groups, with 64 candidates below, begin in the wrong group and find
/// nothing; with these none, nor among a million.
const EF_ABOVE: usize = 4;

/// The highest layer: one row in `LINKS` to that power is in it, more rows than there can be.
const MAX_LAYER: u8 = 8;

/// Links between rows, by layers.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// Of each row its links in the lowest layer, each `BASE_LINKS` long; `counts` tells how many are used.
    base: Vec<Row>,
    counts: Vec<u8>,
    /// Of each row the highest layer that it is in.
    layers: Vec<u8>,
    /// The links of rows in the layers above, from the first.
    upper: HashMap<Row, Vec<Vec<Row>>>,
    /// Where searches begin: a row of the highest layer.
    entry: Option<Row>,
    visited: Visited,
}

/// A score that can be ordered, with its row.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scored(f32, Row);

impl Eq for Scored {}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scored {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(other.1.cmp(&self.1))
    }
}

/// What adding a row changes: the links of rows in layers. It is good while nothing else changes the graph.
#[derive(Debug)]
pub(crate) struct Plan {
    row: Row,
    links: Vec<(Row, u8, Vec<Row>)>,
}

impl Graph {
    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.counts.len()
    }

    /// How the next row, whose vector is there, is to be linked. This is all the work of adding it.
    pub(crate) fn plan(&self, vectors: &Vectors) -> Plan {
        let row = self.rows() as Row;
        let layer = layer_of(row);
        let mut links = Vec::new();
        if let Some(entry) = self.entry {
            let mut query = Vec::new();
            vectors.get(row, &mut query);
            let top = self.layers[entry as usize];
            let mut near = self.descend(vectors, &query, entry, layer);
            for layer in (0..=layer.min(top)).rev() {
                near = self.search_layer(vectors, &query, &near, EF_CONSTRUCTION, layer, |_| true);
                let chosen = choose(vectors, &near, LINKS);
                for other in &chosen {
                    links.push((*other, layer, self.linked(vectors, *other, row, layer)));
                }
                links.push((row, layer, chosen));
            }
        }
        Plan { row, links }
    }

    /// Adds the next row as it was planned.
    pub(crate) fn apply(&mut self, plan: Plan) {
        let Plan { row, links } = plan;
        assert_eq!(row as usize, self.rows(), "a plan is for the next row");
        let layer = layer_of(row);
        self.base.resize(self.base.len() + BASE_LINKS, 0);
        self.counts.push(0);
        self.layers.push(layer);
        if layer > 0 {
            self.upper.insert(row, vec![Vec::new(); usize::from(layer)]);
        }
        for (row, layer, links) in links {
            self.set_links(row, layer, &links);
        }
        if self.entry.is_none_or(|entry| layer > self.layers[entry as usize]) {
            self.entry = Some(row);
        }
    }

    /// The nearest rows of those that `may` be found, nearest first: more of `k` the more candidates are held.
    pub(crate) fn search(
        &self,
        vectors: &Vectors,
        query: &[f32],
        k: usize,
        candidates: usize,
        may: impl Fn(Row) -> bool,
    ) -> Vec<(Row, f32)> {
        let Some(entry) = self.entry else { return Vec::new() };
        let near = self.descend(vectors, query, entry, 0);
        let found = self.search_layer(vectors, query, &near, candidates.max(k), 0, may);
        found.into_iter().take(k).map(|Scored(score, row)| (row, score)).collect()
    }

    /// Where a search of a layer begins: near rows of the layers above.
    fn descend(&self, vectors: &Vectors, query: &[f32], entry: Row, layer: u8) -> Vec<Scored> {
        let begin = vec![Scored(vectors.dot(query, entry), entry)];
        (layer + 1..=self.layers[entry as usize])
            .rev()
            .fold(begin, |near, layer| self.search_layer(vectors, query, &near, EF_ABOVE, layer, |_| true))
    }

    /// The nearest rows of a layer, nearest first: at most `ef` of those that `may` be found.
    fn search_layer(
        &self,
        vectors: &Vectors,
        query: &[f32],
        entries: &[Scored],
        ef: usize,
        layer: u8,
        may: impl Fn(Row) -> bool,
    ) -> Vec<Scored> {
        let mut seen = self.visited.take(self.rows());
        let mut candidates: BinaryHeap<Scored> = BinaryHeap::with_capacity(ef);
        let mut found: BinaryHeap<Reverse<Scored>> = BinaryHeap::with_capacity(ef + 1);
        for entry in entries {
            if seen.first(entry.1) {
                candidates.push(*entry);
                if may(entry.1) {
                    found.push(Reverse(*entry));
                }
            }
        }
        while found.len() > ef {
            found.pop();
        }
        let mut fresh = Vec::with_capacity(BASE_LINKS);
        let mut scores = [0.0; BASE_LINKS];
        while let Some(candidate) = candidates.pop() {
            let worst = found.peek().map_or(f32::NEG_INFINITY, |worst| worst.0.0);
            if found.len() >= ef && candidate.0 < worst {
                break;
            }
            fresh.clear();
            fresh.extend(self.links(candidate.1, layer).iter().copied().filter(|row| seen.first(*row)));
            let scores = &mut scores[..fresh.len()];
            vectors.gather(query, &fresh, scores);
            for (row, score) in fresh.iter().zip(scores) {
                let scored = Scored(*score, *row);
                let worst = found.peek().map_or(f32::NEG_INFINITY, |worst| worst.0.0);
                if found.len() < ef || scored.0 > worst {
                    candidates.push(scored);
                    if layer == 0 {
                        dot::fetch(&self.base[*row as usize * BASE_LINKS..][..BASE_LINKS]);
                    }
                    if may(*row) {
                        found.push(Reverse(scored));
                        if found.len() > ef {
                            found.pop();
                        }
                    }
                }
            }
        }
        self.visited.give_back(seen);
        let mut found: Vec<Scored> = found.into_iter().map(|Reverse(scored)| scored).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }

    fn links(&self, row: Row, layer: u8) -> &[Row] {
        if layer == 0 {
            let first = row as usize * BASE_LINKS;
            return &self.base[first..first + usize::from(self.counts[row as usize])];
        }
        self.upper.get(&row).and_then(|layers| layers.get(usize::from(layer) - 1)).map_or(&[], Vec::as_slice)
    }

    fn set_links(&mut self, row: Row, layer: u8, links: &[Row]) {
        if layer == 0 {
            let first = row as usize * BASE_LINKS;
            self.base[first..first + links.len()].copy_from_slice(links);
            // At most `BASE_LINKS`.
            self.counts[row as usize] = links.len() as u8;
        } else if let Some(own) = self.upper.get_mut(&row).and_then(|all| all.get_mut(usize::from(layer) - 1))
        {
            links.clone_into(own);
        }
    }

    /// The links of a row with one more; where it has as many as it may, the best are chosen anew.
    fn linked(&self, vectors: &Vectors, row: Row, to: Row, layer: u8) -> Vec<Row> {
        let (most, kept) = if layer == 0 { (BASE_LINKS, KEPT_BASE_LINKS) } else { (LINKS, LINKS) };
        let mut links = self.links(row, layer).to_vec();
        links.push(to);
        if links.len() > most { best_links(vectors, row, &links, kept) } else { links }
    }

    /// These rows alone, in this order, whose vectors are `vectors`. A row that was linked to one that goes is linked to
    /// what that one was linked to, as far as it is near.
    pub(crate) fn packed(&self, vectors: &Vectors, kept: &[Row]) -> Self {
        let mut new = vec![Row::MAX; self.rows()];
        for (to, from) in kept.iter().enumerate() {
            new[*from as usize] = to as Row;
        }
        let place = |row: Row| Some(new[row as usize]).filter(|row| *row != Row::MAX);
        let mut packed = Self {
            base: vec![0; kept.len() * BASE_LINKS],
            counts: vec![0; kept.len()],
            layers: kept.iter().map(|row| self.layers[*row as usize]).collect(),
            ..Self::default()
        };
        for (to, from) in kept.iter().enumerate() {
            let to = to as Row;
            let layers = self.layers[*from as usize];
            if layers > 0 {
                packed.upper.insert(to, vec![Vec::new(); usize::from(layers)]);
            }
            for layer in 0..=layers {
                let most = if layer == 0 { BASE_LINKS } else { LINKS };
                let old = self.links(*from, layer);
                let mut links: Vec<Row> = old.iter().filter_map(|row| place(*row)).collect();
                if links.len() < old.len() {
                    for gone in old.iter().filter(|row| place(**row).is_none()) {
                        let behind = self.links(*gone, layer).iter().filter_map(|row| place(*row));
                        links.extend(behind.filter(|row| *row != to));
                    }
                    links.sort_unstable();
                    links.dedup();
                    links = best_links(vectors, to, &links, most);
                }
                packed.set_links(to, layer, &links);
            }
        }
        packed.entry = packed.highest();
        packed
    }

    /// Of the rows of the highest layer the first.
    fn highest(&self) -> Option<Row> {
        (0..self.rows() as Row).max_by_key(|row| (self.layers[*row as usize], Reverse(*row)))
    }

    /// Bytes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let upper: usize = self.upper.values().map(|layers| layers.len() * (LINKS * 4 + 24) + 40).sum();
        self.base.capacity() * 4 + self.counts.capacity() * 2 + upper
    }

    /// The links as they are kept: of each row, of each layer from the lowest.
    pub(crate) fn parts(&self) -> impl Iterator<Item = impl Iterator<Item = &[Row]>> {
        (0..self.rows() as Row)
            .map(move |row| (0..=self.layers[row as usize]).map(move |layer| self.links(row, layer)))
    }

    /// From what [`parts`](Self::parts) gave; none where it cannot be of a graph.
    pub(crate) fn from_parts(parts: Vec<Vec<Vec<Row>>>) -> Option<Self> {
        let rows = parts.len();
        let mut graph = Self {
            base: vec![0; rows * BASE_LINKS],
            counts: vec![0; rows],
            layers: parts.iter().map(|layers| layers.len().saturating_sub(1) as u8).collect(),
            ..Self::default()
        };
        for (row, layers) in parts.into_iter().enumerate() {
            let row = row as Row;
            if layers.is_empty() || layers.len() > usize::from(MAX_LAYER) + 1 {
                return None;
            }
            if layers.len() > 1 {
                graph.upper.insert(row, vec![Vec::new(); layers.len() - 1]);
            }
            for (layer, links) in layers.iter().enumerate() {
                let most = if layer == 0 { BASE_LINKS } else { LINKS };
                let sound = links
                    .iter()
                    .all(|to| (*to as usize) < rows && graph.layers[*to as usize] as usize >= layer);
                if links.len() > most || !sound {
                    return None;
                }
                graph.set_links(row, layer as u8, links);
            }
        }
        graph.entry = graph.highest();
        Some(graph)
    }
}

/// The best links of a row of some.
fn best_links(vectors: &Vectors, row: Row, links: &[Row], most: usize) -> Vec<Row> {
    let mut query = Vec::new();
    vectors.get(row, &mut query);
    let mut scores = vec![0.0; links.len()];
    vectors.gather(&query, links, &mut scores);
    let mut scored: Vec<Scored> =
        scores.into_iter().zip(links).map(|(score, row)| Scored(score, *row)).collect();
    scored.sort_unstable_by(|a, b| b.cmp(a));
    choose(vectors, &scored, most)
}

/// Of candidates, nearest first, those that are nearer to the row than to any chosen before: links into every direction.
/// What is left fills the rest up.
fn choose(vectors: &Vectors, candidates: &[Scored], most: usize) -> Vec<Row> {
    let mut chosen: Vec<Row> = Vec::with_capacity(most);
    let mut left = Vec::new();
    let mut query = Vec::new();
    let mut scores = [0.0; COMPARED];
    for Scored(score, row) in candidates {
        if chosen.len() == most {
            break;
        }
        vectors.get(*row, &mut query);
        // Most are out by one of the first.
        let free = chosen.chunks(COMPARED).all(|some| {
            let scores = &mut scores[..some.len()];
            vectors.gather(&query, some, scores);
            scores.iter().all(|other| other < score)
        });
        if free { chosen.push(*row) } else { left.push(*row) }
    }
    let room = most - chosen.len();
    chosen.extend(left.into_iter().take(room));
    chosen
}

/// The highest layer of a row: each has one in `LINKS` of the rows of the one below. It follows from the row's number,
/// so that the same rows give the same graph.
fn layer_of(row: Row) -> u8 {
    let mut hash = u64::from(row).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let hash = hash ^ (hash >> 31);
    // Four bits are one in sixteen.
    ((hash.trailing_zeros() / LINKS.ilog2()) as u8).min(MAX_LAYER)
}

#[cfg(test)]
mod tests {
    use super::{super::number::Precision, *};

    const DIMENSION: usize = 24;

    fn vectors(rows: usize) -> Vectors {
        grouped(rows, 1, 0.0)
    }

    /// Vectors around the middles of groups, which lie `apart` times as far out as the vectors around them.
    fn grouped(rows: usize, groups: usize, apart: f32) -> Vectors {
        let mut state = 11_u64;
        let mut next = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
        };
        let middles: Vec<f32> = (0..groups * DIMENSION).map(|_| apart * next()).collect();
        let mut vectors = Vectors::new(DIMENSION, Precision::F16);
        for row in 0..rows {
            let middle = &middles[row % groups * DIMENSION..][..DIMENSION];
            let vector: Vec<f32> = middle.iter().map(|middle| middle + next()).collect();
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vectors.push(&vector.iter().map(|x| x / length).collect::<Vec<_>>());
        }
        vectors
    }

    fn graph(vectors: &Vectors) -> Graph {
        let mut graph = Graph::default();
        while graph.rows() < vectors.rows() {
            graph.apply(graph.plan(vectors));
        }
        graph
    }

    fn query(vectors: &Vectors, row: Row) -> Vec<f32> {
        let mut query = Vec::new();
        vectors.get(row, &mut query);
        query
    }

    /// The share of each row's ten nearest that the graph finds.
    fn recall(graph: &Graph, vectors: &Vectors) -> f64 {
        let (mut found, mut wanted) = (0, 0);
        for row in (0..graph.rows() as Row).step_by(17) {
            let query = query(vectors, row);
            let mut all: Vec<Scored> =
                (0..graph.rows() as Row).map(|row| Scored(vectors.dot(&query, row), row)).collect();
            all.sort_unstable_by(|a, b| b.cmp(a));
            let exact: Vec<Row> = all[..10].iter().map(|scored| scored.1).collect();
            let near = graph.search(vectors, &query, 10, 64, |_| true);
            wanted += exact.len();
            found += near.iter().filter(|(row, _)| exact.contains(row)).count();
        }
        found as f64 / wanted as f64
    }

    fn check_links(graph: &Graph) {
        for layers in graph.parts() {
            for links in layers {
                assert!(links.iter().all(|row| (*row as usize) < graph.rows()));
            }
        }
    }

    /// A search that begins in the wrong group finds nothing of the right one.
    #[test]
    fn groups_far_apart_are_found() {
        let all = grouped(40_000, 200, 6.0);
        let graph = graph(&all);
        let lost = (0..graph.rows() as Row).step_by(9).filter(|row| {
            let found = graph.search(&all, &query(&all, *row), 1, 16, |_| true);
            found[0].0 != *row
        });
        assert_eq!(lost.collect::<Vec<_>>(), Vec::<Row>::new());
    }

    #[test]
    fn what_goes_leaves_a_graph_that_finds() {
        let mut all = vectors(4_000);
        let mut graph = graph(&all);
        assert!(recall(&graph, &all) > 0.98);
        // Again and again, until little is left.
        for round in 0..4 {
            let kept: Vec<Row> = (0..graph.rows() as Row).filter(|row| (row + round) % 3 != 0).collect();
            all = all.packed(&kept);
            let packed = graph.packed(&all, &kept);
            assert_eq!(packed.rows(), kept.len());
            assert!(packed.bytes() < graph.bytes() * 3 / 4);
            check_links(&packed);
            let found = recall(&packed, &all);
            assert!(found > 0.97, "round {round}: {found}");
            graph = packed;
        }
        let empty = graph.packed(&all.packed(&[]), &[]);
        assert!(empty.search(&all, &[0.0; DIMENSION], 3, 9, |_| true).is_empty());
    }

    #[test]
    fn parts_make_the_same_graph() {
        let all = vectors(600);
        let graph = graph(&all);
        let parts = |graph: &Graph| -> Vec<Vec<Vec<Row>>> {
            graph.parts().map(|layers| layers.map(<[Row]>::to_vec).collect()).collect()
        };
        let mut kept = parts(&graph);
        let again = Graph::from_parts(kept.clone()).expect("a graph");
        assert_eq!(parts(&again), kept);
        let query = query(&all, 3);
        let found = |graph: &Graph| graph.search(&all, &query, 10, 64, |_| true);
        assert_eq!(found(&again), found(&graph));
        for wrong in [vec![], vec![vec![600]], vec![vec![0; 40]], vec![vec![]; 20]] {
            kept[5] = wrong;
            assert!(Graph::from_parts(kept.clone()).is_none());
        }
    }
}
