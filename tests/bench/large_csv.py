"""A CSV file of a gigabyte, read by the loader `csv` through the real host: peak memory, rows and speed.

    cargo build -p puna-plugins --example load_file
    python tests/bench/large_csv.py [--megabytes 1024] [--profile debug]

The file is made: eight columns of numbers, dates, quoted text and Korean. Peak memory is the whole process's, the compiler of
the component included. For comparison the same file is read by Python's `csv` and made into as many documents of 100 rows.
"""

import argparse
import csv
import json
import pathlib
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def make(path, size):
    rows = ["id,name,herd,born,weight,price,note,언어"]
    for n in range(10_000):
        note = f'"wool, of llama ""{n}"" and more of what is said"' if n % 3 else "plain words without a comma"
        rows.append(f"{n},llama {n},Puna {n % 17},2024-{n % 12 + 1:02}-{n % 28 + 1:02},{n % 200}.5,{n * 7}.25,{note},한국어")
    head, block = (rows[0] + "\n").encode(), ("\n".join(rows[1:]) + "\n").encode()
    count = 1
    with open(path, "wb") as file:
        file.write(head)
        while file.tell() < size:
            file.write(block)
            count += len(rows) - 1
    return count


def python(path):
    begun = time.perf_counter()
    documents, rows = 0, []
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader)
        for row in reader:
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
            if len(rows) == 100:
                documents += len("\n".join(["| " + " | ".join(header) + " |", *rows])) > 0
                rows.clear()
    return time.perf_counter() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--profile", default="release")
    options = parser.parse_args()
    program = ROOT / "target" / options.profile / "examples" / "load_file"
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "large.csv"
        rows = make(path, options.megabytes << 20)
        size = path.stat().st_size
        command = [program, ROOT / "plugins/tables/tables.wasm", "csv", path, "--figures"]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert figures["last_row"] == rows, (figures, rows)
        theirs = python(path)
    mega = 1 << 20
    print(f"file          {size / mega:10.0f} MiB, {rows} rows")
    print(f"documents     {figures['documents']:10}")
    print(f"peak memory   {figures['peak_bytes'] / mega:10.0f} MiB ({figures['peak_bytes_before'] / mega:.0f} MiB before reading)")
    print(f"puna          {size / mega / figures['seconds']:10.1f} MiB/s")
    print(f"python's csv  {size / mega / theirs:10.1f} MiB/s")
    print(f"ratio         {theirs / figures['seconds']:10.2f} (above 1: faster than Python's)")


if __name__ == "__main__":
    main()
