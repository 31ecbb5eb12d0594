"""Coded vocabularies: every closed list of values that events, forms and pages use, each with its labels."""

import msgspec


class Label(msgspec.Struct, frozen=True):
    """The text of a code on a page, in Persian and in English."""

    fa: str
    en: str

    def text(self, lang: str) -> str:
        """Return the label in `fa` or `en`."""
        return self.fa if lang == "fa" else self.en


ROLES = {  # from the widest to the narrowest; the first role of a principal names the actor in events
    "ministry_admin": Label("مدیر سهمیهٔ وزارت", "Ministry quota administrator"),
    "jahad_national": Label("دفتر ملی جهاد دانشگاهی", "National office of Jahad Daneshgahi"),
    "council": Label("عضو شورای راهبری", "Council member"),
    "manager": Label("مدیر اجرایی طرح", "Executive manager"),
    "labour_expert": Label("کارشناس ادارهٔ کار", "Labour expert"),
    "screener": Label("کارشناس پایش", "Screener"),
    "registrar": Label("مسئول ثبت‌نام", "Registrar"),
    "county_operator": Label("کارشناس شهرستان", "County operator"),
    "lead": Label("پیشران", "Lead enterprise"),
    "analyst": Label("تحلیلگر وزارت", "Ministry analyst"),
    "auditor": Label("ناظر", "Auditor"),
    "operator": Label("متصدی سامانه", "Operator"),
    "service": Label("سرویس", "Service"),
    "consumer": Label("مصرف‌کنندهٔ رویدادها", "Consumer of events"),
    "applicant": Label("متقاضی", "Applicant"),
}

SEXES = {"female": Label("زن", "Female"), "male": Label("مرد", "Male")}

AGE_BANDS = {
    "18-24": Label("۱۸ تا ۲۴ سال", "18 to 24"),
    "25-34": Label("۲۵ تا ۳۴ سال", "25 to 34"),
    "35-44": Label("۳۵ تا ۴۴ سال", "35 to 44"),
    "45-54": Label("۴۵ تا ۵۴ سال", "45 to 54"),
    "55+": Label("۵۵ سال و بیشتر", "55 and over"),
}

WORK_MODES = {
    "independent": Label("مستقل", "Independent"),
    "supported": Label("با پشتیبان", "With a supporter"),
    "workshop": Label("کارگاهی", "For a workshop"),
}

INTAKE_CHANNELS = {
    "web": Label("خودِ متقاضی، از سایت", "Applicant, on the web"),
    "desk": Label("پیشخوان", "Desk"),
    "import": Label("فهرست گروهی", "Bulk import"),
    "api": Label("سامانهٔ دیگر", "Another system"),
}

IDENTITY_RESULTS = {
    "match": Label("هویت تأیید شد", "Identity confirmed"),
    "mismatch": Label("هویت نمی‌خواند", "Identity does not match"),
    "unavailable": Label("هنوز پاسخی نیامده", "No answer yet"),
}

WITHDRAWAL_REASONS = {
    "own_request": Label("به خواست خودم", "At my own request"),
    "found_work": Label("کار پیدا کرده‌ام", "I found work"),
    "moved": Label("جابه‌جا شده‌ام", "I moved"),
    "health": Label("به دلیل سلامتی", "For health reasons"),
    "other": Label("دلیل دیگر", "Another reason"),
}

WITHDRAWAL_CAUSES = {**WITHDRAWAL_REASONS, "erased": Label("داده‌ها پاک شد", "The data was erased")}

ERASURE_REASONS = {
    "request": Label("به درخواست متقاضی", "At the applicant's request"),
    "retention": Label("پایان زمان نگهداری", "The retention period is over"),
    "court": Label("به حکم دادگاه", "By order of a court"),
}

IDENTITY_PURPOSES = {  # for which an officer may read the identity of an applicant who has withdrawn
    "own_request": Label("به درخواست متقاضی", "At the applicant's request"),
    "complaint": Label("رسیدگی به شکایت", "A complaint"),
    "court": Label("به حکم دادگاه", "By order of a court"),
}

DESK_REASONS = {  # for which an officer looks for a person
    "caller": Label("خودش تماس گرفته است", "They have called"),
    "visitor": Label("خودش حضوری آمده است", "They are at the desk"),
    "papers": Label("پیگیری مدرک", "A paper is being followed up"),
    "complaint": Label("رسیدگی به شکایت", "A complaint"),
}

