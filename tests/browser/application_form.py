"""The form of an application, filled in as a person does: one question a page."""

from programme.text import persian_digits
from tests.browser.visitor import Visitor


def answers_of(nid: str) -> dict[str, dict[str, str]]:
    """Return the answers of this person by question."""
    return {
        "province": {"province": "IR-20"},
        "county": {"county": "2003"},
        "national-id": {
            "national_id": f"{persian_digits(nid[:3])} {persian_digits(nid[3:9])}-{persian_digits(nid[9])}"
        },
        "name": {"first_name": "مریم", "last_name": "آزمون"},
        "birth-date": {"day": "۱۴", "month": "4", "year": "۱۳۶۸"},
        "sex": {"sex": "female"},
        "mobile": {"mobile": "۰۹۰۰ ۰۷۹ ۰۰۰۱"},
        "field": {"field": "JF003"},
        "work-mode": {"work_mode": "independent"},
    }


async def answer_question(visitor: Visitor, answer: dict[str, str]) -> None:
    """Fill in the question of the page and submit it."""
    for name, text in answer.items():
        field = visitor.page.locator(f"form.ask [name={name}]")
        if await field.count() > 1:
            await visitor.page.locator(f"form.ask [name={name}][value={text}]").check()
        elif await field.evaluate("each => each.tagName") == "SELECT":
            await field.select_option(text)
        else:
            await field.fill(text)
    await visitor.press("ادامه")


async def submit(visitor: Visitor) -> None:
    """Give consent and submit the reviewed application."""
    await visitor.page.locator("#consent").check()
    await visitor.press("درست است، ثبت کن")
