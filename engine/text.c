/*
 * text.c: numbers, times and JSON strings (see text.h).
 *
 * Thread: the owner of the buffer. Fails: by setting overflow.
 */
#include "engine/text.h"

#include "engine/civil.h"
#include "engine/now.h"

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

void text_seconds(struct text *text, uint64_t us)
{
    char fraction[6];
    put_digits(fraction, 6, (int64_t)(us % 1000000));
    text_number(text, us / 1000000);
    text_bytes(text, ".", 1);
    text_bytes(text, fraction, sizeof fraction);
}

/* The whole second as text, "2026-01-02T03:04:05"; neighbouring events share it. */
struct second_text {
    int64_t key; /* the second plus 1; 0: empty */
    char text[TEXT_TIME_CHARS];
};

static void write_second(struct second_text *memo, int64_t second)
{
    const struct civil_date date = civil_of_days(second / 86400);
    int64_t of_day = second % 86400;
    memcpy(memo->text, "0000-00-00T00:00:00.000Z", TEXT_TIME_CHARS);
    put_digits(memo->text, 4, date.year);
    put_digits(memo->text + 5, 2, date.month);
    put_digits(memo->text + 8, 2, date.day);
    put_digits(memo->text + 11, 2, of_day / 3600);
    put_digits(memo->text + 14, 2, of_day / 60 % 60);
    put_digits(memo->text + 17, 2, of_day % 60);
    memo->key = second + 1;
}

void text_time(struct text *text, int64_t wall_ms)
{
    /* Several entries, since payloads show the event's time and its deadline in turn; a prime number
     * of them, so that with holds of whole minutes the two do not share an entry. */
    static _Thread_local struct second_text memos[13];
    int64_t ms = wall_ms < 0 ? 0 : wall_ms > WALL_MS_MAX ? WALL_MS_MAX : wall_ms;
    struct second_text *memo = &memos[ms / 1000 % 13];
    if (memo->key != ms / 1000 + 1)
        write_second(memo, ms / 1000);
    char out[TEXT_TIME_CHARS];
    memcpy(out, memo->text, sizeof out);
    put_digits(out + 20, 3, ms % 1000);
    text_bytes(text, out, sizeof out);
}

/* The inverse of civil_of_days(): days_from_civil of the same source (civil.h), for years from 1970. */
static int64_t days_from_civil(int64_t year, int64_t month, int64_t day)
{
    int64_t y = year - (month <= 2), era = y / 400, yoe = y - era * 400;
    int64_t doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static bool digits_at(const char *text, int count, int64_t *number)
{
    *number = 0;
    for (int i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *number = *number * 10 + (text[i] - '0');
    }
    return true;
}

bool text_read_time(const char at[TEXT_TIME_CHARS], int64_t *wall_ms)
{
    int64_t year, month, day, hour, minute, second, ms;
    if (!digits_at(at, 4, &year) || !digits_at(at + 5, 2, &month) || !digits_at(at + 8, 2, &day) ||
        !digits_at(at + 11, 2, &hour) || !digits_at(at + 14, 2, &minute) ||
        !digits_at(at + 17, 2, &second) || !digits_at(at + 20, 3, &ms) || year < 1970)
        return false;
    *wall_ms =
        (((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms;
    return true;
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

/* Writes one character that is not plain; returns how many bytes of input it took. */
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

size_t text_utf8_bytes(const char *text, size_t len)
{
    const unsigned char *at = (const unsigned char *)text;
    unsigned char low = 0x80, high = 0xbf;
    size_t need;
    if (at[0] < 0x80)
        return 1;
    if (at[0] >= 0xc2 && at[0] <= 0xdf)
        need = 2;
    else if ((at[0] & 0xf0) == 0xe0)
        need = 3;
    else if (at[0] >= 0xf0 && at[0] <= 0xf4)
        need = 4;
    else
        return 0;
    if (at[0] == 0xe0)
        low = 0xa0;
    else if (at[0] == 0xed)
        high = 0x9f;
    else if (at[0] == 0xf0)
        low = 0x90;
    else if (at[0] == 0xf4)
        high = 0x8f;
    if (len < need || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    }
    return need;
}

/* Of a valid character: C0, DEL and C1. */
static bool is_control(const unsigned char *at)
{
    return at[0] < 0x20 || at[0] == 0x7f || (at[0] == 0xc2 && at[1] < 0xa0);
}

bool text_is_name(const char *text, size_t len)
{
    for (size_t i = 0, bytes; i < len; i += bytes) {
        bytes = text_utf8_bytes(text + i, len - i);
        if (bytes == 0 || is_control((const unsigned char *)text + i))
            return false;
    }
    return true;
}
