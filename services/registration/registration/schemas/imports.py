"""Response models of an import of applications."""

from typing import Literal

from pydantic import BaseModel, Field


class ImportedRow(BaseModel):
    """A registered row."""

    row: int
    id: str
    tracking_code: str


class RefusedRow(BaseModel):
    """A refused row, with the reason."""

    row: int
    field: str
    code: str
    detail: str
    detail_fa: str


class Imported(BaseModel):
    """The result of an import, by row; row 1 is the header. Of a dry run: what it would be."""

    mode: Literal["whole", "rows"] = "whole"
    dry_run: bool = False
    rows: int
    registered: int = Field(description="Under this key, also by an earlier request that was interrupted.")
    already_registered: int = Field(description="People of the file who are registered in the round, by whomever.")
    applications: list[ImportedRow] = Field(description="The registered rows; none of a dry run.")
    refused_rows: int = Field(default=0, description="Rows, each of which may have several errors.")
    refused: list[RefusedRow] = Field(description="The first 1,000 errors.")
