"""Messages of all refusals and HTTP errors: a code, a kind, and a sentence in Persian and English on what to do.

To add one: an entry in the table below, in `answer_messages` for a fault in one answer, in `case_messages` while a case
waits for someone outside screening, or in `http_messages` for a request that reaches no rule.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import msgspec

from contracts.codes import Label
from programme import calendar, text
from programme.answer_messages import ANSWER_MESSAGES
from programme.case_messages import CASE_MESSAGES
from programme.http_messages import HTTP_MESSAGES, TITLES
from programme.seat_messages import SEAT_MESSAGES

STATUSES = {
    "malformed": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "missing": 404,
    "method": 405,
    "slow": 408,
    "conflict": 409,
    "too_large": 413,
    "address": 414,
    "media": 415,
    "invalid": 422,
    "limited": 429,
    "failed": 500,
    "interrupted": 502,
    "busy": 503,
    "unresponsive": 504,
}


class MessageTemplate(msgspec.Struct, frozen=True):
    """A message by its code; placeholders such as `{limit}` are filled from the details of the refusal."""

    code: str
    kind: str  # one of STATUSES
    fa: str
    en: str


# Refusals of the rules. Three lines each: code and kind, Persian sentence, English sentence. Sorted by code.
_TABLE = """
already_appealed conflict
برای این درخواست پیش‌تر اعتراض ثبت شده است؛ اعتراض یک بار است.
An appeal has already been filed for this application; it can be filed once.

already_decided conflict
دربارهٔ این پرونده پیش‌تر تصمیم گرفته شده است.
This case has already been decided.

already_registered conflict
با این کد ملی در این دوره درخواستی ثبت شده است. با کد پیگیری‌تان می‌توانید آن را ببینید.
An application with this ID is already registered in this round. You can follow it with your tracking code.

already_reviewed conflict
به این تأیید پیش‌تر دوباره نگاه شده است.
This approval has already been looked at again.

already_withdrawn conflict
این درخواست پیش‌تر پس گرفته شده است.
This application has already been withdrawn.

appeal_too_late conflict
مهلت اعتراض {until} تمام شده است.
The last day to appeal was {until}.

calendar_ended conflict
تقویم کاری این روزها هنوز در سامانه نیست. لطفاً به پشتیبانی خبر دهید و پس از آن تصمیم را ثبت کنید.
The system does not have the work calendar of these days yet. Please contact support, then record the decision.

call_outcome_unknown invalid
لطفاً بگویید تماس چه شد: گفت‌وگو شد، پاسخ نداد، یا وقت دیگری خواست.
Please choose what came of the call: reached, no answer, or asked for another time.

capacity_known conflict
ظرفیت این متقاضی پیش‌تر شناسایی شده است.
This applicant's capacity has already been identified.

case_claimed conflict
همکار شما تا {until} روی این پرونده کار می‌کند.
A colleague is working on this case until {until}.

cases_in_hand conflict
{limit} پروندهٔ باز در دست شماست. لطفاً نخست دربارهٔ یکی از آن‌ها تصمیم بگیرید.
You have {limit} open cases in hand. Please decide one of them first.

changed_meanwhile conflict
داده‌های این متقاضی در این میان عوض شده است. صفحه را دوباره باز کنید و کار را از نو انجام دهید.
The data of this applicant changed meanwhile. Open the page again and start over.

closes_before_opens invalid
پایان مهلت را بعد از آغاز آن بگذارید.
Set the end of the window after its beginning.

codes_of_the_day limited
در یک روز {limit} کد پیگیری به این متقاضی داده شده است. فردا دوباره بیایید.
{limit} tracking codes were issued to this applicant within a day. Try again tomorrow.

connection_ended conflict
این اتصال پایان یافته است.
This connection has ended.

connection_unknown missing
چنین اتصالی پیدا نشد. شناسه را دوباره نگاه کنید.
There is no such connection. Check the identifier.

corrections_used_up conflict
داده‌های یک درخواست بیش از {limit} بار اصلاح نمی‌شود. موضوع را با مدیر اجرایی طرح در میان بگذارید.
An application is corrected at most {limit} times. Please ask the executive manager.

decider_may_not_review forbidden
این تصمیم را خود شما گرفته‌اید؛ همکار دیگری به آن دوباره نگاه می‌کند.
You took this decision; a colleague looks at it again.

erased conflict
داده‌های این متقاضی پاک شده است. کار دیگری با آن نمی‌شود کرد.
The data of this applicant has been erased. Nothing else can be done with it.

