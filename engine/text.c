/*
 * text.c: numbers, times and JSON strings (see text.h).
 *
 * Thread: the owner of the buffer. Fails: by setting overflow.
 */
#include "engine/text.h"

void text_number(struct text *text, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    text_bytes(text, digits + at, sizeof digits - at);
}

static void put_digits(char *out, int width, int64_t value)
{
    for (int i = width - 1; i >= 0; i--, value /= 10)
        out[i] = (char)('0' + value % 10);
}

/* Days since 1970-01-01 to a civil date: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms",
 * civil_from_days, for days >= 0. */
static void civil_from_days(int64_t days, int64_t *year, int64_t *month, int64_t *day)
{
    int64_t z = days + 719468, era = z / 146097, doe = z % 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *day = doy - (153 * mp + 2) / 5 + 1;
    *month = mp < 10 ? mp + 3 : mp - 9;
    *year = yoe + era * 400 + (*month <= 2);
}

void text_time(struct text *text, int64_t wall_ms)
{
    static const int64_t day_ms = 86400000, last_ms = 253402300799999; /* end of year 9999 */
    int64_t ms = wall_ms < 0 ? 0 : wall_ms > last_ms ? last_ms : wall_ms;
    int64_t year, month, day, of_day = ms % day_ms;
    civil_from_days(ms / day_ms, &year, &month, &day);
    char out[] = "0000-00-00T00:00:00.000Z";
    put_digits(out, 4, year);
    put_digits(out + 5, 2, month);
    put_digits(out + 8, 2, day);
    put_digits(out + 11, 2, of_day / 3600000);
    put_digits(out + 14, 2, of_day / 60000 % 60);
    put_digits(out + 17, 2, of_day / 1000 % 60);
    put_digits(out + 20, 3, of_day % 1000);
    text_bytes(text, out, TEXT_TIME_CHARS);
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\' && c != '<' && c != 0xe2 && c != 0x7f;
}

static void escape(struct text *text, unsigned code)
{
    static const char hex[] = "0123456789abcdef";
    const char out[6] = {
        '\\', 'u', hex[code >> 12 & 15], hex[code >> 8 & 15], hex[code >> 4 & 15], hex[code & 15]};
    text_bytes(text, out, sizeof out);
}

/* One character that is not plain; returns how many bytes it took. */
static size_t put_special(struct text *text, const char *bytes, size_t len)
{
    const unsigned char *b = (const unsigned char *)bytes;
    if (b[0] == '"' || b[0] == '\\') {
        text_bytes(text, "\\", 1);
        text_bytes(text, bytes, 1);
        return 1;
    }
    if (b[0] == 0xe2 && len >= 3 && b[1] == 0x80 && (b[2] == 0xa8 || b[2] == 0xa9)) {
        escape(text, 0x2000u | (b[2] & 0x3fu)); /* U+2028, U+2029 */
        return 3;
    }
    if (b[0] == 0xe2)
        text_bytes(text, bytes, 1);
    else
        escape(text, b[0]);
    return 1;
}

void text_json_string(struct text *text, const char *bytes, size_t len)
{
    text_bytes(text, "\"", 1);
    size_t i = 0;
    while (i < len) {
        size_t plain = i;
        while (plain < len && is_plain((unsigned char)bytes[plain]))
            plain++;
        text_bytes(text, bytes + i, plain - i);
        i = plain;
        if (i < len)
            i += put_special(text, bytes + i, len - i);
    }
    text_bytes(text, "\"", 1);
}

void text_key(struct text *text, const char *key)
{
    bool first = text->len > 0 && (text->start[text->len - 1] == '{');
    text_str(text, first ? "\"" : ",\"");
    text_str(text, key);
    text_bytes(text, "\":", 2);
}

void text_pair_number(struct text *text, const char *key, uint64_t number)
{
    text_key(text, key);
    text_number(text, number);
}

void text_pair_time(struct text *text, const char *key, int64_t wall_ms)
{
    text_key(text, key);
    text_bytes(text, "\"", 1);
    text_time(text, wall_ms);
    text_bytes(text, "\"", 1);
}

void text_pair_string(struct text *text, const char *key, const char *bytes, size_t len)
{
    text_key(text, key);
    text_json_string(text, bytes, len);
}
