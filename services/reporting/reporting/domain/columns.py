"""The data dictionary: every column of the CSV files, with its name for people, its unit and its meaning."""

import msgspec

from contracts.codes import Label


class Column(msgspec.Struct, frozen=True):
    """One column: `head` is its name for people; the code is its name for programs."""

    head: Label
    unit: Label
    meaning: Label


_PERSONS, _CONNECTIONS = Label("نفر", "persons"), Label("اتصال", "connections")
_FRACTION, _DECIMAL = Label("کسر دقیق، از ۱", "exact fraction, of 1"), Label("عدد، از ۱", "decimal, of 1")
_INDEX, _CODE, _TEXT = Label("از ۱۰۰", "of 100"), Label("کد", "code"), Label("متن", "text")
_YES_NO, _NUMBER = Label("۰ یا ۱", "0 or 1"), Label("عدد", "number")


def _column(fa: str, en: str, unit: Label, meaning_fa: str, meaning_en: str) -> Column:
    return Column(Label(fa, en), unit, Label(meaning_fa, meaning_en))


COLUMNS = {
    "rank": _column(
        "رتبه", "Rank", _NUMBER, "برابرها یک رتبه دارند؛ بی سهمیه خالی", "equal rows share one; no quota, none"
    ),
    "province": _column("کد استان", "Province code", _CODE, "ISO 3166-2:IR، از آذر ۱۳۹۹", "ISO 3166-2:IR as of 2020"),
    "name_fa": _column("نام", "Name in Persian", _TEXT, "نام استان یا جزء", "of the province or the term"),
    "name_en": _column("نام انگلیسی", "Name in English", _TEXT, "نام استان یا جزء", "of the province or the term"),
    "value": _column(
        "مقدار", "Value", _TEXT, "مقدار جدول از ۱۰۰، یا سهم به کسر", "of the table, of 100; of a term, its share"
    ),
    "index": _column("شاخص", "Index", _INDEX, "شاخص ترکیبی، گردشده", "the composite, rounded for display"),
    "d": _column("کیفیت داده، کسر", "Data quality, exact", _FRACTION, "میان ۰٫۸ و ۱", "between 0.8 and 1"),
    "s1": _column("مرحلهٔ ۱، کسر", "Stage 1, exact", _FRACTION, "ثبت‌نام و پایش", "registration and screening"),
    "s2": _column("مرحلهٔ ۲، کسر", "Stage 2, exact", _FRACTION, "شناسایی ظرفیت", "capacity identification"),
    "s3": _column("مرحلهٔ ۳، کسر", "Stage 3, exact", _FRACTION, "اتصال به بازار", "connection to market"),
    "quota": _column("سهمیه", "Quota", _PERSONS, "هدف استان در دوره", "the target of the province"),
    "registered": _column("ثبت‌نام", "Registered", _PERSONS, "افراد یکتا", "distinct persons"),
    "verified": _column("هویت تأییدشده", "Verified", _PERSONS, "از ثبت‌نام", "of the registered"),
    "screened": _column("پایش‌شده", "Screened", _PERSONS, "تصمیم گرفته شده", "decided"),
    "approved": _column("تأییدشده", "Approved", _PERSONS, "از پایش‌شده", "of the screened"),
    "appealed": _column("اعتراض", "Appealed", _PERSONS, "ردهایی که اعتراض دارند", "rejections with an appeal"),
    "overturned": _column("اعتراض پذیرفته", "Overturned", _PERSONS, "از اعتراض‌ها", "of the appealed"),
    "screened_in_time": _column("پایش در مهلت", "Screened in time", _PERSONS, "تا آخرین روز مهلت", "by the due day"),
    "screening_due": _column(
        "مبنای مهلت پایش", "Screening due", _PERSONS, "تصمیم‌گرفته یا دیرشده", "decided, or open and late"
    ),
    "admitted": _column("پذیرفته در سهمیه", "Admitted", _PERSONS, "اکنون جایگاه دارند", "hold a seat now"),
    "identified": _column("ظرفیت شناسایی‌شده", "Identified", _PERSONS, "از پذیرفته‌ها", "of the admitted"),
    "identified_in_time": _column(
        "شناسایی در مهلت", "Identified in time", _PERSONS, "تا آخرین روز مهلت", "by the due day"
    ),
    "capacity_due": _column(
        "مبنای مهلت ظرفیت", "Capacity due", _PERSONS, "شناسایی‌شده یا دیرشده", "identified, or late"
    ),
    "withdrawn": _column(
        "انصراف", "Withdrawn", _PERSONS, "پیش یا پس از تصمیم، تا امروز", "before or after a decision, so far"
    ),
    "withdrawn_by_officer": _column(
        "انصراف به دست کارشناس", "Withdrawn by officers", _PERSONS, "با فرم امضاشده", "on a signed form"
    ),
    "officer_acts": _column(
        "کار کارشناس از طرف متقاضی", "Acts of officers", _NUMBER, "اصلاح، انصراف، کد تازه", "for applicants"
    ),
    "gave_up": _column(
        "واگذاشتن جایگاه", "Gave up the seat", _PERSONS, "در این ماه، پس از شناسایی", "this month, once identified"
    ),
    "gave_up_sustainable": _column(
        "واگذاشتن با گواه دیرپا", "Of these, proven", _PERSONS, "گواه ۹۰ روزه یا بیشتر", "evidence of 90 days or more"
    ),
    "ready": _column("آمادهٔ بازار", "Ready", _PERSONS, "از شناسایی‌شده", "of the identified"),
    "connected": _column("متصل با گواه", "Connected", _PERSONS, "گواه درجهٔ ۲ و بالاتر", "with evidence at E2 or above"),
    "sustained": _column("پایدار", "Sustained", _PERSONS, "پس از ۹۰ روز برقرار", "still connected after 90 days"),
    "sustainable": _column(
        "مبنای پایداری", "Sustainable", _PERSONS, "از نخستین گواه ۹۰ روز گذشته", "first evidence 90 days ago"
    ),
    "claims": _column("اتصال اعلام‌شده", "Claims", _CONNECTIONS, "با هر گواهی، پایان‌نیافته", "any evidence, not ended"),
    "claims_documented": _column("اتصال با سند", "Documented", _CONNECTIONS, "درجهٔ ۱ و بالاتر", "at E1 or above"),
    "claims_confirmed": _column("اتصال تأییدشده", "Confirmed", _CONNECTIONS, "درجهٔ ۲ و بالاتر", "at E2 or above"),
    "claims_sold": _column("اتصال با فروش", "Sold", _CONNECTIONS, "درجهٔ ۳ و بالاتر", "at E3 or above"),
    "claims_sustained": _column("اتصال پایدار", "Held", _CONNECTIONS, "درجهٔ ۴", "at E4"),
    "small_base": _column("پایهٔ کوچک", "Small base", _YES_NO, "کمتر از ۳۰ ثبت‌نام", "fewer than 30 registered"),
    "unranked": _column("چرا رتبه ندارد", "Why unranked", _CODE, "no_quota یا خالی", "no_quota, or empty"),
    "table": _column("جدول", "Table", _CODE, "composite یا ۱، ۲، ۳", "composite, 1, 2 or 3"),
    "part": _column("بخش", "Part", _CODE, "کیفیت داده یا یکی از مرحله‌ها", "data quality or one of the stages"),
    "term": _column("جزء", "Term", _CODE, "شناسهٔ جزء در فرمول", "id of the term in the formula"),
    "numerator": _column("صورت", "Numerator", _NUMBER, "صورت سهم", "of the share"),
    "denominator": _column(
        "مخرج", "Denominator", _NUMBER, "مخرج سهم؛ صفر یعنی سهم صفر", "of the share; 0 gives a share of 0"
    ),
    "weight": _column("وزن، کسر", "Weight, exact", _FRACTION, "وزن جزء در مرحله", "of the term in its stage"),
    "contribution": _column(
        "سهم در مرحله، کسر", "Contribution, exact", _FRACTION, "وزن ضرب در مقدار", "weight times value"
    ),
    "dropped": _column("کنار گذاشته", "Dropped", _YES_NO, "برای کمی موردها شمرده نشد", "left out for too few cases"),
    "round": _column("دوره", "Round", _CODE, "شناسهٔ دوره", "id of the round"),
    "policy": _column("نسخهٔ مقررات", "Policy", _CODE, "نسخهٔ فرمول و مهلت‌ها", "version of formula and deadlines"),
    "as_of": _column("تا", "As of", Label("زمان تهران", "time in Tehran"), "زمان رقم‌ها", "time of the figures"),
    "events": _column("رویدادها", "Events", _NUMBER, "رویدادهای شمرده‌شده", "events counted so far"),
    "simulated_scale": _column(
        "اندازهٔ شبیه‌سازی", "Simulated scale", _FRACTION, "خالی یعنی رقم‌ها واقعی است", "empty: the figures are real"
    ),
    "d_decimal": _column("کیفیت داده", "Data quality", _DECIMAL, "همان، شش رقم اعشار", "the same, six decimals"),
    "s1_decimal": _column("مرحلهٔ ۱", "Stage 1", _DECIMAL, "همان، شش رقم اعشار", "the same, six decimals"),
    "s2_decimal": _column("مرحلهٔ ۲", "Stage 2", _DECIMAL, "همان، شش رقم اعشار", "the same, six decimals"),
    "s3_decimal": _column("مرحلهٔ ۳", "Stage 3", _DECIMAL, "همان، شش رقم اعشار", "the same, six decimals"),
    "value_decimal": _column("مقدار، عدد", "Value, decimal", _DECIMAL, "همان، شش رقم اعشار", "the same, six decimals"),
    "weight_decimal": _column("وزن", "Weight", _DECIMAL, "همان، شش رقم اعشار", "the same, six decimals"),
    "contribution_decimal": _column(
        "سهم در مرحله", "Contribution", _DECIMAL, "همان، شش رقم اعشار", "the same, six decimals"
    ),
}