evidence_beyond_role forbidden
شما گواه را تا {highest} ثبت می‌کنید؛ بالاتر از آن را کسی دیگر باید ثابت کند.
You may record evidence up to {highest}; another person must prove more.

evidence_not_allowed invalid
این گواه را نمی‌توان اینجا ثبت کرد. یکی از E0 تا E3 را انتخاب کنید.
This evidence cannot be recorded here. Choose one of E0 to E3.

evidence_not_higher conflict
گواه تازه باید بالاتر از {evidence} باشد که ثبت شده است.
The new evidence must be above {evidence}, which is already recorded.

field_not_open invalid
این رشته در این دوره باز نیست. رشتهٔ دیگری انتخاب کنید.
This job field is not open in this round. Choose another one.

filer_may_not forbidden
این اعتراض را خود شما ثبت کرده‌اید؛ همکار دیگری به آن رسیدگی می‌کند.
You filed this appeal; a colleague decides it.

first_decider_may_not forbidden
تصمیم نخست را خود شما گرفته‌اید؛ به اعتراض آن همکار دیگری رسیدگی می‌کند.
You took the first decision; a colleague decides the appeal against it.

identity_differs conflict
این درخواست با آنچه از متقاضی ثبت شده است یکی نیست. استان، شهرستان، رشته و ویژگی‌ها را دوباره نگاه کنید.
This application differs from the one on record. Check province, county, job field and the other answers.

identity_known conflict
هویت این متقاضی ثبت شده است و کاری لازم نیست.
The identity of this applicant is on record. Nothing needs to be done.

identity_lost conflict
هویت این متقاضی پس از بازگرداندن پشتیبان در دست نیست. نخست هویت او را از روی کارت ملی دوباره ثبت کنید.
The identity of this applicant was lost with a restored backup. Enter it again from the national card first.

intake_closed conflict
ثبت‌نام در این استان اکنون باز نیست. تاریخ‌ها را در صفحهٔ دوره ببینید.
Registration in this province is not open now. See the dates on the page of the round.

lead_unknown invalid
این پیشران ثبت نشده است. شناسهٔ پیشران را دوباره نگاه کنید.
This lead enterprise is not enlisted. Check its identifier.

next_call_missing invalid
لطفاً روز و ساعت تماس بعدی را انتخاب کنید.
Please choose day and hour of the next call.

next_call_out_of_range invalid
وقت تماس بعدی باید از این لحظه تا {limit} روز دیگر باشد.
The next call must be between now and {limit} days from now.

no_case_waits missing
اکنون هیچ پروندهٔ بازی در حوزهٔ شما نیست که کسی برنداشته باشد. چند دقیقهٔ دیگر دوباره نگاه کنید.
No open case in your area is unassigned now. Look again in a few minutes.

no_open_appeal conflict
برای این متقاضی اعتراضی در دست رسیدگی نیست.
No appeal of this applicant waits for a decision.

no_open_case conflict
برای این متقاضی پروندهٔ بازی نیست.
This applicant has no open case.

not_admitted conflict
این متقاضی هنوز در سهمیه پذیرفته نشده است.
This applicant has not been admitted to a seat yet.

not_assigned forbidden
نام و شماره را کسی می‌بیند که پرونده را برداشته است. نخست پرونده را از صف بردارید.
Name and number are shown to the officer who has claimed the case. Claim it first.

not_called_enough conflict
«در دسترس نبود» پس از {calls} تماس بی‌پاسخ در {days} روز دلیل رد است. مانده: {missing} تماس، در {missing_days} روز دیگر.
"Could not be reached" needs {calls} unanswered calls on {days} days. Missing: calls {missing}, days {missing_days}.

not_claimed conflict
این پرونده در دست شما نیست؛ شاید زمانش گذشته باشد. می‌توانید پروندهٔ بعدی را بردارید.
You have not claimed this case; perhaps the time was over. You can take the next case.

not_drawn conflict
این تصمیم در قرعهٔ نگاه دوم نیست.
This decision was not drawn for a second look.

not_eligible conflict
تأیید نمی‌شود؛ این شرط‌ها برقرار یا پرسیده نیست: {rules}.
Not eligible. These conditions are not met, or not confirmed yet: {rules}.

not_ready conflict
این تولیدکننده هنوز آمادهٔ اتصال نیست؛ نخست باید ظرفیتش شناسایی شود.
This producer is not ready for a market yet; the capacity has to be identified first.

not_registered missing
چنین درخواستی پیدا نشد. شناسه را دوباره نگاه کنید.
There is no such application. Check the identifier.

not_rejected conflict
اعتراض فقط به ردِ درخواست ممکن است و این درخواست رد نشده است.
An appeal is possible against a rejection only, and this application has not been rejected.

