#include "lines.h"

#include <string.h>

/* --- single values
 * ---------------------------------------------------------------------------
 */

static bool is_digit(uint8_t byte) { return '0' <= byte && byte <= '9'; }

static bool is_letter(uint8_t byte) {
  return ('a' <= byte && byte <= 'z') || ('A' <= byte && byte <= 'Z');
}

static bool is_dash(value v) { return v.length == 1 && v.bytes[0] == '-'; }

/* Decodes each character. */
static bool is_unicode(const uint8_t *text, size_t length) {
  static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  for (size_t i = 0; i < length;) {
    uint8_t first = text[i++];
    int more = first < 0x80             ? 0
               : (first & 0xE0) == 0xC0 ? 1
               : (first & 0xF0) == 0xE0 ? 2
                                        : 3;
    if (more == 3 && (first & 0xF8) != 0xF0)
      return false;
    uint32_t character = more == 0 ? first : first & (0x3Fu >> more);
    for (int k = 0; k < more; k++) {
      if (i == length || (text[i] & 0xC0) != 0x80)
        return false;
      character = character << 6 | (text[i++] & 0x3F);
    }
    if (character < least[more] || character > 0x10FFFF ||
        (0xD800 <= character && character <= 0xDFFF))
      return false;
  }
  return true;
}

/* 0, or why a value is no number from 0 to `largest`. */
static int read_number(value v, int64_t largest, int64_t *number) {
  size_t start = v.bytes[0] == '-';
  uint64_t sum = 0;
  bool is_large = false;
  if (start == v.length)
    return FC_NOT_A_NUMBER;
  for (size_t i = start; i < v.length; i++) {
    if (!is_digit(v.bytes[i]))
      return FC_NOT_A_NUMBER;
    is_large |= sum > INT64_MAX / 10; /* one digit more is too many */
    sum = is_large ? sum : sum * 10 + (uint64_t)(v.bytes[i] - '0');
  }
  if (is_large || sum > (uint64_t)largest || (start && sum))
    return FC_OUT_OF_RANGE;
  *number = (int64_t)sum;
  return 0;
}

static int digits(const uint8_t *at, int count) {
  int sum = 0;
  for (int i = 0; i < count; i++)
    sum = sum * 10 + (at[i] - '0');
  return sum;
}

static bool is_leap(int year) {
  return year % 400 == 0 || (year % 4 == 0 && year % 100 != 0);
}

/* Whether a value has the form of an event's time; `time` is -1 if there is no
 * such time. */
