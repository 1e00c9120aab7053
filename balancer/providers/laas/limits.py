"""Checks images and PDFs against LaaS' limits before they are sent.

The limits are those of LaaS' documentation: JPEG or PNG up to 4 MB, three in a message; PDFs up to 32 MB and 20 pages, in base64.
"""

import binascii
from base64 import b64decode

from balancer.providers.base import RequestRefused
from balancer.providers.media import ImageHeader, image_header, is_pdf, pdf_pages
from balancer.providers.shapes import DataUrl

__all__ = ["IMAGES_PER_MESSAGE", "LONG_SIDE", "accepted_image", "check_pdf"]

MB = 1024 * 1024
IMAGE_BYTES = 4 * MB
IMAGES_PER_MESSAGE = 3
LONG_SIDE = 1568
"""Pixels; a longer image is taken, but LaaS advises against it."""
PDF_BYTES = 32 * MB
PDF_PAGES = 20
_IMAGE_TYPES = {"image/png": "image/png", "image/jpeg": "image/jpeg", "image/jpg": "image/jpeg"}
"""By what users write."""
PDF_TYPE = "application/pdf"


def accepted_image(url: DataUrl, param: str) -> ImageHeader:
    """Return the header of an image that LaaS takes. Raises RequestRefused, naming `param`, for any other."""
    media_type = _IMAGE_TYPES.get(url.media_type)
    if media_type is None:
        raise RequestRefused(param, f"LaaS takes JPEG and PNG images, not {url.media_type[:40]}")
    header = image_header(_decoded(url.data, IMAGE_BYTES, "an image", param))
    if header is None:
        raise RequestRefused(param, f"is declared as {media_type}, but is neither a JPEG nor a PNG image")
    if header.media_type != media_type:
        raise RequestRefused(param, f"is declared as {media_type}, but is {header.media_type}")
    return header


def check_pdf(url: DataUrl, param: str) -> None:
    """Raise RequestRefused, naming `param`, for a document that LaaS doesn't take."""
    if url.media_type != PDF_TYPE:
        raise RequestRefused(param, f"LaaS takes PDF documents ({PDF_TYPE}), not {url.media_type[:40]}")
    document = _decoded(url.data, PDF_BYTES, "a PDF", param)
    if not is_pdf(document):
        raise RequestRefused(param, f"is declared as {PDF_TYPE}, but is no PDF")
    pages = pdf_pages(document)
    if pages is not None and pages > PDF_PAGES:
        raise RequestRefused(param, f"has {pages} pages; LaaS takes at most {PDF_PAGES} pages of a PDF")


def _decoded(data: str, most_bytes: int, what: str, param: str) -> bytes:
    # Known from the length already, so nothing that is too big gets decoded. Base64 makes 4 characters of 3 bytes.
    size = len(data) // 4 * 3 - data[-2:].count("=")
    if size > most_bytes:
        raise RequestRefused(param, f"has {size / MB:.1f} MB; LaaS takes at most {most_bytes // MB} MB for {what}")
    try:
        return b64decode(data, validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        raise RequestRefused(param, "is not valid base64") from None