nothing_changed conflict
چیزی عوض نشده است. آنچه را نادرست است تغییر دهید.
Nothing was changed. Change what is wrong.

offer_closed conflict
به این پیشنهاد پیش‌تر پاسخ داده شده است.
This offer has already been answered.

offer_not_accepted conflict
این پیشنهاد پذیرفته نشده، یا برای راه فروش دیگری است.
This offer has not been accepted, or it is for another channel.

offer_unknown missing
چنین پیشنهادی پیدا نشد. شناسه را دوباره نگاه کنید.
There is no such offer. Check the identifier.

offers_full conflict
این پیشران برای این درخواست {limit} پیشنهاد ثبت کرده است. با یکی از آن‌ها ادامه دهید.
This lead enterprise has made {limit} offers for this application. Go on with one of them.

person_not_found missing
با این شماره چیزی پیدا نشد. شماره را دوباره بپرسید؛ دربارهٔ استان‌های دیگر دبیرخانهٔ طرح در همان استان پاسخ می‌دهد.
Nothing was found under this number. Ask for it again; for other provinces their own office answers.

policy_unknown invalid
چنین نسخه‌ای از مقررات منتشر نشده است؛ نسخه‌های منتشرشده: {known}.
No such version of the policies was published; these were: {known}.

registrar_may_not_screen forbidden
این متقاضی را شما ثبت‌نام کرده‌اید؛ پرونده را همکار دیگری بررسی می‌کند.
You registered this applicant; a colleague decides this case.

review_missing invalid
لطفاً بگویید تأیید درست است یا نه.
Please choose whether the approval is right.

review_reason_missing invalid
لطفاً دست‌کم یک دلیل را از فهرست انتخاب کنید.
Please choose at least one reason from the list.

round_exists conflict
این دوره پیش‌تر با شرایط دیگری باز شده است.
This round was already opened with other terms.

round_unknown missing
چنین دوره‌ای پیدا نشد. شمارهٔ دوره را دوباره نگاه کنید.
There is no such round. Check its number.

window_outside_round invalid
مهلت استان را درون مهلت دوره بگذارید.
Set the window of the province within that of the round.
"""


def _parse(table: str) -> dict[str, MessageTemplate]:
    messages: dict[str, MessageTemplate] = {}
    for entry in table.strip().split("\n\n"):
        head, fa, en = entry.split("\n")
        code, kind = head.split(" ")
        if kind not in STATUSES or code in messages:
            raise ValueError(f"message {code}: unknown kind {kind}, or a duplicate")
        messages[code] = MessageTemplate(code, kind, fa, en)
    return messages


MESSAGES: dict[str, MessageTemplate] = _parse(
    "\n\n".join(each.strip() for each in (_TABLE, ANSWER_MESSAGES, CASE_MESSAGES, SEAT_MESSAGES, HTTP_MESSAGES))
)


def localized(fa: str, en: str, lang: str) -> str:
    """Return the Persian text for `fa`, the English one for any other language."""
    return fa if lang == "fa" else en


class _Details(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "…"


def message_text(code: str, lang: str, **details: Any) -> str:
    """Return the sentence of a code in `fa` or `en` with its placeholders filled; missing details become an ellipsis.

    An unknown code gives the sentence of `malformed` (a test checks that every code in use is known).
    """
    message = MESSAGES.get(code, MESSAGES["malformed"])
    sentence = localized(message.fa, message.en, lang)
    return sentence.format_map(_Details({name: _formatted(value, lang) for name, value in details.items()}))


def problem_body(code: str, status: int, details: Mapping[str, Any]) -> dict[str, Any]:
    """Return problem details (RFC 9457) without the English title; a status of 0 means that of the code's kind."""
    status = status or STATUSES[MESSAGES.get(code, MESSAGES["malformed"]).kind]
    return {
        "type": f"urn:peyvand:problem:{code}",
        "title_fa": TITLES.get(status, TITLES[400 if status < 500 else 500]),
        "status": status,
        "code": code,
        "detail": message_text(code, "en", **details),
        "detail_fa": message_text(code, "fa", **details),
    }


def _formatted(value: Any, lang: str) -> str:
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return text.number(value, lang)
    if isinstance(value, Label):
        return value.text(lang)
    if isinstance(value, datetime):
        return calendar.long_time(value, lang)
    if isinstance(value, date):
        return calendar.long_date(value, lang)
    if isinstance(value, (list, tuple, set, frozenset)):
        return ("، " if lang == "fa" else ", ").join(_formatted(each, lang) for each in value)
    return str(value)
