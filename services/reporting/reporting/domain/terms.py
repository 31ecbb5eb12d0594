"""The names of the terms of a score, as pages and CSV files print them."""

from contracts.codes import Label

TERMS = {
    "R1": Label("ثبت‌نام نسبت به سهمیه", "Registered, of quota"),
    "S1": Label("پایش کامل‌شده", "Screened, of registered"),
    "S3": Label("پایش در مهلت", "Screened in time"),
    "C1": Label("پذیرش نسبت به سهمیه", "Admitted, of quota"),
    "C2": Label("ظرفیت شناسایی‌شده", "Capacity identified, of admitted"),
    "C3": Label("شناسایی در مهلت", "Identified in time"),
    "M1": Label("متصل با گواه نسبت به سهمیه", "Connected with evidence, of quota"),
    "M2": Label("متصل از شناسایی‌شده", "Connected, of identified"),
    "M3": Label("پایدار پس از ۹۰ روز", "Sustained after 90 days"),
    "R3": Label("هویت تأییدشده", "Identity verified, of registered"),
    "M5": Label("ادعای تأییدشده", "Claims confirmed, of claimed connections"),
}
