"""Every way the programme says no: a code, a kind, and a sentence in Persian and English that says what to do."""

from datetime import date, datetime
from typing import Any

import msgspec

from contracts import calendar, text

KINDS = {
    "malformed": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "missing": 404,
    "method": 405,
    "conflict": 409,
    "too_large": 413,
    "media": 415,
    "invalid": 422,
    "limited": 429,
    "failed": 500,
    "busy": 503,
}


class Refusal(msgspec.Struct, frozen=True):
    """One way to say no; `{names}` in the sentences are filled from the details of the refusal."""

    code: str
    kind: str  # one of KINDS
    fa: str
    en: str


# Three lines each: code and kind, the Persian sentence, the English sentence. Alphabetical.
_TABLE = """
already_decided conflict
دربارهٔ این پرونده پیش‌تر تصمیم گرفته شده است.
This case has already been decided.

already_registered conflict
با این کد ملی در این دوره درخواستی ثبت شده است. با کد پیگیری‌تان می‌توانید آن را ببینید.
An application with this ID is already registered in this round. You can follow it with your tracking code.

already_withdrawn conflict
این درخواست پیش‌تر پس گرفته شده است.
This application has already been withdrawn.

batch_too_long invalid
فهرست را کوتاه‌تر کنید: در هر بار حداکثر {limit} ردیف پذیرفته می‌شود.
Shorten the list: at most {limit} rows are accepted at a time.

birth_date_future invalid
تاریخ تولد در آینده است. لطفاً آن را از روی کارت دوباره بخوانید.
This birth date lies in the future. Please read it from your card again.

birth_date_implausible invalid
این تاریخ تولد خیلی دور است. لطفاً سال را دوباره نگاه کنید.
This birth date is too long ago. Please check the year.

capacity_known conflict
ظرفیت این متقاضی پیش‌تر شناسایی شده است.
This applicant's capacity has already been identified.

closes_before_opens invalid
پایان مهلت را بعد از آغاز آن بگذارید.
Set the end of the window after its beginning.

code_unknown invalid
یکی از گزینه‌های فهرست را انتخاب کنید.
Choose one of the listed values.

columns_unknown invalid
نام ستون‌های پرونده را درست کنید؛ ستون‌های لازم: {columns}.
Correct the column names of the file; these are needed: {columns}.

connection_ended conflict
این اتصال پایان یافته است.
This connection has ended.

connection_unknown missing
چنین اتصالی پیدا نشد. شناسه را دوباره نگاه کنید.
There is no such connection. Check the identifier.

consent_missing invalid
برای ادامه، متن رضایت را بخوانید و بپذیرید.
To go on, read the consent text and accept it.

county_not_in_province invalid
این شهرستان در استانی که انتخاب کرده‌اید نیست. شهرستان را دوباره انتخاب کنید.
This county is not in the province you chose. Choose the county again.

county_unknown invalid
شهرستان را از فهرست انتخاب کنید.
Choose the county from the list.

cross_site forbidden
این درخواست از سایت دیگری آمده است. صفحه را از همین سایت باز کنید و دوباره بفرستید.
This request came from another site. Open the page on this site and send it again.

cursor_invalid malformed
این نشانی صفحه دیگر معتبر نیست. از صفحهٔ نخست فهرست آغاز کنید.
This page of the list is no longer valid. Start from its first page.

date_invalid invalid
تاریخ را به شکل سال-ماه-روز بنویسید؛ مثلاً ۱۳۷۵-۰۷-۰۵.
Write the date as year-month-day, for example 1375-07-05.

evidence_beyond_role forbidden
شما مدرک را تا {highest} ثبت می‌کنید؛ بالاتر از آن را کسی دیگر باید ثابت کند.
You may record evidence up to {highest}; what is above must be proven by somebody else.

evidence_not_allowed invalid
این مدرک را نمی‌توان اینجا ثبت کرد. یکی از E0 تا E3 را انتخاب کنید.
This evidence cannot be recorded here. Choose one of E0 to E3.

evidence_not_higher conflict
مدرک تازه باید بالاتر از {evidence} باشد که ثبت شده است.
The new evidence must be above {evidence}, which is already recorded.

failed failed
خطایی در سامانه رخ داد و ثبت شد. کمی بعد دوباره بکوشید و اگر ماند، این شماره را به پشتیبانی بدهید.
Something went wrong on our side and was recorded. Try again shortly; if it stays, give this number to support.

field_not_open invalid
این رشته در این دوره باز نیست. رشتهٔ دیگری انتخاب کنید.
This job field is not open in this round. Choose another one.

field_unknown invalid
رشته را از فهرست انتخاب کنید.
Choose the job field from the list.

forbidden forbidden
این کار در اختیار شما نیست. اگر باید باشد، به مدیر طرح در استان بگویید.
This is not yours to do. If it should be, tell the plan's manager in your province.

history_full busy
پروندهٔ این مورد پر شده است. لطفاً به پشتیبانی سامانه خبر دهید.
The history of this record is full. Please tell the operators of the system.

host_unknown malformed
این درخواست به نشانی دیگری فرستاده شده است. نشانی رسمی سامانه را باز کنید.
This request was sent to another address. Open the official address of the programme.

idempotency_key_invalid malformed
کلید تکرار باید ۱ تا ۱۲۸ نویسهٔ سادهٔ لاتین باشد.
The idempotency key must be 1 to 128 plain ASCII characters.

idempotency_key_missing malformed
برای این کار سرآیند Idempotency-Key را هم بفرستید.
Send the Idempotency-Key header with this request.

idempotency_key_reused invalid
این کلید تکرار پیش‌تر برای درخواست دیگری به کار رفته است. کلید تازه‌ای بسازید.
This idempotency key was used for a different request. Make a new one.

intake_closed conflict
ثبت‌نام در این استان اکنون باز نیست. تاریخ‌ها را در صفحهٔ دوره ببینید.
Registration in this province is not open now. See the dates on the page of the round.

lead_unknown invalid
این پیشران ثبت نشده است. شناسهٔ پیشران را دوباره نگاه کنید.
This lead enterprise is not enlisted. Check its identifier.

malformed malformed
درخواست خوانده نشد. شکل آن را با راهنمای API بسنجید و دوباره بفرستید.
The request could not be read. Compare it with the API description and send it again.

media_type media
محتوا را با نوع {expected} بفرستید.
Send the content as {expected}.

method_not_allowed method
این نشانی چنین درخواستی را نمی‌پذیرد.
This address does not accept that method.

missing_field invalid
این بخش را هم پر کنید.
Fill this in as well.

mobile_invalid invalid
شمارهٔ همراه را با ۱۱ رقم و با ۰۹ در آغاز بنویسید؛ مثلاً ۰۹۱۲۱۲۳۴۵۶۷.
Write the mobile number with 11 digits beginning with 09, for example 09121234567.

name_invalid invalid
نام را همان‌گونه که روی کارت ملی است بنویسید.
Write the name as it stands on the national card.

national_id_check_digit invalid
رقم آخر کد ملی با بقیه نمی‌خواند. لطفاً از روی کارت دوباره بخوانید.
The last digit does not fit the others. Please read the number from your card again.

national_id_impossible invalid
چنین کد ملی‌ای صادر نمی‌شود. لطفاً از روی کارت دوباره بخوانید.
No such national ID is issued. Please read the number from your card again.

national_id_length invalid
کد ملی ۱۰ رقم دارد. لطفاً همهٔ رقم‌ها را بنویسید.
A national ID has 10 digits. Please write all of them.

national_id_letter invalid
در جای {position} کد ملی رقم نیست. لطفاً فقط رقم بنویسید.
Character {position} of the national ID is not a digit. Please write digits only.

no_open_case conflict
برای این متقاضی پروندهٔ بازی نیست.
This applicant has no open case.

not_admitted conflict
این متقاضی هنوز در سهمیه پذیرفته نشده است.
This applicant has not been admitted to a seat yet.

not_connected conflict
این تولیدکننده هنوز اتصالی ندارد.
This producer has no connection yet.

not_eligible conflict
با قواعدی که برقرار نیست نمی‌توان پذیرفت: {rules}.
Conditions that do not hold forbid an approval: {rules}.

not_found missing
چیزی با این نشانی پیدا نشد. نشانی را دوباره نگاه کنید.
Nothing was found here. Check the address.

not_ready conflict
این تولیدکننده هنوز آمادهٔ اتصال نیست؛ نخست باید ظرفیتش شناسایی شود.
This producer is not ready for a market yet; the capacity has to be identified first.

not_registered missing
چنین درخواستی پیدا نشد. شناسه را دوباره نگاه کنید.
There is no such application. Check the identifier.

number_too_large invalid
عددی بنویسید که از {limit} بزرگ‌تر نباشد.
Enter a number that is at most {limit}.

number_too_small invalid
عددی بنویسید که از {limit} کوچک‌تر نباشد.
Enter a number that is at least {limit}.

offer_closed conflict
به این پیشنهاد پیش‌تر پاسخ داده شده است.
This offer has already been answered.

offer_not_accepted conflict
این پیشنهاد پذیرفته نشده، یا برای کانال دیگری است.
This offer has not been accepted, or it is for another channel.

offer_unknown missing
چنین پیشنهادی پیدا نشد. شناسه را دوباره نگاه کنید.
There is no such offer. Check the identifier.

outcome_unknown invalid
نتیجه را «پذیرفته» یا «رد» بگذارید.
Choose approved or rejected.

province_code_old invalid
کد {given} از شماره‌گذاری پیش از آذر ۱۳۹۹ است. پرونده را با کدهای کنونی استان‌ها بفرستید.
Code {given} is from the numbering before November 2020. Send the file with the present province codes.

province_name_mismatch invalid
کد {given} از آنِ «{expected}» است، نه «{name}». کد و نام را یکی کنید.
Code {given} is {expected}, not {name}. Make code and name agree.

province_unknown invalid
استان را از فهرست انتخاب کنید.
Choose the province from the list.

quota_below_admitted conflict
سهمیه را کمتر از {admitted} نگذارید؛ این تعداد هم‌اکنون پذیرفته شده‌اند.
Do not set the quota below {admitted}; that many hold seats now.

quota_invalid invalid
سهمیه را با عدد درست بنویسید؛ از ۰ تا {limit}.
Write the quota as a whole number from 0 to {limit}.

reason_unknown invalid
دلیل را از فهرست انتخاب کنید.
Choose the reason from the list.

reasons_missing invalid
برای رد درخواست دست‌کم یک دلیل انتخاب کنید.
To reject an application choose at least one reason.

registrar_may_not_screen forbidden
این متقاضی را شما ثبت‌نام کرده‌اید؛ پرونده را همکار دیگری بررسی می‌کند.
You registered this applicant; a colleague decides this case.

round_exists conflict
این دوره پیش‌تر با شرایط دیگری باز شده است.
This round was already opened with other terms.

round_unknown missing
چنین دوره‌ای پیدا نشد. شمارهٔ دوره را دوباره نگاه کنید.
There is no such round. Check its number.

row_invalid invalid
ردیف {row} را درست کنید.
Correct row {row}.

row_repeated invalid
این شناسه در فهرست دوباره آمده است؛ فقط ردیف نخست به حساب آمد.
This identifier occurs again in the list; only the first row counted.

rows_invalid invalid
هیچ ردیفی ثبت نشد. {count} ردیف را درست کنید و پرونده را دوباره بفرستید.
No row was taken. Correct {count} rows and send the file again.

scope_other forbidden
این کار فقط برای استان خودتان ممکن است.
You can do this for your own province only.

taken conflict
این مقدار پیش‌تر ثبت شده است و نمی‌تواند دوباره به کار رود.
This value is already in use and cannot be used twice.

too_few_items invalid
دست‌کم {limit} مورد بنویسید.
Give at least {limit} items.

too_large too_large
درخواست بزرگ‌تر از {limit} کیلوبایت است. آن را به چند بخش تقسیم کنید.
The request is larger than {limit} kilobytes. Divide it into parts.

too_long invalid
کوتاه‌تر بنویسید: حداکثر {limit} نویسه.
Shorten this to at most {limit} characters.

too_many_items invalid
فهرست را کوتاه‌تر کنید: حداکثر {limit} مورد پذیرفته می‌شود.
Shorten the list: at most {limit} items are accepted.

too_many_requests limited
درخواست‌های پی‌درپی شما زیاد بود. {seconds} ثانیهٔ دیگر دوباره بفرستید.
Too many requests in a row. Send it again in {seconds} seconds.

too_short invalid
کامل‌تر بنویسید: دست‌کم {limit} نویسه.
Write at least {limit} characters.

unauthenticated unauthenticated
برای ادامه وارد سامانه شوید.
Sign in to go on.

unavailable busy
سامانه چند لحظه در دسترس نیست. چیزی ثبت نشد؛ کمی بعد دوباره بفرستید.
The system is away for a moment. Nothing was recorded; send it again shortly.

underage invalid
برای ثبت‌نام باید دست‌کم {minimum} سال داشته باشید.
You must be at least {minimum} years old to register.

unknown_field invalid
این بخش شناخته نیست؛ آن را بردارید.
This field is not known; remove it.

value_invalid invalid
این مقدار پذیرفتنی نیست. لطفاً دوباره نگاه کنید.
This value is not acceptable. Please check it.

window_outside_round invalid
مهلت استان را درون مهلت دوره بگذارید.
Set the window of the province within that of the round.

wrong_type invalid
مقدار این بخش به شکل درست نوشته نشده است.
The value of this field is not of the right type.
"""


