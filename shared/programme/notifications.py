"""Text messages to applicants, by occasion, and how long they are. Persian alone: a message has one language.

No text names anyone or links to anything: a person who is used to links in messages follows those of others as well.
"""

import msgspec

PART = 70  # UCS-2 units of a message in one part
PART_OF_SEVERAL = 67  # of each part of a longer one
MAX_PARTS = 2


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """The text of one occasion, with `{code}` and `{until}` where they occur.

    `urgent`: the person waits for it, so it is sent at any hour and whatever they got that day. `mandatory`: without it
    they would lose a right, or not know what was done in their name, so no one can refuse it.
    """

    text: str
    urgent: bool = False
    mandatory: bool = False


TEMPLATES = {
    "registered": Template(
        text="پیوند: درخواست شما ثبت شد. کد پیگیری: {code}\nاین کد را نگه دارید و به کسی ندهید.",
        urgent=True,
        mandatory=True,
    ),
    "code": Template(text="پیوند: کد پیگیری تازهٔ شما: {code}\nکد پیشین دیگر کار نمی‌کند.", urgent=True, mandatory=True),
    "lost_code": Template(
        text="پیوند: کد پیگیری شما: {code}\nاگر شما آن را نخواسته‌اید، لازم نیست کاری بکنید.",
        urgent=True,
        mandatory=True,
    ),
    "identity_refused": Template(
        text="پیوند: نام، کد ملی یا تاریخ تولدتان با ثبت احوال یکی نیست. برای اصلاح آن به دبیرخانهٔ طرح در استان بروید.",
        mandatory=True,
    ),
    "papers": Template(
        text="پیوند: برای درخواستتان مدرک لازم است. تا {until} به دبیرخانهٔ طرح بیاورید. نام مدرک‌ها در صفحهٔ پیگیری است.",
        mandatory=True,
    ),
    "rejected": Template(
        text="پیوند: درخواست شما پذیرفته نشد. تا {until} می‌توانید یک بار اعتراض کنید. دلیل را در صفحهٔ پیگیری ببینید.",
        mandatory=True,
    ),
    "appeal_rejected": Template(
        text="پیوند: اعتراض شما بررسی شد و تصمیم پیشین پابرجا ماند. دلیل را در صفحهٔ پیگیری ببینید.", mandatory=True
    ),
    "waitlisted": Template(
        text="پیوند: درخواست شما پذیرفته شد و در فهرست انتظار استانید. جایگاهی که خالی شود خبرتان می‌کنیم."
    ),
    "admitted": Template(
        text="پیوند: در سهمیهٔ استان پذیرفته شدید. کارشناس برای شناسایی ظرفیت زنگ می‌زند؛ تلفنتان در دسترس باشد.",
        mandatory=True,
    ),
    "identified": Template(text="پیوند: ظرفیت شما شناسایی شد. پیشنهاد فروش که برسد با شما تماس می‌گیریم."),
    "withdrawn": Template(
        text="پیوند: انصراف شما ثبت شد. اگر خودتان نخواسته‌اید، زود به دبیرخانهٔ طرح در استان خبر بدهید.", mandatory=True
    ),
    "corrected": Template(
        text="پیوند: اطلاعات درخواست شما اصلاح شد. اگر خودتان نخواسته‌اید، به دبیرخانهٔ طرح در استان خبر بدهید.",
        mandatory=True,
    ),
}
NO_DATE = "پایان مهلت"  # instead of a date that the calendar does not reach yet


def parts(text: str) -> int:
    """Return as how many parts a text is sent and paid for."""
    units = len(text.encode("utf-16-be")) // 2
    return 1 if units <= PART else -(-units // PART_OF_SEVERAL)
