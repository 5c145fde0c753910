"""The vector index against faiss-cpu, usearch and hnswlib, in one run, on one thread.

    pip install numpy faiss-cpu usearch hnswlib
    cargo build --release -p puna-knowledge --example index_speed
    python tests/bench/index.py [--rows 100000] [--queries 500]

Vectors are made: points in a mixture of 200 Gaussians of 48 dimensions, turned into 384, with some noise, of length 1.
Prints recall@10 against the exact answer, queries a second, build time and memory of the index, and for exact scans the
bytes of vectors that they go through in a second. Takes some ten minutes; `--peers usearch` measures some of the peers.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
PUNA = ROOT / "target" / "release" / "examples" / "index_speed"
DIMENSION = 384


def make(rows, queries, seed=1):
    random = np.random.default_rng(seed)
    latent = 48
    centres = random.normal(size=(200, latent)) * 1.5
    turn = random.normal(size=(latent, DIMENSION)) / np.sqrt(latent)
    count = rows + queries
    points = centres[random.integers(0, len(centres), count)] + random.normal(size=(count, latent))
    vectors = points @ turn + 0.05 * random.normal(size=(count, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors.astype(np.float32)
    return vectors[:rows].copy(), vectors[rows:].copy()


def exact(vectors, queries):
    best = []
    for part in np.array_split(queries, max(1, len(queries) // 50)):
        best.append(np.argsort(-(part @ vectors.T), axis=1, kind="stable")[:, :10])
    return np.concatenate(best)


def recall(found, truth):
    return float(np.mean([len(set(f) & set(t)) / 10 for f, t in zip(found, truth)]))


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def timed(search, queries):
    for query in queries[:20]:
        search(query)
    begun = time.perf_counter()
    found = [search(query) for query in queries]
    return found, len(queries) / (time.perf_counter() - begun)


def row(name, build, rate, bytes_, score, note=""):
    print(f"| {name:28} | {score:9.4f} | {rate:9.0f} | {build:8.1f} | {bytes_ / 2**20:8.0f} | {note}", flush=True)
    return rate, score


def puna(vectors, queries, truth, precision, scan):
    with tempfile.TemporaryDirectory() as folder:
        files = [pathlib.Path(folder, name) for name in ("vectors", "queries")]
        vectors.tofile(files[0])
        queries.tofile(files[1])
        command = [PUNA, *files, str(DIMENSION), precision, scan]
        out = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return out["build_seconds"], out["queries_a_second"], out["bytes"], recall(out["found"], truth)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--peers", nargs="*", default=["faiss", "hnswlib", "usearch"])
    arguments = parser.parse_args()
    vectors, queries = make(arguments.rows, arguments.queries)
    truth = exact(vectors, queries)
    print(f"{arguments.rows} x {DIMENSION}, {len(queries)} queries, one thread")
    print(f"| {'':28} | recall@10 | queries/s |  build s |      MiB |")
    print("|---|---|---|---|---|---|")

    for precision, size in (("F32", 4), ("F16", 2), ("I8", 1)):
        build, rate, bytes_, score = puna(vectors, queries, truth, precision, "exact")
        row(f"puna exact {precision}", 0.0, rate, vectors.size * size, score, f"{rate * vectors.size * size / 1e9:.1f} GB/s")
    ours = {}
    for precision in ("F32", "F16", "I8"):
        build, rate, bytes_, score = puna(vectors, queries, truth, precision, "graph")
        ours[precision] = row(f"puna graph {precision}", build, rate, bytes_, score)

    import faiss

    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(DIMENSION)
    flat.add(vectors)
    found, rate = timed(lambda query: flat.search(query[None], 10)[1][0], queries)
    row("faiss flat", 0.0, rate, vectors.nbytes, recall(found, truth), f"{rate * vectors.nbytes / 1e9:.1f} GB/s")
    peers = {}

    def peer(name, make_index, searches):
        if name.split()[0] not in arguments.peers:
            return
        before = resident()
        begun = time.perf_counter()
        index = make_index()
        build = time.perf_counter() - begun
        bytes_ = resident() - before
        # The least effort that finds 99 of 100, else the most.
        for effort in (32, 48, 64, 96, 128, 192, 256):
            found, rate = timed(searches(index, effort), queries)
            score = recall(found, truth)
            if score >= 0.99:
                break
        peers[name] = row(f"{name} ef {effort}", build, rate, bytes_, score)

    def faiss_index():
        index = faiss.IndexHNSWFlat(DIMENSION, 16, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 128
        index.add(vectors)
        return index

    def faiss_search(index, effort):
        index.hnsw.efSearch = effort
        return lambda query: index.search(query[None], 10)[1][0]

    peer("faiss hnsw", faiss_index, faiss_search)

    import hnswlib

    def hnswlib_index():
        index = hnswlib.Index("ip", DIMENSION)
        index.init_index(len(vectors), M=16, ef_construction=128)
        index.set_num_threads(1)
        index.add_items(vectors, num_threads=1)
        return index

    def hnswlib_search(index, effort):
        index.set_ef(effort)
        return lambda query: index.knn_query(query, 10, num_threads=1)[0][0]

    peer("hnswlib", hnswlib_index, hnswlib_search)

    from usearch.index import Index

    for dtype in ("f32", "f16", "i8"):
        def usearch_index():
            index = Index(ndim=DIMENSION, metric="ip", dtype=dtype, connectivity=16, expansion_add=128)
            index.add(np.arange(len(vectors)), vectors, threads=1)
            return index

        def usearch_search(index, effort):
            index.expansion_search = effort
            return lambda query: index.search(query, 10, threads=1).keys

        peer(f"usearch {dtype}", usearch_index, usearch_search)

    if not peers:
        return
    best_name, best = max(peers.items(), key=lambda item: item[1][0] if item[1][1] >= 0.99 else 0)
    for precision, (rate, score) in ours.items():
        verdict = "ahead" if rate >= best[0] and score >= 0.99 else "behind"
        print(f"puna graph {precision}: recall {score:.4f}, {rate / best[0]:.2f}x the best peer at 0.99 ({best_name}): {verdict}")


main()
