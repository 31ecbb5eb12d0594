"""The consent texts by version. A published version is never edited; a change is a new version."""

import msgspec

CURRENT = "1404-1"


class Text(msgspec.Struct, frozen=True):
    """One version of the consent, as sentences."""

    fa: tuple[str, ...]
    en: tuple[str, ...]

    def sentences(self, lang: str) -> tuple[str, ...]:
        """Return the sentences in `fa` or `en`."""
        return self.fa if lang == "fa" else self.en


TEXTS = {
    "1404-1": Text(
        fa=(
            "می‌پذیرم که پاسخ‌هایم درست است و کارشناس استان با من تماس می‌گیرد.",
            "می‌پذیرم که هویتم از سامانهٔ هویت پرسیده شود. پاسخ‌هایم رمز می‌شود و فقط کارشناس استان آن را می‌بیند.",
            "هر وقت بخواهم می‌توانم انصراف بدهم و بخواهم داده‌هایم پاک شود.",
        ),
        en=(
            "I agree that my answers are true and that an officer of my province will call me.",
            "I agree that my identity is checked with the registry. My answers are encrypted; "
            "only officers of my province see them.",
            "I can withdraw at any time, and ask for my data to be erased.",
        ),
    ),
}
