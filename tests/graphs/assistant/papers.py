"""Owns the writing of small real PDF files: pages of lines in Helvetica, with a title, broken on demand."""

import zlib
from collections.abc import Sequence


def pdf(*pages: Sequence[str], title: str = "") -> bytes:
    """A PDF file with these pages, each of these lines; the characters are those of Latin-1."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(count))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".encode("latin-1"),
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>".encode("latin-1"),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for index, lines in enumerate(pages):
        content = zlib.compress(_drawn(lines))
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {5 + 2 * index} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode("latin-1")
        )
        head = f"<< /Length {len(content)} /Filter /FlateDecode >>\nstream\n".encode("latin-1")
        objects.append(head + content + b"\nendstream")
    objects.append(b"<< /Title " + _string(title) + b" >>")
    return _file(objects)


def endless_pdf() -> bytes:
    """A PDF file whose one page unpacks to a gigabyte and more."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b"(x) Tj " * 2**17) for _ in range(1200)) + packer.flush()
    head = f"<< /Length {len(packed)} /Filter /FlateDecode >>\nstream\n".encode("latin-1")
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>"
    catalog, pages = b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
    return _file([catalog, pages, page, head + packed + b"\nendstream", b"<< >>"])


def _drawn(lines: Sequence[str]) -> bytes:
    moves = [b"BT /F1 11 Tf 14 TL 50 790 Td"]
    moves.extend(_string(line) + b" Tj T*" for line in lines)
    return b"\n".join([*moves, b"ET"])


def _string(text: str) -> bytes:
    escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
    return b"(" + escaped.encode("latin-1") + b")"


def _file(objects: Sequence[bytes]) -> bytes:
    """The objects one after another, then the table of where each begins; the last one is the information."""
    text, starts = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        starts.append(len(text))
        text += b"%d 0 obj\n" % number + content + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    size = len(objects) + 1
    trailer = b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        size,
        size - 1,
        len(text),
    )
    return text + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + trailer
