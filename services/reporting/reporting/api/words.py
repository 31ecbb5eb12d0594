"""How figures are called on pages and in files: terms, tables, stages, and where a province's tile stands."""

import msgspec


class Words(msgspec.Struct, frozen=True):
    """The same in Persian and English."""

    fa: str
    en: str

    def get(self, lang: str) -> str:
        """In one language."""
        return self.fa if lang == "fa" else self.en


class Tile(msgspec.Struct, frozen=True):
    """Where a province stands on the tile map (geography never mirrors), and its short name."""

    row: int
    column: int
    fa: str
    en: str


TERMS = {
    "R1": Words("ثبت‌نام نسبت به سهمیه", "Registered, of quota"),
    "S1": Words("پایش کامل‌شده", "Screened, of registered"),
    "S3": Words("پایش در مهلت", "Screened in time"),
    "C1": Words("پذیرش نسبت به سهمیه", "Admitted, of quota"),
    "C2": Words("ظرفیت شناسایی‌شده", "Capacity identified, of admitted"),
    "C3": Words("شناسایی در مهلت", "Identified in time"),
    "M1": Words("متصل با گواه نسبت به سهمیه", "Connected with evidence, of quota"),
    "M2": Words("متصل از شناسایی‌شده", "Connected, of identified"),
    "M3": Words("پایدار پس از ۹۰ روز", "Sustained after 90 days"),
    "R3": Words("هویت تأییدشده", "Identity verified, of registered"),
    "M5": Words("ادعای تأییدشده", "Claims confirmed, of claimed connections"),
}
HEADS = {  # of columns: two lines each
    "R1": (Words("ثبت‌نام", "Registered,"), Words("از سهمیه", "of quota")),
    "S1": (Words("پایش‌شده،", "Screened,"), Words("از ثبت‌نام", "of registered")),
    "S3": (Words("پایش", "Screened"), Words("در مهلت", "in time")),
    "C1": (Words("پذیرفته،", "Admitted,"), Words("از سهمیه", "of quota")),
    "C2": (Words("ظرفیت،", "Identified,"), Words("از پذیرفته", "of admitted")),
    "C3": (Words("شناسایی", "Identified"), Words("در مهلت", "in time")),
    "M1": (Words("متصل با گواه،", "Connected,"), Words("از سهمیه", "of quota")),
    "M2": (Words("متصل،", "Connected,"), Words("از ظرفیت", "of identified")),
    "M3": (Words("پایدار،", "Sustained,"), Words("پس از ۹۰ روز", "after 90 days")),
}
NOTES = {
    "R1": Words("از ۱۰۰ بیشتر شمرده نمی‌شود", "counts at most 100"),
    "C1": Words("از ۱۰۰ بیشتر شمرده نمی‌شود", "counts at most 100"),
    "S3": Words("پروندهٔ باز دیرشده هم در مخرج است", "overdue open cases count in the denominator"),
    "C3": Words("شناسایی‌نشدهٔ دیرشده هم در مخرج است", "overdue open ones count in the denominator"),
    "M1": Words("درجهٔ ۲ و بالاتر", "evidence at E2 or above"),
    "M3": Words("کمتر از ۱۰ مورد، شمرده نمی‌شود", "left out below 10 cases"),
}
STAGES = (
    Words("ثبت‌نام و پایش", "Registration and screening"),
    Words("شناسایی ظرفیت", "Capacity identification"),
    Words("اتصال به بازار", "Connection to market"),
)
DATA = Words("کیفیت داده", "Data quality")
GRADES = (
    ("claims", Words("۰. اظهار شده", "E0. Declared")),
    ("claims_documented", Words("۱. سند دارد", "E1. Documented")),
    ("claims_confirmed", Words("۲. طرف مقابل تأیید کرده", "E2. Confirmed by the counterparty")),
    ("claims_sold", Words("۳. فروش ثابت شده", "E3. First sale proven")),
    ("claims_sustained", Words("۴. ۹۰ روز پابرجا", "E4. Holds after 90 days")),
)
FUNNEL = (
    ("registered", Words("ثبت‌نام", "Registered"), Words("افراد یکتا در کل کشور", "distinct persons, nationwide")),
    ("screened", Words("پایش‌شده", "Screened"), Words("پروندهٔ تصمیم‌گرفته", "cases decided")),
    (
        "admitted",
        Words("پذیرفته در سهمیه", "Admitted"),
        Words("پس از پایش، به ترتیب اعلام‌شده", "after screening, in the published order"),
    ),
    (
        "identified",
        Words("ظرفیت شناسایی‌شده", "Capacity identified"),
        Words("محصول، مقدار و نیاز روشن است", "product, amount and needs are known"),
    ),
    (
        "connected",
        Words("متصل به بازار", "Connected to market"),
        Words("با تأیید طرف مقابل", "confirmed by the counterparty"),
    ),
    ("sustained", Words("پایدار", "Sustained"), Words("پس از ۹۰ روز هنوز می‌فروشد", "still selling after 90 days")),
)
DURATIONS = (
    ("to_decision", Words("ثبت‌نام تا تصمیم", "Registered to decided")),
    ("to_capacity", Words("پذیرش تا شناسایی ظرفیت", "Admitted to capacity")),
    ("to_market", Words("شناسایی تا اتصال", "Capacity to market")),
    ("end_to_end", Words("از ثبت‌نام تا بازار", "Registered to market")),
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
BREAKS = (20, 28, 36, 44)  # fixed steps of the index on the map, so that months compare