def _parse(table: str) -> dict[str, Refusal]:
    refusals: dict[str, Refusal] = {}
    for entry in table.strip().split("\n\n"):
        head, fa, en = entry.split("\n")
        code, kind = head.split(" ")
        if kind not in KINDS or code in refusals:
            raise ValueError(f"refusal {code}: unknown kind {kind}, or told twice")
        refusals[code] = Refusal(code, kind, fa, en)
    return refusals


REFUSALS: dict[str, Refusal] = _parse(_TABLE)


class _Filled(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "…"


def sentence(code: str, lang: str, **details: Any) -> str:
    """The sentence of a refusal in `fa` or `en`, its names filled; what the details lack stands as an ellipsis.

    A code that the table lacks reads as `malformed` (a test keeps that from happening).
    """
    refusal = REFUSALS.get(code, REFUSALS["malformed"])
    said = refusal.fa if lang == "fa" else refusal.en
    return said.format_map(_Filled({name: _shown(value, lang) for name, value in details.items()}))


def _shown(value: Any, lang: str) -> str:
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return text.number(value, lang)
    if isinstance(value, date) and not isinstance(value, datetime):
        return calendar.long_date(value, lang)
    if isinstance(value, (list, tuple, set, frozenset)):
        return ("، " if lang == "fa" else ", ").join(_shown(each, lang) for each in value)
    return str(value)