CALL_REASONS = {  # for which an officer sees the name and the number of the person of a case
    "call": Label("تماس با متقاضی", "To call the applicant"),
    "papers": Label("پیگیری مدرک", "A paper is being followed up"),
    "complaint": Label("رسیدگی به شکایت", "A complaint"),
}

REVIEW_REASONS = {  # for which a second look at an approval disagrees
    "answer_doubtful": Label("پاسخی با آنچه دیده شد نمی‌خواند", "An answer does not fit what was seen"),
    "question_open": Label("پرسشی بی‌پاسخ مانده است", "A question is not answered"),
    "condition_fails": Label("شرطی برقرار نیست", "A condition does not hold"),
}

CONDITIONS = {  # of eligibility, that an officer asks about
    "not_insured": Label("بیمهٔ اجباری ندارد", "Is under no compulsory insurance"),
    "resident": Label("ساکن محل کسب‌وکار است", "Is resident at the place of business"),
    "complete": Label("مدارک کامل است", "Papers are complete"),
}

CALL_OUTCOMES = {
    "reached": Label("گفت‌وگو شد", "Reached"),
    "no_answer": Label("پاسخ نداد", "No answer"),
    "call_back": Label("وقت دیگری خواست", "Asked for another time"),
}

CLAIM_RELEASE_REASONS = {  # for which a case is no longer reserved for the officer who claimed it
    "expired": Label("زمانش گذشت", "The time was over"),
    "returned": Label("کارشناس آن را برگرداند", "The officer returned it"),
}

PROPOSAL_ACTIONS = {
    "set_quotas": Label("تعیین سهمیه", "Setting quotas"),
    "move_seats": Label("جابه‌جایی جایگاه", "Moving seats"),
}

PROPOSAL_REASONS = {
    "notification": Label("ابلاغ سهمیهٔ دوره", "Notification of the round's quota"),
    "demand": Label("متقاضی بیشتر از سهمیه است", "More applicants than seats"),
    "unused_seats": Label("جایگاه‌ها خالی مانده است", "Seats are left unused"),
    "correction": Label("اصلاح رقم نادرست", "Correction of a wrong figure"),
}

PROPOSAL_REFUSALS = {
    "wrong_figure": Label("رقم درست نیست", "The figure is wrong"),
    "not_needed": Label("به این تغییر نیازی نیست", "The change is not needed"),
    "later": Label("زمانش نرسیده است", "It is too early"),
}

SEAT_RELEASE_REASONS = {"withdrawn": Label("انصراف", "Withdrawn")}

OUTCOMES = {"approved": Label("تأیید", "Approved"), "rejected": Label("رد", "Rejected")}

APPROVAL_REASONS = {"meets_conditions": Label("شرایط را دارد", "Meets the conditions")}

REJECTION_REASONS = {
    "insured": Label("بیمهٔ اجباری دارد", "Is under compulsory insurance"),
    "not_resident": Label("ساکن محل کسب‌وکار نیست", "Does not live at the place of business"),
    "underage": Label("کمتر از سن لازم دارد", "Is under age"),
    "field_not_suitable": Label("رشته مناسب نیست", "The job field does not suit"),
    "incomplete": Label("مدارک کامل نیست", "Papers are incomplete"),
    "unreachable": Label("در دسترس نبود", "Could not be reached"),
    "other": Label("دلیل دیگر", "Another reason"),
}

DECISION_REASONS = {**APPROVAL_REASONS, **REJECTION_REASONS}

INFO_ITEMS = {  # that an officer of screening may ask an applicant for
    "identity_document": Label("کارت ملی یا شناسنامه", "National card or identity booklet"),
    "residence_proof": Label("سند یا اجاره‌نامهٔ محل کار", "Deed or lease of the place of work"),
    "military_card": Label("کارت پایان خدمت یا معافیت", "Military service card or exemption"),
    "skill_certificate": Label("گواهی مهارت", "Skill certificate"),
    "health_certificate": Label("کارت بهداشت، برای رشته‌های خوراکی", "Health certificate, for fields of food"),
    "sample_photo": Label("عکس نمونهٔ کار", "Photo of a sample of the work"),
}

