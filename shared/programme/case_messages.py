"""Messages of the refusals while a case waits for someone outside screening."""

# Three lines each: code and kind, Persian sentence, English sentence. Sorted by code.
CASE_MESSAGES = """
applicant_has_time conflict
متقاضی تا {until} فرصت دارد مدرک بیاورد. اگر مدرک رسیده است اول آن را ثبت کنید؛ تأیید همین حالا هم ممکن است.
The applicant has until {until} to bring the papers. If they came, record them first; an approval is possible now.

info_already_requested conflict
از متقاضی تا {until} مدرک خواسته شده است. درخواست تازه پس از پاسخ او یا پایان مهلت ممکن است.
The applicant has been asked for papers until {until}. Ask again after the answer or the last day.

info_requests_used conflict
از این متقاضی {limit} بار مدرک خواسته شده است و بیش از این نمی‌شود. با آنچه رسیده است تصمیم بگیرید.
This applicant has been asked for papers {limit} times, which is the limit. Please decide by what you have.

items_missing invalid
لطفاً دست‌کم یک مدرک را انتخاب کنید.
Please choose at least one paper.

no_info_requested conflict
در این پرونده مدرکی خواسته نشده که هنوز نرسیده باشد.
No paper that was asked for in this case is still missing.
"""
