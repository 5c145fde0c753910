//! The vector index with many vectors: the graph finds what the scan finds.

use std::collections::HashSet;

use puna_knowledge::{Metric, NearestVectors, Precision, Scan};

const DIMENSION: usize = 32;

/// Numbers that follow from a seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    /// Vectors in clouds, as embeddings of texts are.
    fn vectors(&mut self, count: usize) -> Vec<Vec<f32>> {
        let centres: Vec<Vec<f32>> = (0..50).map(|_| (0..DIMENSION).map(|_| self.next()).collect()).collect();
        let near = |numbers: &mut Self, index: usize| {
            centres[index % centres.len()].iter().map(|x| x + 0.5 * numbers.next()).collect()
        };
        (0..count).map(|index| near(self, index)).collect()
    }
}

fn recall(index: &NearestVectors, queries: &[Vec<f32>]) -> f64 {
    let rows = |query: &Vec<f32>, scan| -> HashSet<u32> {
        index.search(query, 10, scan).expect("found").into_iter().map(|(row, _)| row).collect()
    };
    let same: usize = queries
        .iter()
        .map(|query| rows(query, Scan::Exact).intersection(&rows(query, Scan::Graph)).count())
        .sum();
    same as f64 / (10 * queries.len()) as f64
}

#[test]
fn the_graph_finds_what_the_scan_finds() {
    for precision in [Precision::F32, Precision::F16, Precision::I8] {
        let mut numbers = Numbers(7);
        let mut all = numbers.vectors(22_200);
        let queries = all.split_off(22_000);
        let mut index = NearestVectors::new(DIMENSION, Metric::Cosine, precision).expect("an index");
        for vector in &all {
            index.add(vector).expect("added");
        }
        let found = recall(&index, &queries);
        assert!(found >= 0.98, "{precision:?}: {found}");
        // Of what is removed nothing is found, and of the rest as much.
        for row in (0..22_000).filter(|row| row % 3 != 0) {
            index.remove(row);
        }
        let found = recall(&index, &queries);
        assert!(found >= 0.98, "{precision:?} after removals: {found}");
        for query in &queries {
            let rows = index.search(query, 10, Scan::Graph).expect("found");
            assert!(rows.len() == 10 && rows.iter().all(|(row, _)| row % 3 == 0));
        }
    }
}

#[test]
fn vectors_of_another_length_are_refused() {
    assert!(NearestVectors::new(0, Metric::Dot, Precision::F32).is_err());
    let mut index = NearestVectors::new(3, Metric::Dot, Precision::F32).expect("an index");
    assert!(index.add(&[1.0]).is_err() && index.search(&[1.0; 4], 1, Scan::Auto).is_err());
    assert!(index.search(&[1.0; 3], 1, Scan::Auto).expect("nothing").is_empty());
    index.add(&[0.0, 2.0, 0.0]).expect("added");
    index.add(&[0.0, 1.0, 0.0]).expect("added");
    let found = index.search(&[0.0, 3.0, 1.0], 2, Scan::Graph).expect("without a graph all are compared");
    assert_eq!(found, [(0, 6.0), (1, 3.0)]);
}