CHANNELS = {
    "lead_enterprise": Label("پیشران", "Lead enterprise"),
    "piecework_employer": Label("کارفرمای کارمزدی", "Piecework employer"),
    "cooperative": Label("تعاونی بازاریابی", "Marketing cooperative"),
    "provincial_webshop": Label("فروشگاه اینترنتی استان", "Provincial web shop"),
    "online_marketplace": Label("بازار اینترنتی", "Online marketplace"),
    "place_market": Label("مکان‌بازار اینترنتی", "Internet market-place"),
    "exhibition": Label("نمایشگاه", "Exhibition"),
    "weekly_market": Label("بازار هفتگی", "Weekly market"),
    "export": Label("صادرات", "Export"),
    "direct": Label("فروش مستقیم", "Direct sale"),
}

COUNTERPARTY_KINDS = {
    "lead_enterprise": Label("پیشران", "Lead enterprise"),
    "company": Label("شرکت", "Company"),
    "cooperative": Label("تعاونی", "Cooperative"),
    "marketplace": Label("بازار اینترنتی", "Marketplace"),
    "public_body": Label("نهاد عمومی", "Public body"),
    "consumer": Label("مصرف‌کننده", "Consumer"),
}

EVIDENCE = {
    "E0": Label("اعلام شده", "Declared"),
    "E1": Label("با سند", "Documented"),
    "E2": Label("تأیید طرف مقابل", "Confirmed by the counterparty"),
    "E3": Label("نخستین فروش ثابت شده", "First sale proven"),
    "E4": Label("پس از ۹۰ روز هنوز برقرار", "Still active after 90 days"),
}

END_REASONS = {
    "completed": Label("کار به پایان رسید", "Completed"),
    "price": Label("قیمت", "Price"),
    "quality": Label("کیفیت", "Quality"),
    "delivery": Label("تحویل", "Delivery"),
    "withdrawn": Label("انصراف متقاضی", "Applicant withdrew"),
    "other": Label("دلیل دیگر", "Another reason"),
}

DECLINE_REASONS = {
    "price": Label("قیمت", "Price"),
    "distance": Label("دوری راه", "Distance"),
    "capacity": Label("توان تولید", "Capacity"),
    "terms": Label("شرایط قرارداد", "Terms"),
    "other": Label("دلیل دیگر", "Another reason"),
}

LEAD_SERVICES = {
    "training": Label("آموزش", "Training"),
    "counselling": Label("مشاوره", "Counselling"),
    "sale": Label("فروش و اتصال به بازار", "Sale and connection to market"),
}

PRODUCT_GROUPS = {
    "handicrafts": Label("صنایع دستی", "Handicrafts"),
    "production": Label("تولید", "Production"),
    "processing": Label("فرآوری و خوراک", "Processing and food"),
    "livestock": Label("دام", "Livestock"),
    "fishery": Label("آبزیان", "Fishery"),
    "farming": Label("کشاورزی", "Farming"),
    "culture": Label("فرهنگ", "Culture"),
    "art": Label("هنر", "Art"),
    "ecommerce": Label("کسب‌وکار اینترنتی", "E-commerce"),
    "online_teaching": Label("آموزش برخط", "Online teaching"),
}

UNITS = {
    "piece": Label("عدد", "Piece"),
    "kilogram": Label("کیلوگرم", "Kilogram"),
    "metre": Label("متر", "Metre"),
    "square_metre": Label("متر مربع", "Square metre"),
    "litre": Label("لیتر", "Litre"),
    "hour": Label("ساعت", "Hour"),
    "pair": Label("جفت", "Pair"),
    "set": Label("دست", "Set"),
}

MONTHLY_BANDS = {
    "1-9": Label("۱ تا ۹ در ماه", "1 to 9 a month"),
    "10-49": Label("۱۰ تا ۴۹ در ماه", "10 to 49 a month"),
    "50-199": Label("۵۰ تا ۱۹۹ در ماه", "50 to 199 a month"),
    "200-999": Label("۲۰۰ تا ۹۹۹ در ماه", "200 to 999 a month"),
    "1000+": Label("۱۰۰۰ و بیشتر در ماه", "1000 and more a month"),
}

SKILL_LEVELS = {
    "beginner": Label("تازه‌کار", "Beginner"),
    "skilled": Label("ماهر", "Skilled"),
    "master": Label("استادکار", "Master"),
}

NEEDS = {
    "training": Label("آموزش", "Training"),
    "counselling": Label("مشاوره", "Counselling"),
    "tools": Label("ابزار", "Tools"),
    "material": Label("مواد اولیه", "Raw material"),
    "finance": Label("تأمین مالی", "Finance"),
    "permit": Label("مجوز", "Permit"),
    "packaging": Label("بسته‌بندی", "Packaging"),
}
