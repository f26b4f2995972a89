#include "values.h"

#include "flowconv.h"

static bool is_digit(uint8_t byte) {
    return byte >= '0' && byte <= '9';
}

int parse_number(const uint8_t *value, uint32_t length, int64_t largest, int64_t *number) {
    bool negative = length > 0 && value[0] == '-';
    if (length == (uint32_t)negative)
        return FC_NOT_A_NUMBER;
    for (uint32_t i = negative; i < length; i++)
        if (!is_digit(value[i]))
            return FC_NOT_A_NUMBER;
    int64_t sum = 0;
    for (uint32_t i = negative; i < length; i++) {
        int64_t digit = value[i] - '0';
        if (sum > (INT64_MAX - digit) / 10)
            return FC_OUT_OF_RANGE;
        sum = sum * 10 + digit;
    }
    *number = sum;
    return sum > largest || (negative && sum > 0) ? FC_OUT_OF_RANGE : 0;
}

/* Days from 1970-01-01, for any day of the Gregorian calendar.
 * https://howardhinnant.github.io/date_algorithms.html#days_from_civil */
static int64_t days_since_1970(int64_t year, int month, int day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static int days_in(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

static int two_digits(const uint8_t *at) {
    return (at[0] - '0') * 10 + (at[1] - '0');
}

bool parse_event_time(const uint8_t *value, uint32_t length, int64_t *milliseconds) {
    static const char form[] = "0000-00-00T00:00:00.000Z";
    if ((length != 20 && length != 24) || value[length - 1] != 'Z')
        return false;
    for (uint32_t i = 0; i + 1 < length; i++)
        if (form[i] == '0' ? !is_digit(value[i]) : value[i] != form[i])
            return false;

    *milliseconds = -1;
    int year = two_digits(value) * 100 + two_digits(value + 2);
    int month = two_digits(value + 5), day = two_digits(value + 8);
    int hour = two_digits(value + 11), minute = two_digits(value + 14);
    int second = two_digits(value + 17);
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > days_in(year, month))
        return true;
    if (hour > 23 || minute > 59 || second > 59)
        return true;
    int thousandths = length == 24 ? (value[20] - '0') * 100 + two_digits(value + 21) : 0;
    int64_t minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute;
    *milliseconds = (minutes * 60 + second) * 1000 + thousandths;
    return true;
}

static bool is_letter(uint8_t byte) {
    return (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
}

bool is_name(const uint8_t *value, uint32_t length) {
    if (length >= 2 && value[0] == '$' && value[1] == '{')
        value += 2, length -= 2;
    if (length == 0 || !is_letter(value[0]))
        return false;
    if (value[length - 1] == '}')
        length--;
    for (uint32_t i = 1; i < length; i++)
        if (!is_letter(value[i]) && !is_digit(value[i]) && value[i] != '-' && value[i] != '_')
            return false;
    return true;
}

/* How many bytes of a character follow its first; -1 if none begins so. The second byte's least and
 * most leave out what is written too long, surrogates, and what is above U+10FFFF. */
static int bytes_behind(uint8_t first, uint8_t *least, uint8_t *most) {
    *least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    *most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (first >= 0xC2 && first <= 0xDF)
        return 1;
    if (first >= 0xE0 && first <= 0xEF)
        return 2;
    return first >= 0xF0 && first <= 0xF4 ? 3 : -1;
}

bool is_utf8(const uint8_t *text, size_t size) {
    size_t at = 0;
    while (at < size) {
        if (size - at >= 8 && !(load_word(text + at) & UINT64_C(0x8080808080808080))) {
            at += 8;
            continue;
        }
        uint8_t first = text[at++], least, most;
        if (first < 0x80)
            continue;
        int behind = bytes_behind(first, &least, &most);
        if (behind < 0 || (size_t)behind > size - at || text[at] < least || text[at] > most)
            return false;
        for (int i = 1; i < behind; i++)
            if ((text[at + (size_t)i] & 0xC0) != 0x80)
                return false;
        at += (size_t)behind;
    }
    return true;
}
