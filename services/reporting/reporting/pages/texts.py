"""Texts for figures on pages, in Persian and English; the positions of the tile map."""

import msgspec

from contracts.codes import Label
from programme.messages import localized


class Tile(msgspec.Struct, frozen=True):
    """The position of a province on the tile map, the same in both languages, and its short name."""

    row: int
    column: int
    fa: str
    en: str

    def name(self, lang: str) -> str:
        """Return the short name in `fa` or `en`."""
        return localized(self.fa, self.en, lang)


HEADS = {  # of columns, in two lines
    "R1": (Label("ثبت‌نام", "Registered,"), Label("از سهمیه", "of quota")),
    "S1": (Label("پایش‌شده،", "Screened,"), Label("از ثبت‌نام", "of registered")),
    "S3": (Label("پایش", "Screened"), Label("در مهلت", "in time")),
    "C1": (Label("پذیرفته،", "Admitted,"), Label("از سهمیه", "of quota")),
    "C2": (Label("ظرفیت،", "Identified,"), Label("از پذیرفته", "of admitted")),
    "C3": (Label("شناسایی", "Identified"), Label("در مهلت", "in time")),
    "M1": (Label("متصل با گواه،", "Connected,"), Label("از سهمیه", "of quota")),
    "M2": (Label("متصل،", "Connected,"), Label("از ظرفیت", "of identified")),
    "M3": (Label("پایدار،", "Sustained,"), Label("پس از ۹۰ روز", "after 90 days")),
}
NOTES = {
    "R1": Label("از ۱۰۰ بیشتر شمرده نمی‌شود", "counts at most 100"),
    "C1": Label("از ۱۰۰ بیشتر شمرده نمی‌شود", "counts at most 100"),
    "S3": Label("پروندهٔ باز دیرشده هم در مخرج است", "overdue open cases count in the denominator"),
    "C3": Label("شناسایی‌نشدهٔ دیرشده هم در مخرج است", "overdue open ones count in the denominator"),
    "M1": Label("درجهٔ ۲ و بالاتر", "evidence at E2 or above"),
    "M3": Label("کمتر از ۱۰ مورد، شمرده نمی‌شود", "left out below 10 cases"),
}
STAGES = (
    Label("ثبت‌نام و پایش", "Registration and screening"),
    Label("شناسایی ظرفیت", "Capacity identification"),
    Label("اتصال به بازار", "Connection to market"),
)
DATA = Label("کیفیت داده", "Data quality")
GRADES = (
    ("claims", Label("۰. اعلام شده", "E0. Declared")),
    ("claims_documented", Label("۱. با سند", "E1. Documented")),
    ("claims_confirmed", Label("۲. طرف مقابل تأیید کرده", "E2. Confirmed by the counterparty")),
    ("claims_sold", Label("۳. فروش ثابت شده", "E3. First sale proven")),
    ("claims_sustained", Label("۴. ۹۰ روز پابرجا", "E4. Holds after 90 days")),
)
FUNNEL = (
    ("registered", Label("ثبت‌نام", "Registered"), Label("افراد یکتا در کل کشور", "distinct persons, nationwide")),
    ("screened", Label("پایش‌شده", "Screened"), Label("پروندهٔ تصمیم‌گرفته", "cases decided")),
    (
        "admitted",
        Label("پذیرفته در سهمیه", "Admitted"),
        Label("پس از پایش، به ترتیب اعلام‌شده", "after screening, in the published order"),
    ),
    (
        "identified",
        Label("ظرفیت شناسایی‌شده", "Capacity identified"),
        Label("محصول، مقدار و نیاز روشن است", "product, amount and needs are known"),
    ),
    (
        "connected",
        Label("متصل به بازار", "Connected to market"),
        Label("با تأیید طرف مقابل", "confirmed by the counterparty"),
    ),
    ("sustained", Label("پایدار", "Sustained"), Label("پس از ۹۰ روز هنوز می‌فروشد", "still selling after 90 days")),
)
DURATIONS = (
    ("to_decision", Label("ثبت‌نام تا تصمیم", "Registered to decided")),
    ("applicant_turn", Label("از آن، نزد متقاضی برای مدرک", "Of this, with applicants asked for papers")),
    ("to_capacity", Label("پذیرش تا شناسایی ظرفیت", "Admitted to capacity")),
    ("to_market", Label("شناسایی تا اتصال", "Capacity to market")),
    ("end_to_end", Label("از ثبت‌نام تا بازار", "Registered to market")),
)
TILES = {
    "IR-00": Tile(4, 3, "مرکزی", "Markazi"),
    "IR-01": Tile(2, 3, "گیلان", "Gilan"),
    "IR-02": Tile(2, 4, "مازندران", "Mazand."),
    "IR-03": Tile(1, 2, "آذ. شرقی", "E. Azer."),
    "IR-04": Tile(1, 1, "آذ. غربی", "W. Azer."),
    "IR-05": Tile(3, 1, "کرمانشاه", "K.shah"),
    "IR-06": Tile(5, 2, "خوزستان", "Khuzest."),
    "IR-07": Tile(5, 5, "فارس", "Fars"),
    "IR-08": Tile(5, 6, "کرمان", "Kerman"),
    "IR-09": Tile(3, 7, "خ. رضوی", "Razavi"),
    "IR-10": Tile(4, 5, "اصفهان", "Isfahan"),
    "IR-11": Tile(5, 7, "سیستان", "Sistan"),
    "IR-12": Tile(2, 1, "کردستان", "Kurdist."),
    "IR-13": Tile(3, 2, "همدان", "Hamadan"),
    "IR-14": Tile(5, 3, "چهارمحال", "Chahar."),
    "IR-15": Tile(4, 2, "لرستان", "Lorestan"),
    "IR-16": Tile(4, 1, "ایلام", "Ilam"),
    "IR-17": Tile(5, 4, "کهگیلویه", "Kohgil."),
    "IR-18": Tile(6, 4, "بوشهر", "Bushehr"),
    "IR-19": Tile(2, 2, "زنجان", "Zanjan"),
    "IR-20": Tile(3, 6, "سمنان", "Semnan"),
    "IR-21": Tile(4, 6, "یزد", "Yazd"),
    "IR-22": Tile(6, 6, "هرمزگان", "Hormoz."),
    "IR-23": Tile(3, 5, "تهران", "Tehran"),
    "IR-24": Tile(1, 3, "اردبیل", "Ardabil"),
    "IR-25": Tile(4, 4, "قم", "Qom"),
    "IR-26": Tile(3, 3, "قزوین", "Qazvin"),
    "IR-27": Tile(2, 5, "گلستان", "Golestan"),
    "IR-28": Tile(2, 6, "خ. شمالی", "N. Khor."),
    "IR-29": Tile(4, 7, "خ. جنوبی", "S. Khor."),
    "IR-30": Tile(3, 4, "البرز", "Alborz"),
}
BREAKS = (20, 28, 36, 44)  # of the index, for the shades of the map; fixed, so that months can be compared
