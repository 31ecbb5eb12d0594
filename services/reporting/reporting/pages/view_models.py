"""What the templates get: texts in the language of the reader; bars and tiles as numbers."""

from datetime import date
from decimal import Decimal
from fractions import Fraction
from statistics import median_low
from typing import Any

from programme.calendar import month_name, to_jalali
from programme.policies import Formula
from programme.reference import provinces
from programme.text import number
from reporting.domain.figures import Figures
from reporting.domain.indicators import STAGES as STAGE_IDS
from reporting.domain.indicators import Counts, Term, stage_terms
from reporting.domain.ranking import TABLES, Row, root, scores, table
from reporting.domain.terms import TERMS
from reporting.domain.worked_example import ONLY_REGISTERS, worked_example
from reporting.pages.texts import BREAKS, DATA, DURATIONS, FUNNEL, GRADES, HEADS, NOTES, STAGES, TILES

Values = dict[str, Any]
NEIGHBOURS = 2  # shown above and below a province


def name_of(code: str, lang: str) -> str:
    """Return the name of a province."""
    return provinces()[code].name(lang)


def funnel(counts: Counts, lang: str) -> list[Values]:
    """Return the steps from registered to sustained."""
    return [
        {"name": name, "label": label.text(lang), "note": note.text(lang), "value": getattr(counts, name)}
        for name, label, note in FUNNEL
    ]


def tiles(figures: Figures, name: str, lang: str, href: str) -> list[Values]:
    """Return the tile map, row by row: the number is the rank, the shade the value of the table."""
    found = []
    for code, tile in TILES.items():
        row = figures.row(name, code)
        found.append(
            {
                "code": code,
                "row": tile.row,
                "column": tile.column,
                "href": href.format(code=code, digits=code[3:]),
                "rank": row.rank,
                "short": tile.name(lang),
                "index": number(row.shown, lang, 1) if row.rank else None,
                "step": 1 + sum(row.shown >= least for least in BREAKS) if row.rank else 0,
            }
        )
    return sorted(found, key=lambda each: (each["row"], each["column"]))


def ranking(figures: Figures, name: str, lang: str) -> Values:
    """Return a table, its rows and the texts and figures around them."""
    ranked = [row for row in figures.tables[name] if row.rank]
    return {
        "figures": figures,
        "table": name,
        "tables": TABLES,
        "rows": [_row(figures, name, row) for row in figures.tables[name]],
        "months": [month(day, lang) for day in (*figures.month_ends, figures.day)],
        "median": median_low([row.shown for row in ranked]) if ranked else None,
        "heads": _heads(figures, name, lang),
        "total_terms": stage_terms(figures.nationwide, figures.policy.formula, STAGE_IDS[int(name) - 1])
        if name != "composite"
        else (),
        "tiles": tiles(figures, name, lang, "#p-{digits}"),
        "news": news(figures, name, lang),
        "last_month": month(figures.month_ends[-1], lang) if figures.month_ends else None,
    }


def news(figures: Figures, name: str, lang: str) -> Values | None:
    """Return which provinces lead, and which one gained most ranks; None if no province is ranked."""
    ranked = [row for row in figures.tables[name] if row.rank]
    if not ranked:
        return None
    climbers = [(figures.change(name, row.province) or 0, row.province) for row in ranked]
    gain, climber = max(climbers)
    return {
        "leaders": [name_of(row.province, lang) for row in ranked if row.rank == 1],
        "value": number(ranked[0].shown, lang, ranked[0].decimals),
        "climber": name_of(climber, lang),
        "gain": gain,
    }


def province(figures: Figures, code: str, lang: str) -> Values:
    """Return what the page of a province shows: how its rank comes about."""
    score = figures.scores[code]
    widest = max(float(term.weight) for stage in STAGE_IDS for term in score.terms[stage])
    return {
        "figures": figures,
        "code": code,
        "province_name": name_of(code, lang),
        "row": figures.row("composite", code),
        "change": figures.change("composite", code),
        "last_month": month(figures.month_ends[-1], lang) if figures.month_ends else None,
        "ranked": sum(row.rank is not None for row in figures.tables["composite"]),
        "worst": _worst_stage(figures, code, lang),
        "stages": [_stage(figures, code, number_, lang) for number_ in (1, 2, 3)],
        "steps": _steps(figures, code, lang),
        "parts": [
            *((STAGES[i].text(lang), [_term(t, lang) for t in score.terms[s]]) for i, s in enumerate(STAGE_IDS)),
            (DATA.text(lang), [_term(t, lang) for t in score.data]),
        ],
        "widest": widest,
        "neighbours": _neighbours(figures, code),
        "grades": [(label.text(lang), getattr(score.counts, key), i) for i, (key, label) in enumerate(GRADES)],
        "funnel": funnel(score.counts, lang),
        "durations": [(label.text(lang), getattr(score.counts, key)) for key, label in DURATIONS],
        "counts": score.counts,
    }