static bool read_time(value v, int64_t *time) {
  const char *form =
      v.length == 20 ? "dddd-dd-ddTdd:dd:ddZ" : "dddd-dd-ddTdd:dd:dd.dddZ";
  if (v.length != strlen(form))
    return false;
  for (size_t i = 0; i < v.length; i++)
    if (form[i] == 'd' ? !is_digit(v.bytes[i]) : v.bytes[i] != form[i])
      return false;
  int year = digits(v.bytes, 4), month = digits(v.bytes + 5, 2),
      day = digits(v.bytes + 8, 2);
  int hour = digits(v.bytes + 11, 2), minute = digits(v.bytes + 14, 2);
  int second = digits(v.bytes + 17, 2),
      thousandth = v.length == 24 ? digits(v.bytes + 20, 3) : 0;
  int lengths[] = {
      31, is_leap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  *time = -1;
  if (year < 1970 || month < 1 || month > 12 || day < 1 ||
      day > lengths[month - 1] || hour > 23 || minute > 59 || second > 59)
    return true;
  int64_t days = day - 1;
  for (int y = 1970; y < year; y++)
    days += is_leap(y) ? 366 : 365;
  for (int m = 1; m < month; m++)
    days += lengths[m - 1];
  *time =
      (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + thousandth;
  return true;
}

/* --- names of fields
 * ------------------------------------------------------------------------- */

static bool is_name(value v) {
  size_t i = 0, end = v.length;
  if (end >= 2 && memcmp(v.bytes, "${", 2) == 0)
    i = 2;
  if (i == end || !is_letter(v.bytes[i]))
    return false;
  end -= v.bytes[end - 1] == '}';
  for (; i < end; i++)
    if (!is_letter(v.bytes[i]) && !is_digit(v.bytes[i]) && v.bytes[i] != '-' &&
        v.bytes[i] != '_')
      return false;
  return true;
}

/* Whether a value is this name, but for case and - _ ${}. */
static bool is_named(value v, const uint8_t *name, size_t length) {
  size_t same = 0;
  for (size_t i = 0; i < v.length; i++) {
    uint8_t byte = v.bytes[i];
    if (byte == '-' || byte == '_' || byte == '$' || byte == '{' || byte == '}')
      continue;
    byte = 'A' <= byte && byte <= 'Z' ? (uint8_t)(byte - 'A' + 'a') : byte;
    if (same == length || byte != name[same])
      return false;
    same++;
  }
  return same == length;
}

static bool is_known(const fc_plan *plan, value v) {
  for (int32_t i = 0; i < plan->name_count; i++) {
    const int32_t *offset = plan->name_offsets + i;
    if (is_named(v, plan->names + offset[0], (size_t)(offset[1] - offset[0])))
      return true;
  }
  return false;
}

static bool is_like_header(const fc_plan *plan, const value *values,
                           size_t count) {
  size_t known = 0;
  for (size_t i = 0; i < count; i++) {
    if (!is_name(values[i]))
      return false;
    known += is_known(plan, values[i]);
  }
  return count > 0 && known * 2 >= count;
}

/* --- lines
 * -----------------------------------------------------------------------------------
 */

static void reject(line *read, int reason, int field) {
  if (read->kind == REJECTED)
    return;
  read->kind = REJECTED;
  read->reason = reason;
  read->field = field;
}

/* Find the values; returns how many there are. */
static size_t split(const uint8_t *text, size_t length, line *read,
                    bool *commented) {
  size_t count = 0, i = 0;
  while (true) {
    while (i < length && (text[i] == ' ' || text[i] == '\t'))
      i++;
    *commented = i < length && text[i] == '#';
    if (i == length || *commented || count == MOST_VALUES)
      return count;
    size_t start = i;
    while (i < length && text[i] != ' ' && text[i] != '\t')
      i++;
    read->values[count++] = (value){text + start, i - start};
  }
}

/* Read the values of a line that has the right number of them. */
static void read_values(const fc_plan *plan, line *read) {
  const value *values = read->values;
  if (plan->timestamped && !read_time(*values++, &read->time))
    reject(read, FC_NOT_A_TIMESTAMP, -1);
  for (int32_t i = 0; i < plan->field_count; i++) {
    const fc_field *field = &plan->fields[i];
    read->is_null[i] = is_dash(values[i]);
    read->numbers[i] = 0;
    if (field->type == FC_TEXT || read->is_null[i])
      continue;
    int reason = read_number(values[i], field->largest, &read->numbers[i]);
    if (reason)
      reject(read, reason, i);
    if (field->type == FC_SECONDS && read->numbers[i] > FC_MOST_SECONDS) {
      read->numbers[i] /= 1000;
      read->has_milliseconds = true;
    }
  }
}

void read_line(const fc_plan *plan, const uint8_t *text, size_t length,
               line *read) {
  length -= length > 0 && text[length - 1] == '\r';
  read->kind = ROW;
  read->is_question = read->has_milliseconds = false;
  read->length = length;
  if (!is_unicode(text, length)) {
    reject(read, FC_NOT_UTF8, -1);
    return;
  }
  if (memchr(text, '\r', length)) {
    reject(read, FC_CONTROL_CHARACTER, -1);
    return;
  }
  bool commented, has_numbers = false;
  size_t timed = plan->timestamped != 0, fields = (size_t)plan->field_count;
  size_t count = split(text, length, read, &commented);
  for (size_t i = 0; i < fields; i++)
    has_numbers |= plan->fields[i].type != FC_TEXT;
  if (count == 0) {
    read->kind = commented ? COMMENT : BLANK;
    return;
  }
  size_t values = count - timed;
  bool may_be_header = is_like_header(plan, read->values + timed, values);
  if (values == fields) {
    read_values(plan, read);
    bool is_open = read->kind == REJECTED && read->reason != FC_NOT_A_TIMESTAMP;
    read->is_question = may_be_header && (is_open || !has_numbers);
    return;
  }
  if (timed && !read_time(read->values[0], &read->time)) {
    reject(read, FC_NOT_A_TIMESTAMP, -1);
  } else if (timed && values == 0) {
    read->kind = commented ? COMMENT : BLANK;
  } else {
    reject(read, values < fields ? FC_TOO_FEW_VALUES : FC_TOO_MANY_VALUES, -1);
    bool may_be_two =
        has_numbers && values > fields && values >= 2 * fields - 1;
    read->is_question = may_be_header || may_be_two;
  }
}
