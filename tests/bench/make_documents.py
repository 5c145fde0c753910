"""Makes the files of tests/collections/documents: what the loaders of the repository are tested on and compared with.

    apt-get install fonts-nanum
    pip install reportlab python-docx openpyxl pypdf
    python tests/bench/make_documents.py [FOLDER]

Nothing in them is from elsewhere: the words are the script's own. Run again, it makes files with the same text.
"""

import pathlib
import sys

import docx
import openpyxl
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from openpyxl.styles import numbers
from pypdf import PdfReader, PdfWriter
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate, Paragraph, Spacer, Table
import reportlab

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "collections" / "documents"

KOREAN = "라마는 안데스 고원에 사는 짐승이다. 털은 따뜻하고 가벼우며, 사람들은 그것으로 옷을 짓는다."
JAPANESE = "リャマはアンデスの高原に住む動物です。毛は暖かく、人々はそれで服を作ります。"
CHINESE = "羊驼生活在安第斯高原。它们的毛又轻又暖，人们用它来做衣服。"
ENGLISH = [
    "Llamas carry wool and salt over the mountains, and they hum when they are tired.",
    "A herd is led by the animal that knows the way, which is seldom the strongest of them.",
    "In the dry season the grass of the puna is yellow, and the herds go down to the marshes.",
    "What is woven from the wool of the neck is coarse; that of the flanks is fine and light.",
    "Whoever weighs the wool by hand is wrong by a tenth; the scales in town are trusted more.",
    "At night the air freezes even in summer, so the fold has walls of stone on three sides.",
]


def columns(path):
    """Two columns under a title that spans them, in a font that is embedded."""
    fonts = pathlib.Path(reportlab.__file__).parent / "fonts"
    pdfmetrics.registerFont(TTFont("Vera", fonts / "Vera.ttf"))
    style = getSampleStyleSheet()["BodyText"]
    style.fontName, style.fontSize, style.leading = "Vera", 9, 12
    width, height = A4
    left = Frame(50, 60, width / 2 - 65, height - 180, id="left")
    right = Frame(width / 2 + 15, 60, width / 2 - 65, height - 180, id="right")

    def title(canvas, _):
        canvas.setFont("Vera", 18)
        canvas.drawString(50, height - 80, "On the herds of the high plains, and what they carry")

    template = BaseDocTemplate(str(path), pagesize=A4, title="On herds", author="Ana", invariant=1)
    template.addPageTemplates([PageTemplate(frames=[left, right], onPage=title)])
    story = []
    for number in range(14):
        words = [ENGLISH[(number + at) % len(ENGLISH)] for at in range(4)]
        story += [Paragraph(f"{number + 1}. " + " ".join(words), style), Spacer(1, 6)]
    template.build(story)


def plain(path):
    """Standard fonts, a table, two pages, one of them turned."""
    canvas = Canvas(str(path), pagesize=A4, invariant=1)
    canvas.setFont("Helvetica-Bold", 16)
    canvas.drawString(60, 780, "Wool of the year")
    canvas.setFont("Times-Roman", 11)
    for number, line in enumerate(ENGLISH):
        canvas.drawString(60, 750 - 16 * number, line)
    table = Table([["animal", "wool", "price"], ["llama", "3.5 kg", "12"], ["alpaca", "2.2 kg", "48"]])
    table.wrapOn(canvas, 400, 200)
    table.drawOn(canvas, 60, 560)
    canvas.showPage()
    canvas.setPageRotation(90)
    canvas.setFont("Courier", 10)
    canvas.drawString(60, 780, "This page is turned by a quarter.")
    canvas.save()


def asian(path):
    """Korean, Japanese and Chinese in fonts that are not embedded, with the CMaps that PDF names."""
    canvas = Canvas(str(path), pagesize=A4, invariant=1)
    for number, (font, text) in enumerate(
        [("HYSMyeongJo-Medium", KOREAN), ("HeiseiMin-W3", JAPANESE), ("STSong-Light", CHINESE)]
    ):
        pdfmetrics.registerFont(UnicodeCIDFont(font))
        canvas.setFont(font, 12)
        for at, line in enumerate([text[:26], text[26:]]):
            canvas.drawString(60, 760 - 60 * number - 18 * at, line)
    canvas.save()


def embedded(path):
    """Korean in a font of which what is used is embedded, with the table that tells its characters."""
    pdfmetrics.registerFont(TTFont("Nanum", "/usr/share/fonts/truetype/nanum/NanumGothic.ttf"))
    canvas = Canvas(str(path), pagesize=A4, invariant=1)
    canvas.setFont("Nanum", 12)
    for number, line in enumerate([KOREAN[:26], KOREAN[26:], ENGLISH[0]]):
        canvas.drawString(60, 760 - 18 * number, line)
    canvas.save()


