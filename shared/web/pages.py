"""Server-rendered pages in Persian and English: templates of each service, filters, and small SVG charts."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from contracts.codes import ROLES
from observability.log_fields import error_id
from programme import calendar, reference, text
from security.permissions import PROGRAMS, ROLE_SCOPES, TABLE, permits
from web.assets import versioned

Number = int | float | Decimal | Fraction

LANGUAGES = ("fa", "en")
LANGUAGE_COOKIE = "peyvand_lang"
KNOTS_PER_ROW, KNOTS_PER_COLUMN = 54, 4  # of the funnel
NUMBER_MARK = "\u061c"  # Arabic letter mark: keeps the percent sign behind its number in any context


class Pages:
    """The pages of one package: its own `templates/` first, then the shared ones."""

    def __init__(self, package: str) -> None:
        self.environment = _environment(package)

    def render(
        self, request: Request, name: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
    ) -> HTMLResponse:
        """Return the page in the language of the reader; `?lang=` is kept in a cookie. A missing value raises."""
        lang = lang_of(request)
        body = self.environment.get_template(name).render(
            request=request,
            here=request.url.path,
            other_language=_in(request if status < 400 else None, "en" if lang == "fa" else "fa"),
            **_language(lang),
            **values,
        )
        response = HTMLResponse(body, status, headers={"Content-Language": lang, "Vary": "Cookie", **(headers or {})})
        if request.query_params.get("lang") in LANGUAGES:
            response.set_cookie(LANGUAGE_COOKIE, lang, max_age=365 * 86_400, samesite="lax", httponly=True)
        return response

    def parts(self, name: str, lang: str, **values: Any) -> Any:
        """Return the macros of a template, for parts of a page that is open."""
        return self.environment.get_template(name).make_module({**_language(lang), **values})


def _language(lang: str) -> dict[str, Any]:
    """Return what every template gets: the language, and the choice between two texts."""
    return {"lang": lang, "t": lambda fa, en: fa if lang == "fa" else en}


def lang_of(request: Request) -> str:
    """Return `fa` or `en`: from `?lang=`, else from the cookie, else Persian."""
    lang = request.query_params.get("lang") or request.cookies.get(LANGUAGE_COOKIE) or "fa"
    return lang if lang in LANGUAGES else "fa"


def error_page(request: Request, problem: Mapping[str, Any], wait: int = 0) -> HTMLResponse:
    """Return the page of a problem: what happened, what is safe, what to do next, and the error id.

    Who is signed in and may not go on learns which role they have and which is needed, and can change the role. `wait`:
    after how many seconds a request may be sent again.
    """
    officer, needed = request.scope.get("peyvand.refused", (None, ()))
    return shared_pages().render(
        request,
        "error.html",
        status=int(problem["status"]),
        problem=problem,
        officer=officer,
        needed=nearest_roles(needed, officer.roles) if officer else (),
        wait=wait,
        again=datetime.now(UTC) + timedelta(seconds=wait),
    )


# Filters: a number, a date or a code in the language of the reader


def n(value: Number | None, lang: str, decimals: int = 0) -> str:
    """Format 1300 as `۱٬۳۰۰` or `1,300`, None as an en dash."""
    return "–" if value is None else text.number(value, lang, decimals)


def pct(share: Number | None, lang: str, decimals: int = 1) -> str:
    """Format 0.185 as `۱۸٫۵٪` or `18.5%`, None as an en dash."""
    if share is None:
        return "–"
    number = text.number(share * 100, lang, decimals)
    return f"{NUMBER_MARK}{number}٪" if lang == "fa" else f"{number}%"


def signed(value: Number, lang: str, decimals: int = 2) -> Markup:
    """Format a change as +3.64 or −2.88, written left to right."""
    sign = "+" if value > 0 else "\u2212" if value < 0 else ""
    return Markup('<bdi dir="ltr">{}</bdi>').format(sign + text.number(value if value > 0 else -value, lang, decimals))


def jdate(value: date | datetime | str, lang: str) -> Markup:
    """Format a business date in full, in a `time` element."""
    day = date.fromisoformat(value[:10]) if isinstance(value, str) else value
    day = calendar.tehran_day(day) if isinstance(day, datetime) else day
    return Markup('<time datetime="{}">{}</time>').format(day.isoformat(), calendar.long_date(day, lang))


def jtime(value: datetime, lang: str) -> Markup:
    """Format an instant in full, in Tehran time, in a `time` element."""
    local = value.astimezone(calendar.TEHRAN).isoformat(timespec="seconds")
    return Markup('<time datetime="{}">{}</time>').format(local, calendar.long_time(value, lang))


def clock(value: datetime, lang: str) -> str:
    """Return the time of day in Tehran, `10:43`; what comes after a full minute counts as the next one."""
    local = (value + timedelta(seconds=59)).astimezone(calendar.TEHRAN).strftime("%H:%M")
    return text.persian_digits(local) if lang == "fa" else local


def province_name(code: str, lang: str) -> str:
    """Return `سمنان` or `Semnan` for `IR-20`; an unknown code unchanged."""
    province = reference.provinces().get(code)
    return code if province is None else province.name_fa if lang == "fa" else province.name_en


def county_name(code: str, lang: str) -> str:
    """Return `شاهرود` or `Shahrud` for `2003`; an unknown code unchanged."""
    county = reference.counties().get(code)
    return code if county is None else county.name(lang)


def field_name(code: str, lang: str) -> str:
    """Return `گلیم و گبه` or `Kilim and gabbeh weaving` for `JF003`; an unknown code unchanged."""
    field = reference.job_fields().get(code)
    return code if field is None else field.name_fa if lang == "fa" else field.name_en


def error_digits(instance: str, lang: str) -> str:
    """Return the error id of a problem's `instance`, in digits that can be dictated: `۷۱۳-۰۸۸-۲۰۴`."""
    request = instance.rpartition(":")[2]
    digits = error_id(request)
    return text.persian_digits(digits) if lang == "fa" and digits != request else digits


