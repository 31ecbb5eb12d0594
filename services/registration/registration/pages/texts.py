"""Texts of the forms, in Persian and English: by step of an application, and by input of a round."""

from typing import Literal

import msgspec

from contracts.codes import Label

Section = Literal["person", "work"]  # of the review page


class StepTexts(msgspec.Struct, frozen=True, kw_only=True):
    """The texts of one step."""

    section: Section
    question: Label
    why: Label
    hint: Label = Label("", "")
    label: Label | None = None  # in lists of steps, if it is not that of the only field


TEXTS = {
    "province": StepTexts(
        section="work",
        question=Label("در کدام استان زندگی می‌کنید؟", "Which province do you live in?"),
        hint=Label("استانی که کارتان آنجاست.", "The province where you work."),
        why=Label("سهمیه و کارشناس هر استان جداست.", "Each province has its own quota and officers."),
    ),
    "county": StepTexts(
        section="work",
        question=Label("در کدام شهرستان؟", "Which county?"),
        hint=Label("نزدیک‌ترین شهرستان به جایی که کار می‌کنید.", "The county nearest to where you work."),
        why=Label("تا کارشناس نزدیک شما پرونده را بردارد.", "So that an officer near you takes your case."),
    ),
    "national-id": StepTexts(
        section="person",
        question=Label("کد ملی شما چیست؟", "What is your national ID?"),
        hint=Label(
            "ده رقم روی کارت ملی. رقم فارسی یا انگلیسی فرقی ندارد؛ خط تیره و فاصله هم اشکالی ندارد.",
            "The ten digits on your national card. Persian or English digits, dashes and blanks are all fine.",
        ),
        why=Label(
            "تا هر نفر در کل کشور فقط یک درخواست داشته باشد. کد ملی رمز می‌شود، فقط کارشناس استان شما آن را "
            "می‌بیند، و هر بار دیدن ثبت می‌شود. در هیچ گزارش و خروجی نمی‌آید.",
            "So that each person has one application in the whole country. It is encrypted, only officers of your "
            "province see it, and every reading is recorded. It is in no report and no export.",
        ),
    ),
    "name": StepTexts(
        section="person",
        label=Label("نام", "Name"),
        question=Label("نام شما چیست؟", "What is your name?"),
        hint=Label("همان‌گونه که روی کارت ملی است.", "As it stands on your national card."),
        why=Label(
            "تا کارشناس بداند با چه کسی تماس می‌گیرد. رمز می‌شود.",
            "So that the officer knows whom to call. It is encrypted.",
        ),
    ),
    "birth-date": StepTexts(
        section="person",
        question=Label("کی به دنیا آمده‌اید؟", "When were you born?"),
        hint=Label("مثلاً ۱۴ تیر ۱۳۶۸.", "In the Persian calendar, for example 14 Tir 1368."),
        why=Label(
            "برای این طرح باید دست‌کم ۱۸ سال داشته باشید. فقط گروه سنی در آمار می‌آید.",
            "You must be 18 or older. Only your age group enters any statistics.",
        ),
    ),
    "sex": StepTexts(
        section="person",
        question=Label("زن هستید یا مرد؟", "Are you a woman or a man?"),
        why=Label(
            "تا معلوم شود طرح به چه کسانی می‌رسد. رقم‌های کوچک منتشر نمی‌شود.",
            "To know whom the plan reaches. Small figures are not published.",
        ),
    ),
    "mobile": StepTexts(
        section="person",
        question=Label("شمارهٔ همراهتان چند است؟", "What is your mobile number?"),
        hint=Label(
            "۱۱ رقم، با ۰۹ در آغاز. کارشناس به همین شماره زنگ می‌زند.",
            "11 digits, beginning with 09. The officer calls this number.",
        ),
        why=Label(
            "پایش بیشتر با گفت‌وگوی تلفنی است. شماره رمز می‌شود.",
            "Screening is mostly by telephone. The number is encrypted.",
        ),
    ),
    "field": StepTexts(
        section="work",
        question=Label("چه می‌سازید؟", "What do you make?"),
        hint=Label("نزدیک‌ترین رشته را انتخاب کنید.", "Choose the nearest job field."),
        why=Label(
            "تا پیشران و بازار همان رشته به شما برسد.",
            "So that lead enterprises and markets of this field find you.",
        ),
    ),
    "work-mode": StepTexts(
        section="work",
        question=Label("تنها کار می‌کنید یا با کسی؟", "Do you work alone or with others?"),
        why=Label("راه رسیدن به بازار برای هر کدام فرق دارد.", "The way to a market differs."),
    ),
}

ROUND_LABELS = {
    "round": Label("دوره", "Round"),
    "opens": Label("نخستین روز", "First day"),
    "closes": Label("آخرین روز", "Last day"),
    "policy": Label("نسخهٔ سیاست‌نامه", "Policy version"),
    "fields": Label("رشته‌ها", "Job fields"),
}
