"""Messages for a fault in one answer: how it is to be given."""

# Three lines each: code and kind, Persian sentence, English sentence. Sorted by code.
ANSWER_MESSAGES = """
birth_date_future invalid
تاریخ تولد در آینده است. لطفاً آن را از روی کارت دوباره بخوانید.
This birth date lies in the future. Please read it from your card again.

birth_date_implausible invalid
این تاریخ تولد خیلی دور است. لطفاً سال را دوباره نگاه کنید.
This birth date is too long ago. Please check the year.

consent_missing invalid
برای ادامه، متن رضایت را بخوانید و بپذیرید.
To go on, read the consent text and accept it.

county_not_in_province invalid
این شهرستان در استانی که انتخاب کرده‌اید نیست. شهرستان را دوباره انتخاب کنید.
This county is not in the province you chose. Choose the county again.

county_unknown invalid
شهرستان را از فهرست انتخاب کنید.
Choose the county from the list.

date_invalid invalid
این تاریخ در تقویم نیست. سال، ماه و روز را به همین ترتیب بنویسید؛ مثلاً ۱۳۷۵-۰۷-۰۵.
There is no such day. Write year, month and day in this order, for example 1375-07-05.

field_unknown invalid
رشته را از فهرست انتخاب کنید.
Choose the job field from the list.

form_number_invalid invalid
شمارهٔ فرم را همان‌گونه که روی برگه است بنویسید: کد استان، سال و شماره؛ مثلاً {province}-1404-173.
Write the number of the form as printed on it: code of the province, year and number, for example {province}-1404-173.

mobile_invalid invalid
شمارهٔ همراه را با ۱۱ رقم و با ۰۹ در آغاز بنویسید؛ مثلاً ۰۹۱۲۱۲۳۴۵۶۷.
Write the mobile number with 11 digits beginning with 09, for example 09121234567.

name_invalid invalid
نام را همان‌گونه که روی کارت ملی است بنویسید.
Write the name as it stands on the national card.

named_twice invalid
همین مورد در ردیف {row} هم آمده است. یکی را بردارید.
The same stands in row {row} already. Remove one of them.

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

outcome_unknown invalid
نتیجه را «تأیید» یا «رد» بگذارید.
Choose approved or rejected.

province_code_old invalid
کد {given} از شماره‌گذاری پیش از آذر ۱۳۹۹ است. فایل را با کدهای کنونی استان‌ها بفرستید.
Code {given} is from the numbering before November 2020. Send the file with the present province codes.

province_name_mismatch invalid
کد {given} از آنِ «{expected}» است، نه «{name}». کد و نام را یکی کنید.
Code {given} is {expected}, not {name}. Make code and name agree.

province_unknown invalid
استان را از فهرست انتخاب کنید.
Choose the province from the list.

reason_unknown invalid
دلیل را از فهرست انتخاب کنید.
Choose the reason from the list.

reasons_missing invalid
برای رد درخواست دست‌کم یک دلیل انتخاب کنید.
To reject an application choose at least one reason.

round_invalid invalid
دوره را با چهار رقم سال بنویسید، مثلاً ۱۴۰۵؛ اگر سالی چند دوره دارد، ۱۴۰۵-۲.
Write the round as the four digits of its year, such as 1405; 1405-2 where a year has several.

search_unreadable invalid
کد ملی (ده رقم) یا کد پیگیری (ده حرف و رقم) را بنویسید. از او بخواهید دوباره بخواند.
Enter the national ID (ten digits) or the tracking code (ten characters). Ask them to read it out again.

tracking_code_unknown missing
درخواستی با این کد پیگیری پیدا نشد. کد را حرف‌به‌حرف دوباره نگاه کنید.
No application has this tracking code. Please check it character by character.

underage invalid
برای ثبت‌نام باید دست‌کم {minimum} سال داشته باشید.
You must be at least {minimum} years old to register.
"""
