"""Static files of the pages of reporting. Those that all services use are in `web.assets`."""

from pathlib import Path

from web.assets import Mount

STATIC = Path(__file__).parent / "static"

static = Mount("/assets/reporting", lambda settings: STATIC)
