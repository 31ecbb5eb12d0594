"""What the pages show, made ready: texts in the reader's language, bars and tiles as plain numbers."""

from decimal import Decimal
from fractions import Fraction
from statistics import median_low
from typing import Any

from programme.calendar import MONTHS_EN, MONTHS_FA, to_jalali
from programme.policies import Formula
from programme.reference import provinces
from programme.text import number
from reporting.api.words import (
    BREAKS,
    DATA,
    DURATIONS,
    FUNNEL,
    GRADES,
    HEADS,
    NOTES,
    STAGES,
    TERMS,
    TILES,
)
from reporting.domain.example import ONLY_REGISTERS
from reporting.domain.example import example as worked
from reporting.domain.figures import Figures
from reporting.domain.indicators import STAGES as STAGE_IDS
from reporting.domain.indicators import Counts, Term, stage_terms
from reporting.domain.ranking import TABLES, Row, root, scores, table

Values = dict[str, Any]
NEIGHBOURS = 2  # above and below


def name_of(code: str, lang: str) -> str:
    """A province's name."""
    return provinces()[code].name_fa if lang == "fa" else provinces()[code].name_en


def funnel(of: Counts, lang: str) -> list[Values]:
    """The steps from registered to sustained."""
    return [
        {"name": name, "label": label.get(lang), "note": note.get(lang), "value": getattr(of, name)}
        for name, label, note in FUNNEL
    ]


def tiles(figures: Figures, name: str, lang: str, href: str) -> list[Values]:
    """The tile map: the number is the rank, the shade what the table ranks on."""
    found = []
    for code, tile in TILES.items():
        row = figures.row(name, code)
        found.append(
            {
                "row": tile.row,
                "column": tile.column,
                "href": href.format(code=code, digits=code[3:]),
                "rank": row.rank,
                "short": tile.fa if lang == "fa" else tile.en,
                "index": number(row.shown, lang, 1) if row.rank else None,
                "step": 1 + sum(row.shown >= least for least in BREAKS) if row.rank else 0,
            }
        )
    return sorted(found, key=lambda each: (each["row"], each["column"]))


def ranking(figures: Figures, name: str, lang: str) -> Values:
    """A table, its rows and what stands around them."""
    ranked = [row for row in figures.tables[name] if row.rank]
    return {
        "figures": figures,
        "table": name,
        "tables": TABLES,
        "rows": [_row(figures, name, row) for row in figures.tables[name]],
        "months": [_month(day, lang) for day in (*figures.month_ends, figures.day)],
        "median": median_low([row.shown for row in ranked]) if ranked else None,
        "heads": _heads(figures, name, lang),
        "country_terms": stage_terms(figures.country, figures.policy.formula, STAGE_IDS[int(name) - 1])
        if name != "composite"
        else (),
        "tiles": tiles(figures, name, lang, "#p-{digits}"),
        "lead": lead(figures, name, lang),
        "last_month": _month(figures.month_ends[-1], lang) if figures.month_ends else None,
    }


def lead(figures: Figures, name: str, lang: str) -> str:
    """The news in one sentence: who leads, and who moved most."""
    ranked = [row for row in figures.tables[name] if row.rank]
    if not ranked:
        return (
            "هنوز هیچ استانی رتبه ندارد: سهمیهٔ این دوره ابلاغ نشده است."
            if lang == "fa"
            else "No province is ranked yet: no quota has been notified for this round."
        )
    first = ranked[0]
    value = number(first.shown, lang, first.decimals)
    leaders = [name_of(row.province, lang) for row in ranked if row.rank == 1]
    climbers = [(figures.change(name, row.province) or 0, row) for row in ranked]
    gain, climber = max(climbers, key=lambda each: (each[0], each[1].province))
    if lang == "fa":
        who = " و ".join(leaders[:3])
        text = f"{who} با {'شاخص' if name == 'composite' else 'امتیاز'} {value} اول است."
        return text + (f" {name_of(climber.province, lang)} {number(gain, lang)} پله بالا آمده است." if gain else "")
    who = " and ".join(leaders[:3])
    text = f"{who} {'lead' if len(leaders) > 1 else 'leads'} with {value} of 100."
    return text + (f" {name_of(climber.province, lang)} is up {gain}." if gain else "")


def province(figures: Figures, code: str, lang: str) -> Values:
    """Everything of the page that says why."""
    score = figures.scores[code]
    widest = max(float(term.weight) for stage in STAGE_IDS for term in score.terms[stage])
    return {
        "figures": figures,
        "code": code,
        "called": name_of(code, lang),
        "row": figures.row("composite", code),
        "change": figures.change("composite", code),
        "last_month": _month(figures.month_ends[-1], lang) if figures.month_ends else None,
        "ranked": sum(row.rank is not None for row in figures.tables["composite"]),
        "lead": _why(figures, code, lang),
        "stages": [_stage(figures, code, number_, lang) for number_ in (1, 2, 3)],
        "steps": _steps(figures, code, lang),
        "parts": [
            *((STAGES[i].get(lang), [_term(t, lang) for t in score.terms[s]]) for i, s in enumerate(STAGE_IDS)),
            (DATA.get(lang), [_term(t, lang) for t in score.data]),
        ],
        "widest": widest,
        "neighbours": _neighbours(figures, code),
        "grades": [(label.get(lang), getattr(score.counts, key), i) for i, (key, label) in enumerate(GRADES)],
        "funnel": funnel(score.counts, lang),
        "durations": [(label.get(lang), getattr(score.counts, key)) for key, label in DURATIONS],
        "counts": score.counts,
    }