def nearest_roles(needed: Collection[str], held: Collection[str]) -> list[str]:
    """Return the roles that people have, those first that act in the same area and add least to what is held."""
    scopes = {ROLE_SCOPES.get(role) for role in held}
    own = {action for role in held for action in _acts(role)}

    def distance(role: str) -> tuple[bool, int, int]:
        return ROLE_SCOPES[role] not in scopes, len(_acts(role) - own), -list(ROLES).index(role)

    return sorted((role for role in needed if role in ROLE_SCOPES and role not in PROGRAMS), key=distance)


def _acts(role: str) -> set[str]:
    """Return the actions that a role carries out, and does not only read."""
    return {action for action, cells in TABLE.items() if cells.get(role, "").startswith("W")}


def role_names(roles: Collection[str], lang: str) -> list[str]:
    """Return the names of roles that people have, from the widest to the narrowest."""
    return [label.text(lang) for role, label in ROLES.items() if role in roles and role not in PROGRAMS]


# Charts: plain SVG with presentation attributes only (the content security policy refuses inline style)


def bar(value: Number, full: float = 100, *, tone: str = "f", mark: float | None = None) -> Markup:
    """Draw a bar from 0 to `full`; tone f leads, l is neutral, w due, x late; `mark` draws a limit."""
    share = max(0.0, min(100.0, float(value) / full * 100)) if full else 0.0
    tick = (
        ""
        if mark is None
        else f'<line class="bar-m" x1="{mark / full * 100:.1f}" x2="{mark / full * 100:.1f}" y1="-2" y2="8"/>'
    )
    return Markup(
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        f'<rect class="bar-t" width="100" height="6"/><rect class="bar-{tone}" width="{share:.1f}" height="6"/>{tick}'
        "</svg>"
    )


def share_bar(weight: float, earned: float, widest: float) -> Markup:
    """Draw a bar as wide as the weight, relative to the `widest`, filled up to what was earned."""
    return Markup(
        '<svg class="bar" viewBox="0 0 100 9" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        f'<rect class="bar-t" width="{weight / widest * 100:.1f}" height="9"/>'
        f'<rect class="bar-f" width="{earned / widest * 100:.1f}" height="9"/></svg>'
    )


