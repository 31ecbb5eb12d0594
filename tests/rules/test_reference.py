"""The reference tables are complete, and withdrawn province codes are refused."""

import re
from collections import Counter

import pytest

from contracts import codes
from contracts.commands import Refused
from programme import reference

COUNTIES = {
    **{"IR-00": 12, "IR-01": 16, "IR-02": 22, "IR-03": 21, "IR-04": 17, "IR-05": 14, "IR-06": 27, "IR-07": 36},
    **{"IR-08": 23, "IR-09": 30, "IR-10": 24, "IR-11": 23, "IR-12": 10, "IR-13": 10, "IR-14": 10, "IR-15": 11},
    **{"IR-16": 11, "IR-17": 9, "IR-18": 10, "IR-19": 8, "IR-20": 8, "IR-21": 10, "IR-22": 13, "IR-23": 16},
    **{"IR-24": 11, "IR-25": 1, "IR-26": 6, "IR-27": 14, "IR-28": 8, "IR-29": 11, "IR-30": 6},
}


def test_31_provinces_in_the_order_of_their_codes() -> None:
    assert list(reference.provinces()) == list(COUNTIES)
    for names in ("name_fa", "name_en", "capital_fa", "capital_en", "old_code"):
        assert len({getattr(each, names) for each in reference.provinces().values()}) == 31


def test_448_counties_each_in_its_province() -> None:
    assert len(reference.counties()) == 448
    assert Counter(each.province for each in reference.counties().values()) == COUNTIES
    assert all(each.code[:2] == each.province[3:] for each in reference.counties().values())
    assert [each.name_fa for each in reference.counties_of("IR-20")] == [
        *("دامغان", "سمنان", "شاهرود", "گرمسار", "مهدی\u200cشهر", "آرادان", "میامی", "سرخه")
    ]


def test_job_fields() -> None:
    fields = reference.job_fields()
    assert len(fields) == 30
    assert {each.group for each in fields.values()} == set(codes.PRODUCT_GROUPS)
    assert all(each.starred == bool(each.clearance_body) for each in fields.values())


def test_29_of_31_old_codes_denote_another_province_today() -> None:
    changed = [each for each in reference.provinces().values() if each.old_code != each.code]
    assert len(changed) == 29
    assert sum(each.old_code in reference.provinces() for each in changed) == 27
    for each in changed:
        with pytest.raises(Refused) as refused:
            reference.province_named(each.old_code, each.name_fa)
        wanted = "province_code_old" if each.old_code in ("IR-31", "IR-32") else "province_name_mismatch"
        assert refused.value.code == wanted


def test_a_refused_pair_names_the_province_of_the_code() -> None:
    with pytest.raises(Refused) as refused:
        reference.province_named("IR-20", "لرستان")
    assert refused.value.details == {"given": "IR-20", "expected": "سمنان", "name": "لرستان"}


@pytest.mark.parametrize(
    ("code", "typed"),
    [
        ("IR-11", "سیستان وبلوچستان"),
        ("IR-11", "سیستان‌وبلوچستان"),
        ("IR-11", "سيستان و بلوچستان"),
        ("IR-17", "كهگيلويه وبويراحمد"),
        ("IR-14", "چهارمحال وبختيارئ"),
        ("IR-14", "چهار محال بختیاری"),
        (" IR-03 ", "اذربایجان شرقی"),
        ("IR-20", "سمنان"),
    ],
)
def test_spelling_variants_of_the_sources_are_accepted(code: str, typed: str) -> None:
    assert reference.province_named(code, typed).code == code.strip()


def test_names_of_provinces_stay_distinct_when_normalised() -> None:
    assert len({reference._name_key(each.name_fa) for each in reference.provinces().values()}) == 31


@pytest.mark.parametrize(
    ("lookup", "code"),
    [
        (lambda: reference.province("IR-31"), "province_code_old"),
        (lambda: reference.province("20"), "province_unknown"),
        (lambda: reference.province_or_all("IR-31"), "province_code_old"),
        (lambda: reference.province_or_all("IR-2"), "province_unknown"),
        (lambda: reference.county_in("2099", "IR-20"), "county_unknown"),
        (lambda: reference.county_in("2101", "IR-20"), "county_not_in_province"),
        (lambda: reference.job_field("JF999"), "field_unknown"),
    ],
)
def test_unknown_codes_are_refused(lookup: object, code: str) -> None:
    with pytest.raises(Refused, match=code):
        lookup()  # type: ignore[operator]


def test_known_codes() -> None:
    assert reference.province("IR-20").name_en == "Semnan"
    assert reference.county_in("2002", "IR-20").name_fa == "سمنان"
    assert reference.job_field("JF001").name_en == "Carpet weaving"


def test_names_in_both_languages() -> None:
    for each in (reference.province("IR-20"), reference.job_field("JF001")):
        assert (each.name("fa"), each.name("en")) == (each.name_fa, each.name_en)
    county = reference.county_in("2002", "IR-20")
    assert (county.name("fa"), county.name("en")) == ("سمنان", "Semnan")


def test_an_empty_code_stands_for_all_provinces() -> None:
    assert (reference.province_or_all(""), reference.province_or_all("IR-20")) == ("", "IR-20")


def test_names_of_counties_are_written_as_people_write_them() -> None:
    names = {each.code: each.name_fa for each in reference.counties().values()}
    corrected = {
        "0210": "قائم\u200cشهر",
        "1016": "شاهین\u200cشهر و میمه",
        "1024": "بوئین و میاندشت",
        "1102": "چابهار",
        "2208": "حاجی\u200cآباد",
        "0720": "قیر و کارزین",
    }
    assert {code: names[code] for code in corrected} == corrected
    for code, name in names.items():
        assert re.fullmatch("[آابپتثجچحخدذرزژسشصضطظعغفقکگلمنوهیئ \u200c]+", name), f"{code} {name}"
        assert not re.search(r"و(میمه|بیدگل|کرون|سملقان|کارزین)|^. | .$|  |\u200c | \u200c", name), f"{code} {name}"
        assert not re.search(r"[ادذرزژوآء]\u200c", name), f"{code} {name}: no joiner after a letter that never joins"


def test_names_of_counties_are_given_in_latin() -> None:
    english = {each.code: each.name_en for each in reference.counties().values()}
    assert all(re.fullmatch(r"[A-Z][a-z]+(['\- ][A-Za-z]+)*", name) for name in english.values())
    for province in reference.provinces():
        names = [each.name_en for each in reference.counties_of(province)]
        assert len(names) == len(set(names)), province


def test_lists_are_in_the_order_of_the_alphabet() -> None:
    persian = [each.name_fa for each in reference.by_name(reference.provinces().values(), "fa")]
    assert persian[:4] == ["آذربایجان شرقی", "آذربایجان غربی", "اردبیل", "اصفهان"]
    assert persian.index("چهارمحال و بختیاری") < persian.index("خراسان رضوی") < persian.index("زنجان")
    assert persian.index("کردستان") < persian.index("گلستان") < persian.index("لرستان") < persian.index("هرمزگان")
    assert persian[-1] == "یزد"
    english = [each.name_en for each in reference.by_name(reference.provinces().values(), "en")]
    assert english == sorted(english, key=str.casefold)