def method(formula: Formula, lang: str) -> Values:
    """The terms and weights of a formula, and the worked example under it."""
    stages = [
        (
            words.get(lang),
            [
                (TERMS[term].get(lang), NOTES[term].get(lang) if term in NOTES else "", weight)
                for term, weight in getattr(formula, stage).items()
            ],
        )
        for words, stage in zip(STAGES, STAGE_IDS, strict=True)
    ]
    example = [{"row": row, "counts": row.score.counts} for row in table(scores(worked(), formula), "composite")]
    return {"stages": stages, "example": example, "only_registers": ONLY_REGISTERS}


def percent(share: Fraction | Decimal) -> float:
    """A share, of 100, for bars."""
    return float(share) * 100


def _row(figures: Figures, name: str, row: Row) -> Values:
    score = row.score
    past = figures.past_ranks[name][row.province]
    known = [rank for rank in (*past, row.rank) if rank is not None]
    shown_terms = () if name == "composite" else score.terms[STAGE_IDS[int(name) - 1]]
    return {
        "code": row.province,
        "digits": row.province[3:],
        "rank": row.rank,
        "value": row.shown,
        "decimals": row.decimals,
        "change": figures.change(name, row.province),
        "stages": [percent(stage) for stage in score.stages],
        "terms": [{"value": percent(term.value), "term": term} for term in shown_terms],
        "counts": score.counts,
        "small_base": score.small_base,
        "past": known,
        "hot": len(known) > 1 and known[0] - known[-1] >= 5,
    }


def _heads(figures: Figures, name: str, lang: str) -> list[tuple[str, str]]:
    if name == "composite":
        return []
    weights = getattr(figures.policy.formula, STAGE_IDS[int(name) - 1])
    return [(HEADS[term][0].get(lang), HEADS[term][1].get(lang)) for term in weights]


def _month(day: Any, lang: str) -> str:
    return (MONTHS_FA if lang == "fa" else MONTHS_EN)[to_jalali(day)[1] - 1]


def _stage(figures: Figures, code: str, number_: int, lang: str) -> Values:
    name = str(number_)
    ranked = [row for row in figures.tables[name] if row.rank]
    own = figures.row(name, code)
    return {
        "label": STAGES[number_ - 1].get(lang),
        "rank": own.rank,
        "value": own.shown,
        "all": [float(row.shown) for row in ranked],
        "median": float(median_low([row.shown for row in ranked])) if ranked else None,
        "exponent": figures.policy.formula.exponents[number_ - 1],
    }


def _steps(figures: Figures, code: str, lang: str) -> list[Values]:
    """The index is a product: what each factor keeps of what was left before it."""
    score = figures.scores[code]
    left = Decimal(100)
    steps: list[Values] = []
    factors = [Decimal(score.d.numerator) / Decimal(score.d.denominator)]
    for value, exponent in zip(score.floored, score.formula.exponents, strict=True):
        factors.append(root(value**exponent.numerator, exponent.denominator))
    for words, factor in zip((DATA, *STAGES), factors, strict=True):
        kept = left * factor
        steps.append({"label": words.get(lang), "factor": factor, "left": kept, "lost": left - kept})
        left = kept
    return steps


def _term(term: Term, lang: str) -> Values:
    note = NOTES.get(term.id)
    return {
        "id": term.id,
        "label": TERMS[term.id].get(lang),
        "note": note.get(lang) if note and (term.id != "M3" or term.dropped) else "",
        "numerator": term.numerator,
        "denominator": term.denominator,
        "value": percent(term.raw),
        "weight": term.weight,
        "taken": term.contribution,
        "dropped": term.dropped,
    }


def _neighbours(figures: Figures, code: str) -> list[Values]:
    rows = [row for row in figures.tables["composite"] if row.rank]
    at = next((i for i, row in enumerate(rows) if row.province == code), None)
    if at is None:
        return []
    first = max(0, min(at - NEIGHBOURS, len(rows) - 2 * NEIGHBOURS - 1))
    own = rows[at]
    return [
        {"row": row, "own": row is own, "gap": row.shown - own.shown, "decimals": max(row.decimals, own.decimals)}
        for row in rows[first : first + 2 * NEIGHBOURS + 1]
    ]


def _why(figures: Figures, code: str, lang: str) -> str:
    """One sentence: where most of the index is lost, in whole numbers."""
    score = figures.scores[code]
    c = score.counts
    if score.unranked:
        return (
            "سهمیهٔ این دوره هنوز ابلاغ نشده است؛ تا آن زمان رتبه ندارد."
            if lang == "fa"
            else "No quota has been notified for this round; until then it has no rank."
        )
    losses = _steps(figures, code, lang)[1:]
    worst = max(range(3), key=lambda i: losses[i]["lost"])
    screened, registered, admitted, identified, connected, quota = (
        number(each, lang) for each in (c.screened, c.registered, c.admitted, c.identified, c.connected, c.quota)
    )
    if lang == "fa":
        facts = (
            f"{screened} نفر از {registered} ثبت‌نام‌شده پایش شده‌اند",
            f"ظرفیت {identified} نفر از {admitted} پذیرفته شناسایی شده است",
            f"{connected} نفر از سهمیهٔ {quota} نفری به بازار رسیده‌اند",
        )
        return f"بیشترین کاستی در «{STAGES[worst].fa}» است: {facts[worst]}."
    facts = (
        f"{screened} of {registered} registered have been screened",
        f"the capacity of {identified} of {admitted} admitted is identified",
        f"{connected} of a quota of {quota} have reached a market",
    )
    return f"It loses most in {STAGES[worst].en.lower()}: {facts[worst]}."
