"""HTML forms as browsers send them."""

from urllib.parse import parse_qsl

FORM_TYPE = "application/x-www-form-urlencoded"
MAX_FIELDS = 200


def is_form(content_type: str) -> bool:
    """Return whether a body of this type is a form; one without a type is taken for one."""
    return content_type.partition(";")[0].strip().lower() in ("", FORM_TYPE)


def fields_of(body: bytes) -> list[tuple[str, str]]:
    """Return the fields of a form, in UTF-8 whatever charset its sender names. Raise ValueError."""
    fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    if any("\0" in text for field in fields for text in field):
        raise ValueError("a control character")
    return fields