def spark(ranks: Sequence[int], worst: int, *, hot: bool = False) -> Markup:
    """Draw ranks over time, rank 1 at the top, the last one as a dot."""
    step = 66 / max(1, len(ranks) - 1)
    positions = [(3 + i * step, 2 + (rank - 1) / max(1, worst - 1) * 16) for i, rank in enumerate(ranks)]
    points = " ".join(f"{x:.0f},{y:.1f}" for x, y in positions)
    heat = "hot" if hot else ""
    return Markup(
        '<svg class="spark" viewBox="0 0 72 20" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        f'<polyline class="{heat}" points="{points}"/><rect class="dot {heat}" x="{positions[-1][0] - 2:.0f}" '
        f'y="{positions[-1][1] - 2:.1f}" width="4" height="4"/></svg>'
    )


def strip(values: Iterable[float], own: float | None, full: float = 100) -> Markup:
    """Draw the values of all provinces as ticks on one line, the own value as a longer one."""
    ticks = "".join(f'<line x1="{v / full * 100:.1f}" x2="{v / full * 100:.1f}" y1="8" y2="24"/>' for v in values)
    own_tick = (
        ""
        if own is None
        else f'<line class="me" x1="{own / full * 100:.1f}" x2="{own / full * 100:.1f}" y1="2" y2="30"/>'
    )
    return Markup(
        '<svg class="strip" viewBox="0 0 100 32" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        f'<line class="ax" x1="0" x2="100" y1="16" y2="16"/>{ticks}{own_tick}</svg>'
    )


def knots(persons: int, per_knot: int, quota: int | None = None) -> Markup:
    """Draw persons as the knots of a carpet, column after column; the dashed line is the quota."""
    count = round(persons / per_knot) if per_knot else 0
    count = max(count, 1 if persons else 0)
    path = "".join(
        f"M{i // KNOTS_PER_COLUMN * 10} {i % KNOTS_PER_COLUMN * 10}h8v8h-8z"
        for i in range(min(count, KNOTS_PER_ROW * KNOTS_PER_COLUMN))
    )
    x = None if quota is None or not per_knot else quota / per_knot / KNOTS_PER_COLUMN * 10 - 1
    line = (
        "" if x is None or x > KNOTS_PER_ROW * 10 else f'<line class="kn-q" x1="{x:.1f}" x2="{x:.1f}" y1="-5" y2="43"/>'
    )
    return Markup(
        f'<svg viewBox="0 0 {KNOTS_PER_ROW * 10} 40" aria-hidden="true" focusable="false">'
        f'<path class="kn" d="{path}"/>{line}</svg>'
    )


def knots_scale(most: int) -> int:
    """Return how many persons one knot represents so that `most` persons fit: 1, 2, 5, 10, 20, 50 ..."""
    scale, steps = 1, (2, 5, 10)
    while most > scale * KNOTS_PER_ROW * KNOTS_PER_COLUMN:
        power = 10 ** (len(str(scale)) - 1)
        scale = next(s * power for s in steps if s * power > scale)
    return scale


def _in(request: Request | None, lang: str) -> str:
    """Return the address of the page in another language; an error page repeats nothing of the address."""
    if request is None:
        return f"?lang={lang}"
    query = [(k, v) for k, v in request.query_params.multi_items() if k != "lang"]
    return f"{request.url.path}?{urlencode([*query, ('lang', lang)])}"


@cache
def shared_pages() -> Pages:
    """Return the templates of `web` itself."""
    return Pages("web")


@cache
def _environment(package: str) -> Environment:
    loaders = [PackageLoader(package)] + ([PackageLoader("web")] if package != "web" else [])
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        n=n,
        pct=pct,
        signed=signed,
        jdate=jdate,
        jtime=jtime,
        clock=clock,
        province=province_name,
        county=county_name,
        field=field_name,
        persian_digits=text.persian_digits,
        role_names=role_names,
        error_digits=error_digits,
        role=lambda role, lang: ROLES[role].text(lang),
    )
    environment.globals.update(
        bar=bar,
        share_bar=share_bar,
        spark=spark,
        strip=strip,
        knots=knots,
        knots_scale=knots_scale,
        permits=permits,
        versioned=versioned,
    )
    return environment
