"""Text that the loaders take from files, against the libraries of Python that are usual for it.

    pip install python-docx openpyxl beautifulsoup4 reportlab pypdf
    cargo build -p puna-plugins --example load_file
    python tests/bench/extraction.py [--profile debug] [--files FOLDER] [--long]

Reads the files of tests/collections/documents, or of another folder; with `--long` files of some hundred pages or thousands of
rows as well, which are made. Prints for each file how alike the texts are (the share of words in common, in order: 1 is the
same), the time of each, and theirs over ours: above 1 ours is faster. Marks of Markdown, punctuation and white space do not
count. Ours includes opening the component once compiled; theirs runs in a warm interpreter.
"""

import argparse
import csv
import difflib
import io
import json
import logging
import pathlib
import re
import subprocess
import tempfile
import time
import warnings

import bs4
import docx
import openpyxl

import pypdf

import make_documents

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOADERS = {".docx": "docx", ".xlsx": "xlsx", ".csv": "csv", ".html": "html", ".pdf": "pdf"}
COMPONENTS = {"xlsx": "tables", "csv": "tables"}


def by_docx(path):
    document = docx.Document(path)
    text = []
    for part in document.iter_inner_content():
        if isinstance(part, docx.table.Table):
            text += [cell.text for row in part.rows for cell in row.cells]
        else:
            text.append(part.text)
    return "\n".join(text)


def by_openpyxl(path):
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    cells = (cell for sheet in book for row in sheet.iter_rows(values_only=True) for cell in row)
    return "\n".join(str(cell) for cell in cells if cell is not None)


def by_csv(path):
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("cp949")
    dialect = csv.Sniffer().sniff(text[:4096], ",;\t|")
    return "\n".join(" ".join(row) for row in csv.reader(io.StringIO(text), dialect))


def by_pypdf(path):
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(path).pages)


def by_soup(path):
    soup = bs4.BeautifulSoup(path.read_bytes(), "html.parser")
    main = soup.find("main") or soup
    return main.get_text(" ")


PEERS = {
    "docx": {"python-docx": by_docx},
    "xlsx": {"openpyxl": by_openpyxl},
    "csv": {"csv": by_csv},
    "html": {"beautifulsoup4": by_soup},
    "pdf": {"pypdf": by_pypdf},
}


def words(text, ours):
    if ours:
        text = re.sub(r"\]\([^)]*\)", " ", text)
        text = re.sub(r"(?m)^\s*\d+\. ", "", text)
    return re.findall(r"\w+", text)


def alike(ours, theirs):
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    return matcher.ratio() if len(ours) + len(theirs) < 20_000 else matcher.quick_ratio()


def ours(program, loader, path):
    component = COMPONENTS.get(loader, loader)
    command = [program, ROOT / f"plugins/{component}/{component}.wasm", loader, path]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    text = "\n".join(json.loads(line)["text"] for line in lines)
    seconds = min(
        json.loads(subprocess.run([*command, "--figures"], check=True, capture_output=True, text=True).stdout)["seconds"]
        for _ in range(3)
    )
    return text, seconds


def timed(read, path):
    best = None
    for _ in range(3):
        begun = time.perf_counter()
        text = read(path)
        best = min(best or 1e9, time.perf_counter() - begun)
    return text, best


def make_long(folder):
    from docx import Document
    sentences = make_documents.ENGLISH
    document = Document()
    for n in range(3000):
        document.add_paragraph(f"{n} " + sentences[n % 6])
    document.save(folder / "long.docx")
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Long")
    sheet.append(["name", "number", "text"])
    for n in range(20_000):
        sheet.append([f"llama {n}", n * 3, sentences[n % 6]])
    book.save(folder / "long.xlsx")
    page = "".join(f"<p>{n} {sentences[n % 6]} <a href='x'>more</a></p>" for n in range(20_000))
    (folder / "long.html").write_text(f"<html><body><main>{page}</main></body></html>", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="release")
    parser.add_argument("--files", type=pathlib.Path, default=ROOT / "tests/collections/documents")
    parser.add_argument("--long", action="store_true")
    options = parser.parse_args()
    program = ROOT / "target" / options.profile / "examples" / "load_file"
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory() as made:
        files = sorted(path for path in options.files.iterdir() if path.suffix in LOADERS)
        if options.long:
            make_long(pathlib.Path(made))
            files += sorted(pathlib.Path(made).iterdir())
        print(f"{'file':18} {'library':15} {'alike':>6} {'ours ms':>9} {'theirs ms':>9} {'ratio':>7}")
        for path in files:
            loader = LOADERS[path.suffix]
            try:
                text, seconds = ours(program, loader, path)
            except subprocess.CalledProcessError as error:
                print(f"{path.name:18} {error.stderr.strip().splitlines()[-1][:90]}")
                continue
            for name, read in PEERS[loader].items():
                try:
                    reference, took = timed(read, path)
                except Exception as error:
                    print(f"{path.name:18} {name:15} {type(error).__name__}: {str(error)[:60]}")
                    continue
                share = alike(words(text, True), words(reference, False))
                print(
                    f"{path.name:18} {name:15} {share:6.3f} {seconds * 1e3:9.1f} {took * 1e3:9.1f} {took / seconds:7.2f}"
                )


if __name__ == "__main__":
    main()
