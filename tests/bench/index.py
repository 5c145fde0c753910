"""The vector index against faiss-cpu, usearch and hnswlib, in one run, on one thread.

    pip install numpy faiss-cpu usearch hnswlib
    cargo build --release -p puna-knowledge --examples
    python tests/bench/index.py [--rows 100000] [--queries 500] [--peers faiss hnswlib usearch] [--no-reopen]

Vectors are made: points in a mixture of 200 Gaussians of 48 dimensions, turned into 384, with some noise, of length 1: near
ones are near for a reason, as with embeddings of texts, and no row is as far as another from all, as in uniform noise.

Every graph is built with 16 links a row (32 in the lowest layer) and 128 candidates, and asked with the fewest candidates
(`ef`) that find 99 of 100 of the ten nearest; one that never does is asked with the most. Prints recall@10, queries a second
(the median of three rounds), build time, resident memory, and the ratio to the best peer; for scans the bytes that they go
through in a second and the share of what one thread reads from memory in this run; how long opening a knowledge base with
the same vectors takes. 100,000 rows take some five minutes.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "examples"
DIMENSION = 384
EFFORTS = [12, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256]
WANTED = 0.99
ROUNDS = 3


def make(rows, queries, seed=1):
    random = np.random.default_rng(seed)
    latent = 48
    centres = (random.normal(size=(200, latent)) * 1.5).astype(np.float32)
    turn = (random.normal(size=(latent, DIMENSION)) / np.sqrt(latent)).astype(np.float32)
    parts = []
    # In parts, so that a million rows need no more memory than they are.
    for first in range(0, rows + queries, 50_000):
        count = min(50_000, rows + queries - first)
        points = centres[random.integers(0, len(centres), count)]
        points = points + random.standard_normal((count, latent), dtype=np.float32)
        vectors = points @ turn + 0.05 * random.standard_normal((count, DIMENSION), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        parts.append(vectors)
    vectors = np.concatenate(parts)
    # Any of them is asked for, not those of the last part.
    order = random.permutation(len(vectors))
    asked = np.sort(order[:queries])
    kept = np.ones(len(vectors), bool)
    kept[asked] = False
    return vectors[kept], vectors[asked].copy()


def exact(vectors, queries):
    best = []
    for part in np.array_split(queries, max(1, len(queries) // 50)):
        scores = part @ vectors.T
        near = np.argpartition(-scores, 10, axis=1)[:, :10]
        best.append(near)
    return np.concatenate(best)


def recall(found, truth):
    return float(np.mean([len(set(map(int, f)) & set(map(int, t))) / 10 for f, t in zip(found, truth)]))


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def timed(search, queries):
    rates = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        found = [search(query) for query in queries]
        rates.append(len(queries) / (time.perf_counter() - begun))
    return found, sorted(rates)[ROUNDS // 2]


class Table:
    """Rows of what was measured, printed together when the ratios are known."""

    def __init__(self, bandwidth):
        self.rows, self.bandwidth = [], bandwidth

    def add(self, name, kind, score, rate, build=None, bytes_=None, read=None):
        self.rows.append((name, kind, score, rate, build, bytes_, read))
        print(f"  {name}: {rate:.0f}/s at {score:.4f}", flush=True)

    def best_peer(self, kind):
        peers = [row for row in self.rows if row[1] == kind and not row[0].startswith("puna") and row[2] >= WANTED]
        return max(peers, key=lambda row: row[3], default=None)

    def print(self):
        print("| | recall@10 | queries/s | to best peer | build, s | MiB | GB/s | of bandwidth |\n|---|---|---|---|---|---|---|---|")
        for name, kind, score, rate, build, bytes_, read in self.rows:
            best = self.best_peer(kind)
            cells = [
                name,
                f"{score:.4f}",
                f"{rate:,.0f}",
                f"{rate / best[3]:.2f}" if best else "",
                f"{build:.1f}" if build else "",
                f"{bytes_ / 2**20:.0f}" if bytes_ else "",
                f"{rate * read / 1e9:.1f}" if read else "",
                f"{rate * read / self.bandwidth:.0%}" if read else "",
            ]
            print("| " + " | ".join(cells) + " |")
        print(f"One thread reads {self.bandwidth / 1e9:.1f} GB/s.")
        for kind in ("graph", "scan"):
            best = self.best_peer(kind)
            own = [row for row in self.rows if row[1] == kind and row[0].startswith("puna") and row[2] >= WANTED]
            if best and own:
                own = max(own, key=lambda row: row[3])
                verdict = "ahead" if own[3] >= best[3] else "behind"
                print(f"{kind}: {own[0]} {own[3] / best[3]:.2f}x the best peer at {WANTED} ({best[0]}): {verdict}")


def puna(table, files, queries, truth, vectors):
    for precision, size in (("F32", 4), ("F16", 2), ("I8", 1)):
        command = [EXAMPLES / "index_speed", *files, str(DIMENSION), precision, "exact", *map(str, EFFORTS)]
        out = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        scan, *graph = out["ways"]
        table.add(f"puna scan {precision}", "scan", recall(scan["found"], truth), scan["queries_a_second"], read=vectors.size * size)
        for way in graph:
            score = recall(way["found"], truth)
            if score >= WANTED:
                break
        name = f"puna graph {precision}, {way['way']} candidates"
        table.add(name, "graph", score, way["queries_a_second"], out["build_seconds"], out["resident"])


def graph(table, name, vectors, queries, truth, make_index, searches):
    before = resident()
    begun = time.perf_counter()
    index = make_index()
    build = time.perf_counter() - begun
    bytes_ = resident() - before
    for effort in EFFORTS:
        # A short look decides; only the effort that is enough is timed.
        search = searches(index, effort)
        if effort == EFFORTS[-1] or recall([search(query) for query in queries], truth) >= WANTED:
            break
    found, rate = timed(search, queries)
    table.add(f"{name}, ef {effort}", "graph", recall(found, truth), rate, build, bytes_)


def faiss_peer(table, vectors, queries, truth):
    import faiss

    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(DIMENSION)
    flat.add(vectors)
    found, rate = timed(lambda query: flat.search(query[None], 10)[1][0], queries)
    table.add("faiss flat", "scan", recall(found, truth), rate, read=vectors.nbytes)
    del flat

    def make_index():
        index = faiss.IndexHNSWFlat(DIMENSION, 16, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 128
        index.add(vectors)
        return index

    def searches(index, effort):
        index.hnsw.efSearch = effort
        return lambda query: index.search(query[None], 10)[1][0]

    graph(table, "faiss HNSW", vectors, queries, truth, make_index, searches)


def hnswlib_peer(table, vectors, queries, truth):
    import hnswlib

    def make_index():
        index = hnswlib.Index("ip", DIMENSION)
        index.init_index(len(vectors), M=16, ef_construction=128)
        index.set_num_threads(1)
        index.add_items(vectors, num_threads=1)
        return index

    def searches(index, effort):
        index.set_ef(effort)
        return lambda query: index.knn_query(query, 10, num_threads=1)[0][0]

    graph(table, "hnswlib", vectors, queries, truth, make_index, searches)


def usearch_peer(table, vectors, queries, truth):
    from usearch.index import Index

    for dtype in ("f32", "f16", "i8"):

        def make_index():
            index = Index(ndim=DIMENSION, metric="ip", dtype=dtype, connectivity=16, expansion_add=128)
            index.add(np.arange(len(vectors)), vectors, threads=1)
            return index

        def searches(index, effort):
            index.expansion_search = effort
            return lambda query: index.search(query, 10, threads=1).keys

        graph(table, f"usearch {dtype}", vectors, queries, truth, make_index, searches)


PEERS = {"faiss": faiss_peer, "hnswlib": hnswlib_peer, "usearch": usearch_peer}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--no-reopen", action="store_true")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder that the vectors are left in")
    arguments = parser.parse_args()
    vectors, queries = make(arguments.rows, arguments.queries)
    truth = exact(vectors, queries)
    print(f"{arguments.rows} x {DIMENSION}, {len(queries)} queries, one thread")
    bandwidth = subprocess.run([EXAMPLES / "index_speed", "bandwidth", "256"], check=True, capture_output=True, text=True)
    table = Table(float(bandwidth.stdout))
    with tempfile.TemporaryDirectory() as folder:
        if arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            folder = arguments.keep
        files = [pathlib.Path(folder, name) for name in ("vectors", "queries")]
        vectors.tofile(files[0])
        queries.tofile(files[1])
        puna(table, files, queries, truth, vectors)
        for name in arguments.peers:
            PEERS[name](table, vectors, queries, truth)
        table.print()
        if not arguments.no_reopen:
            out = subprocess.run([EXAMPLES / "index_reopen", files[0], str(DIMENSION)], check=True, capture_output=True, text=True)
            print(out.stdout.strip())


main()