def encrypted(path, source):
    writer = PdfWriter(clone_from=PdfReader(source))
    writer.encrypt("hush", algorithm="RC4-128")
    writer.write(path)


def word(path):
    document = docx.Document()
    document.core_properties.title = "The herd book"
    document.core_properties.author = "Ana"
    document.add_heading("Animals", 1)
    paragraph = document.add_paragraph(ENGLISH[0] + " ")
    paragraph.add_run(KOREAN).bold = True
    document.add_heading("Wool", 2)
    for item in ["coarse", "fine"]:
        document.add_paragraph(item, style="List Bullet")
    for item in ["shear", "wash", "spin"]:
        document.add_paragraph(item, style="List Number")
    table = document.add_table(rows=0, cols=3)
    for row in [("animal", "wool", "이름"), ("llama", "3.5 kg", "라마"), ("alpaca", "2.2 kg", "알파카")]:
        for cell, text in zip(table.add_row().cells, row):
            cell.text = text
    paragraph = document.add_paragraph("More is said of it ")
    relation = paragraph.part.relate_to("https://example.com/wool", docx.opc.constants.RELATIONSHIP_TYPE.HYPERLINK, True)
    link = OxmlElement("w:hyperlink")
    link.set(qn("r:id"), relation)
    run = OxmlElement("w:r")
    text = OxmlElement("w:t")
    text.text = "elsewhere"
    run.append(text)
    link.append(run)
    paragraph._p.append(link)
    document.add_paragraph(JAPANESE)
    document.add_paragraph(CHINESE)
    document.save(path)


def workbook(path):
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Herd"
    sheet.append(["name", "born", "weight", "share", "note"])
    import datetime

    for number in range(30):
        sheet.append(
            [f"llama {number}", datetime.date(2020, number % 12 + 1, 3), 100 + number / 4, number / 100, KOREAN[:12]]
        )
    for row in sheet.iter_rows(min_row=2):
        row[1].number_format = numbers.FORMAT_DATE_YYYYMMDD2
        row[2].number_format = "#,##0.00"
        row[3].number_format = numbers.FORMAT_PERCENTAGE
    second = book.create_sheet("라마")
    second.append(["herd", "animal"])
    second.append(["Puna", "one"])
    second.append([None, "two"])
    second.merge_cells("A2:A3")
    book.save(path)


def pages(folder):
    rows = "".join(f"<tr><td>llama {n}</td><td>{n}.5 kg</td></tr>" for n in range(5))
    text = "".join(f"<p>{line} <a href='wool.html'>wool</a></p>" for line in ENGLISH)
    page = (
        "<!doctype html><html lang='{lang}'><head><meta charset='{charset}'><title>{title}</title>"
        "<base href='https://example.com/docs/'><style>p {{ color: red }}</style></head><body><nav><a href='/'>Home</a>"
        "</nav><main><h1>{title}</h1>{text}<h2>Table</h2><table><tr><th>animal</th><th>wool</th></tr>{rows}</table>"
        "<ul><li>one</li><li>two</li></ul></main><footer>2024</footer></body></html>"
    )
    for name, charset, lang, title, body in [
        ("page", "utf-8", "en", "Wool of the year", text),
        ("korean", "euc-kr", "ko", "라마의 털", f"<p>{KOREAN}</p>"),
        ("japanese", "shift_jis", "ja", "リャマの毛", f"<p>{JAPANESE}</p>"),
        ("chinese", "gb18030", "zh", "羊驼的毛", f"<p>{CHINESE}</p>"),
    ]:
        whole = page.format(charset=charset, lang=lang, title=title, text=body, rows=rows)
        (folder / f"{name}.html").write_bytes(whole.encode(charset))
    lines = ["이름;무게;말", *(f"라마 {n};{100 + n},5;{KOREAN[:20]}" for n in range(20))]
    (folder / "herd.csv").write_bytes("\r\n".join(lines).encode("cp949"))


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    columns(folder / "columns.pdf")
    plain(folder / "plain.pdf")
    asian(folder / "asian.pdf")
    embedded(folder / "korean.pdf")
    encrypted(folder / "encrypted.pdf", folder / "plain.pdf")
    word(folder / "herd.docx")
    workbook(folder / "herd.xlsx")
    pages(folder)


if __name__ == "__main__":
    main()
