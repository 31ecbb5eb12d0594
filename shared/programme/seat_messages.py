"""Refusals about quotas and proposals, in the form of `programme.messages`. Sorted by code."""

SEAT_MESSAGES = """
control_differs invalid
کد کنترل با این پیشنهاد نمی‌خواند. صفحه را دوباره باز کنید و رقم‌ها را ببینید.
The control number is not that of this proposal. Open it again and look at the figures.

proposal_closed conflict
این پیشنهاد بسته شده است. اگر هنوز لازم است، پیشنهاد تازه‌ای بدهید.
This proposal is closed. If it is still needed, make a new one.

proposal_empty invalid
رقمی بنویسید که با سهمیهٔ امروز فرق دارد.
Write a figure that differs from the present quota.

proposal_of_another conflict
پیشنهاد را فقط کسی پس می‌گیرد که آن را داده است.
Only who made the proposal withdraws it.

proposal_own conflict
پیشنهاد خودتان را کس دیگری در وزارت امضا می‌کند یا برمی‌گرداند.
Someone else at the ministry signs or declines your own proposal.

quota_below_admitted conflict
سهمیهٔ {province} را کمتر از {admitted} نگذارید؛ این تعداد هم‌اکنون پذیرفته شده‌اند.
Do not set the quota of {province} below {admitted}; that many hold seats now.

quota_changed conflict
سهمیهٔ {province} هنگام پیشنهاد {previous} بود و اکنون {now} است. پیشنهاد تازه‌ای با رقم امروز بدهید.
The quota of {province} was {previous} when this was proposed and is {now} now. Make a new proposal with that figure.

quota_invalid invalid
سهمیه را با عدد درست بنویسید؛ از ۰ تا {limit}.
Write the quota as a whole number from 0 to {limit}.

same_province invalid
دو استان متفاوت انتخاب کنید.
Choose two different provinces.

seats_not_free invalid
عددی از ۱ تا {available} بنویسید؛ همین تعداد جایگاه آزاد است.
Write a number from 1 to {available}; that many seats are free.
"""
