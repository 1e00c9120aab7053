"""Images and PDFs, read by their bytes alone."""

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.providers.media import ImageHeader, image_header, is_pdf, pdf_pages
from tests.media import jpeg, pages, pdf, png, segment

EXIF = segment(0xE1, b"Exif\0\0" + jpeg(width=160, height=120))


@pytest.mark.parametrize(
    ("image", "header"),
    [
        (png(3000, 7), ImageHeader("image/png", 3000, 7)),
        (png(1, 1)[:20], ImageHeader("image/png")),  # cut off
        (jpeg(), ImageHeader("image/jpeg", 640, 480)),
        (jpeg(frame=0xC2), ImageHeader("image/jpeg", 640, 480)),  # progressive
        (jpeg(EXIF), ImageHeader("image/jpeg", 640, 480)),  # a thumbnail inside has a frame header too
        (jpeg(segment(0xC4, b"\0" * 30), b"\xff"), ImageHeader("image/jpeg", 640, 480)),  # a table's marker, and filling
        (jpeg(b"\xff\x01"), ImageHeader("image/jpeg", 640, 480)),  # a marker without length
        (jpeg()[:9], ImageHeader("image/jpeg")),  # cut off
        (b"\xff\xd8\xff\xe0\xff\xff", ImageHeader("image/jpeg")),
        (b"\xff\xd8" + segment(0xDA, b"\1") + jpeg(), ImageHeader("image/jpeg")),  # nothing is looked for behind the scan
        (b"GIF89a", None),
        (b"RIFF\0\0\0\0WEBP", None),
        (b"", None),
    ],
)
def test_an_images_type_and_size_are_read(image: bytes, header: ImageHeader | None) -> None:
    assert image_header(image) == header


@given(st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b""]), st.binary(max_size=200))
def test_no_bytes_make_it_raise(magic: bytes, rest: bytes) -> None:
    header = image_header(magic + rest)
    assert header is None or header.long_side >= 0


@pytest.mark.parametrize(
    ("document", "count"),
    [
        (pdf(b"<</Type /Pages /Count 3>>", *pages(3)), 3),
        (pdf(b"<</Count 2/Type/Pages>>", b"<</Type/Page>>", b"<</Type\n/Page/Parent 1 0 R>>"), 2),
        (pdf(b"<</Type/Page>>", b"<</Type/PageLabel>>", b"<</Type /Pages>>", b"<</Type /PageX>>"), 1),  # only whole names
        # A tree of two levels: the root's count is the sum.
        (pdf(b"<</Type/Pages/Count 4>>", b"<</Type/Pages/Count 2>>", b"<</Type/Pages/Count 2>>", *pages(4)), 4),
        # A later revision writes page 2 again.
        (pdf(b"<</Type/Pages/Count 2>>", *pages(2)) + b"2 0 obj <</Type/Page/Rotate 90>> endobj", 2),
        # A later revision takes a page out: its object stays, but nothing refers to it.
        (pdf(b"<</Type/Pages/Count 2>>", *pages(2)) + b"1 0 obj <</Type/Pages/Count 1>> endobj", 1),
        # A PDF attached to a PDF, not compressed.
        (pdf(*pages(1), b"<<>> stream\n" + pdf(*pages(30)) + b"endstream"), 1),
        (pdf(*pages(1), b"<<>> stream\r\n" + pdf(*pages(30))), 1),  # cut off in it
        (pdf(b"<</Type/ObjStm/N 9>> stream\nx\xda\nendstream", *pages(1)), None),  # there may be pages in it
        (b"1 0 obj<</Type/Page>>" * 100_001, None),  # too many to look at
        (pdf(), 0),
        (b"", 0),
    ],
)
def test_pages_are_counted_once_each(document: bytes, count: int | None) -> None:
    assert pdf_pages(document) == count


def test_a_pdf_is_known_by_its_head_even_behind_some_bytes() -> None:
    assert is_pdf(b"\r\n" + pdf())
    assert not is_pdf(b"\0" * 1024 + pdf())
    assert not is_pdf(b"<html>")


@pytest.mark.parametrize(
    "piece", [b"stream\n", b"1 0 obj", b"1 " * 4, b"12345678901234567890", b"/Type" + b" " * 40, b"endstream"]
)
def test_counting_takes_linear_time_whatever_the_document_holds(piece: bytes) -> None:
    document = b"%PDF-1.4\n" + piece * (4_000_000 // len(piece))
    started = process_time()
    pdf_pages(document)
    assert process_time() - started < 4.0  # quadratic time would be hours