def work(figures: Figures, code: str, lang: str) -> Values:
    """Return the figures of a province on the page of those who work there; nationwide without a code."""
    counts = figures.scores[code].counts if code else figures.nationwide
    return {
        "counts": counts,
        "funnel": funnel(counts, lang),
        "row": figures.row("composite", code) if code else None,
        "ranked": sum(row.rank is not None for row in figures.tables["composite"]),
    }


def method(formula: Formula, lang: str) -> Values:
    """Return the terms and weights of a formula, and the worked example under it."""
    stages = [
        (
            label.text(lang),
            [
                (TERMS[term].text(lang), NOTES[term].text(lang) if term in NOTES else "", weight)
                for term, weight in getattr(formula, stage).items()
            ],
        )
        for label, stage in zip(STAGES, STAGE_IDS, strict=True)
    ]
    rows = table(scores(worked_example(), formula), "composite")
    example = [{"row": row, "counts": row.score.counts} for row in rows]
    return {"stages": stages, "example": example, "only_registers": ONLY_REGISTERS}


def percent(share: Fraction | Decimal) -> float:
    """Return a share as a percentage, for bars."""
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
        "by_tie_rule": row.by_tie_rule,
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
    return [(HEADS[term][0].text(lang), HEADS[term][1].text(lang)) for term in weights]


def month(day: date, lang: str) -> str:
    """Return the name of the Jalali month of a day."""
    return month_name(to_jalali(day)[1], lang)


def _stage(figures: Figures, code: str, number_: int, lang: str) -> Values:
    name = str(number_)
    ranked = [row for row in figures.tables[name] if row.rank]
    own = figures.row(name, code)
    return {
        "label": STAGES[number_ - 1].text(lang),
        "rank": own.rank,
        "value": own.shown,
        "all": [float(row.shown) for row in ranked],
        "median": float(median_low([row.shown for row in ranked])) if ranked else None,
        "exponent": figures.policy.formula.exponents[number_ - 1],
    }


def _steps(figures: Figures, code: str, lang: str) -> list[Values]:
    """Return what each factor of the index, which is a product, leaves of what was left before it."""
    score = figures.scores[code]
    left = Decimal(100)
    steps: list[Values] = []
    factors = [Decimal(score.d.numerator) / Decimal(score.d.denominator)]
    for value, exponent in zip(score.floored, score.formula.exponents, strict=True):
        factors.append(root(value**exponent.numerator, exponent.denominator))
    for label, factor in zip((DATA, *STAGES), factors, strict=True):
        rest = left * factor
        steps.append({"label": label.text(lang), "factor": factor, "left": rest, "lost": left - rest})
        left = rest
    return steps


def _term(term: Term, lang: str) -> Values:
    note = NOTES.get(term.id)
    return {
        "id": term.id,
        "label": TERMS[term.id].text(lang),
        "note": note.text(lang) if note and (term.id != "M3" or term.dropped) else "",
        "numerator": term.numerator,
        "denominator": term.denominator,
        "value": percent(term.raw),
        "weight": term.weight,
        "earned": term.contribution,
        "dropped": term.dropped,
    }


def _neighbours(figures: Figures, code: str) -> list[Values]:
    rows = [row for row in figures.tables["composite"] if row.rank]
    position = next((i for i, row in enumerate(rows) if row.province == code), None)
    if position is None:
        return []
    first = max(0, min(position - NEIGHBOURS, len(rows) - 2 * NEIGHBOURS - 1))
    own = rows[position]
    return [
        {"row": row, "own": row is own, "gap": row.shown - own.shown, "decimals": max(row.decimals, own.decimals)}
        for row in rows[first : first + 2 * NEIGHBOURS + 1]
    ]


def _worst_stage(figures: Figures, code: str, lang: str) -> int | None:
    """Return the stage, from 0, in which most of the index is lost; None without a rank."""
    if figures.scores[code].unranked:
        return None
    losses = _steps(figures, code, lang)[1:]
    return max(range(3), key=lambda i: losses[i]["lost"])
