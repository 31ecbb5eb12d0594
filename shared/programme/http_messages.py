"""Messages for requests that are refused before a rule is applied: format, size, authentication, rate, load.

The messages of the gateway and of the development issuer are among them.
"""

TITLES = {  # of a status in Persian; in English it is the phrase of HTTP
    400: "درخواست خوانده نشد",
    401: "نخست وارد شوید",
    403: "این کار از شما برنمی‌آید",
    404: "پیدا نشد",
    405: "روش نادرست",
    408: "درخواست کامل نرسید",
    409: "با آنچه ثبت شده است سازگار نیست",
    413: "بیش از اندازه بزرگ",
    414: "نشانی بیش از اندازه بلند",
    415: "نوع محتوا نادرست است",
    422: "درخواست را درست کنید",
    429: "درخواست‌های پی‌درپی",
    500: "خطای سامانه",
    502: "پاسخ نیمه‌کاره ماند",
    503: "سامانه موقتاً در دسترس نیست",
    504: "پاسخی نرسید",
}

# Three lines each: code and kind, Persian sentence, English sentence. Sorted by code.
HTTP_MESSAGES = """
address_too_long address
این نشانی بلندتر از {limit} کیلوبایت است. آن را کوتاه‌تر کنید.
The address is longer than {limit} kilobytes. Shorten it.

batch_too_long invalid
فهرست را کوتاه‌تر کنید: در هر بار حداکثر {limit} ردیف پذیرفته می‌شود.
Shorten the list: at most {limit} rows are accepted at a time.

body_expected invalid
یک شیء JSON با نام‌هایی بفرستید که راهنمای API برای این کار آورده است.
Send one JSON object with the names that the API description gives for this.

body_too_slow slow
درخواست کامل به ما نرسید و چیزی ثبت نشد. اتصال اینترنت را ببینید و دوباره بفرستید.
Your request did not arrive completely and nothing was recorded. Check your connection and send it again.

clock_skew busy
ساعت سامانه درست نیست و درخواست شما ثبت نشد. {seconds} ثانیهٔ دیگر دوباره بفرستید.
The clock of the system is wrong and your request was not recorded. Send it again in {seconds} seconds.

code_unknown invalid
یکی از گزینه‌های فهرست را انتخاب کنید.
Choose one of the listed values.

columns_unknown invalid
نام ستون‌های فایل را درست کنید؛ ستون‌های لازم: {columns}.
Correct the column names of the file; these are needed: {columns}.

connections_full busy
اکنون اتصال‌های زیادی باز است. چیزی ثبت نشد؛ {seconds} ثانیهٔ دیگر دوباره بفرستید.
Too many connections are open. Nothing was recorded; send it again in {seconds} seconds.

cross_site forbidden
این درخواست از سایت دیگری آمده است. صفحه را از همین سایت باز کنید و دوباره بفرستید.
This request came from another site. Open the page on this site and send it again.

cursor_invalid malformed
این نشانی صفحه دیگر معتبر نیست. از صفحهٔ نخست فهرست آغاز کنید.
This page of the list is no longer valid. Start from its first page.

failed failed
خطایی در سامانه رخ داد و ثبت شد. کمی بعد دوباره تلاش کنید؛ اگر باز هم نشد، شناسهٔ خطا را به پشتیبانی بگویید.
Something went wrong on our side and was recorded. Try again shortly; if it happens again, give the error id to support.

forbidden forbidden
این کار در اختیار شما نیست. اگر باید باشد، به مدیر اجرایی طرح در استان بگویید.
You are not allowed to do this. If you should be, contact the plan's manager in your province.

generation_missing busy
رقم‌ها هنوز آماده نیست. {seconds} ثانیهٔ دیگر دوباره نگاه کنید.
The figures are not ready yet. Look again in {seconds} seconds.

history_full busy
سابقهٔ این مورد پر شده است. لطفاً به پشتیبانی سامانه خبر دهید.
The history of this record is full. Please contact the operators of the system.

host_unknown malformed
این درخواست به نشانی دیگری فرستاده شده است. نشانی رسمی سامانه را باز کنید.
This request was sent to another address. Open the official address of the programme.

idempotency_key_invalid malformed
کلید تکرار باید ۸ تا ۱۲۸ حرف یا رقم سادهٔ لاتین باشد.
The idempotency key must be 8 to 128 plain ASCII characters.

idempotency_key_missing malformed
برای این کار سرآیند Idempotency-Key را هم بفرستید.
Send the Idempotency-Key header with this request.

idempotency_key_reused invalid
این کلید تکرار پیش‌تر برای درخواست دیگری به کار رفته است. کلید تازه‌ای بسازید.
This idempotency key was used for a different request. Make a new one.

import_differs conflict
این فایلی نیست که بررسی شد. صفحه را تازه کنید و دوباره تصمیم بگیرید.
This is not the file that was checked. Refresh the page and decide again.

import_expired conflict
ردیف‌های این فایل پس از یک روز پاک شد. فایل را دوباره بفرستید.
The rows of this file were deleted after a day. Send the file again.

import_has_errors conflict
ردیف به ردیف ثبت کنید، یا ردیف‌های نادرست را درست کنید و فایل را دوباره بفرستید: «همه یا هیچ» ردیف نادرست نمی‌پذیرد.
Register row by row, or correct the rows and send the file again: all or nothing takes no wrong row.

import_of_another conflict
این فایل را همکار دیگری فرستاده است. ثبت ردیف‌ها، فایل اصلاح و برگهٔ کدها فقط برای خود اوست.
Another officer sent this file. Only they can register its rows, download those to correct, and print the codes.

indexes_missing busy
سامانه هنوز آماده نیست. چیزی ثبت نشد؛ {seconds} ثانیهٔ دیگر دوباره بفرستید.
The system is not ready yet. Nothing was recorded; send it again in {seconds} seconds.

intake_full busy
سامانه اکنون تا سقف گنجایشش درخواست دارد. چیزی ثبت نشد؛ {seconds} ثانیهٔ دیگر دوباره بفرستید.
The system holds all it can for now. Nothing was recorded; send it again in {seconds} seconds.

json_invalid malformed
این متن JSON نیست: حرف شمارهٔ {position} را ببینید، درست کنید و دوباره بفرستید.
This is no JSON: look at character {position}, correct it and send it again.

letter_unknown invalid
این شناسهٔ نامهٔ مرده نیست: {letter}. آن را از فهرست بردارید.
This is not the id of a dead letter: {letter}. Take it from the list.

malformed malformed
درخواست خوانده نشد. آن را با راهنمای API بسنجید، با کدگذاری UTF-8 بنویسید و دوباره بفرستید.
The request could not be read. Compare it with the API description, write it in UTF-8 and send it again.

media_type media
محتوا را با نوع {expected} بفرستید.
Send the content as {expected}.

method_not_allowed method
این نشانی چنین درخواستی را نمی‌پذیرد.
This address does not accept that method.

missing_field invalid
این بخش را هم پر کنید.
Fill this in as well.

not_found missing
چیزی با این نشانی پیدا نشد. نشانی را دوباره نگاه کنید.
Nothing was found here. Check the address.

number_too_large invalid
عددی بنویسید که از {limit} بزرگ‌تر نباشد.
Enter a number that is at most {limit}.

number_too_small invalid
عددی بنویسید که از {limit} کوچک‌تر نباشد.
Enter a number that is at least {limit}.

record_full conflict
برای این مورد {limit} چیز ثبت شده است و دیگر جا ندارد. لطفاً به پشتیبانی خبر دهید.
This record already has {limit} of them and is full. Please contact support.

restoring busy
سامانه پس از بازگرداندن پشتیبان، سابقه‌اش را کامل می‌کند. چیزی ثبت نشد؛ {seconds} ثانیهٔ دیگر دوباره بفرستید.
The system completes its records after a restore. Nothing was recorded; send it again in {seconds} seconds.

role_unknown invalid
نقش را از فهرست انتخاب کنید؛ نقش‌ها: {roles}.
Choose the role from the list; the roles are {roles}.

rounds_unreadable busy
رقم‌ها اکنون خوانده نمی‌شود. {seconds} ثانیهٔ دیگر دوباره نگاه کنید.
The figures cannot be read now. Look again in {seconds} seconds.

row_invalid invalid
ردیف {row} را درست کنید.
Correct row {row}.

row_repeated invalid
این شناسه در فهرست دوباره آمده است؛ فقط ردیف نخست به حساب آمد.
This identifier occurs again in the list; only the first row counted.

rows_invalid invalid
هیچ ردیفی ثبت نشد. {count} ردیف را درست کنید و فایل را دوباره بفرستید.
No row was taken. Correct {count} rows and send the file again.

scope_other forbidden
این کار فقط برای استان خودتان ممکن است.
You can do this for your own province only.

service_away busy
درخواست شما به این بخش نرسید و چیزی ثبت نشد. چند لحظهٔ دیگر دوباره بفرستید.
Your request did not reach this part and nothing was recorded. Send it again in a moment.

service_interrupted interrupted
پاسخ نیمه‌کاره ماند و شاید درخواست شما ثبت شده باشد. همان را دوباره بفرستید؛ با همان کلید تکرار، دو بار ثبت نمی‌شود.
The response broke off and it may be recorded. Repeat it: with the same Idempotency-Key nothing is recorded twice.

service_unresponsive unresponsive
پاسخی نرسید و شاید درخواست شما ثبت شده باشد. همان را دوباره بفرستید؛ با همان کلید تکرار، دو بار ثبت نمی‌شود.
No response came and it may be recorded. Repeat it: with the same Idempotency-Key nothing is recorded twice.

sign_in_failed malformed
ورود کامل نشد. دوباره از صفحهٔ ورود آغاز کنید.
The sign-in did not complete. Start it again.

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
کوتاه‌تر بنویسید: حداکثر {limit} حرف.
Shorten this to at most {limit} characters.

too_many_items invalid
فهرست را کوتاه‌تر کنید: حداکثر {limit} مورد پذیرفته می‌شود.
Shorten the list: at most {limit} items are accepted.

too_many_requests limited
درخواست‌های پی‌درپی شما زیاد بود. {seconds} ثانیهٔ دیگر دوباره بفرستید.
Too many requests in a row. Send it again in {seconds} seconds.

too_short invalid
کامل‌تر بنویسید: دست‌کم {limit} حرف.
Write at least {limit} characters.

topic_not_consumed invalid
این سرویس رویدادهای این موضوع (topic) را نمی‌خواند؛ موضوع‌های آن: {topics}.
This service does not consume that topic; its topics are {topics}.

two_persons_needed forbidden
کنار گذاشتن بیش از {limit} نامه از یک گونه، کار دو نفر است.
Giving up more than {limit} letters of one kind takes two persons.

unauthenticated unauthenticated
برای ادامه وارد سامانه شوید.
Sign in to go on.

unavailable busy
سامانه چند لحظه در دسترس نیست. چیزی ثبت نشد؛ کمی بعد دوباره بفرستید.
The system is away for a moment. Nothing was recorded; send it again shortly.

unknown_field invalid
این بخش شناخته نیست؛ آن را بردارید.
This field is not known; remove it.

value_invalid invalid
این مقدار پذیرفتنی نیست. لطفاً دوباره نگاه کنید.
This value is not acceptable. Please check it.

workbook_too_large too_large
این فایل بیش از اندازه بزرگ است ({limit} مگابایت). برگه‌ها و تصویرهای اضافه را پاک کنید یا آن را به چند بخش تقسیم کنید.
The workbook has more than {limit} MB of content. Remove other sheets and pictures, or divide it.

workbook_unreadable invalid
این فایل خوانده نشد. آن را در اکسل، بدون گذرواژه، با نوع XLSX یا CSV UTF-8 دوباره ذخیره کنید.
The workbook cannot be read. Save it again without a password, as XLSX or as CSV UTF-8.

wrong_type invalid
مقدار این بخش به شکل درست نوشته نشده است.
The value of this field is not of the right type.
"""
