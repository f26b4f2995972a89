/* Bytes of a page -> values and which rows have one.

https://github.com/apache/parquet-format/blob/master/Encodings.md */

#include "flowconv.h"

#include <stdbool.h>
#include <string.h>

/* So many numbers of entries are looked up at once. */
#define PLACES_AT_ONCE 512u

#define WIDEST 32u

static inline uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static inline uint32_t load_u32(const uint8_t *bytes) {
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

/* Return the eight bytes from `at` on; behind the end there are zeros. */
static inline uint64_t load_word(const uint8_t *at, const uint8_t *end) {
    uint64_t word = 0;
    memcpy(&word, at, least((uint64_t)(end - at), sizeof word));
    return word;
}

/* --- RLE/bit-packing hybrid ------------------------------------------------------------------ */

static bool read_varint(fc_numbers *numbers, uint64_t *value) {
    *value = 0;
    for (unsigned shift = 0; shift < 35 && numbers->at < numbers->end; shift += 7) {
        uint8_t byte = *numbers->at++;
        *value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return true;
    }
    return false;
}

/* Begin the next run; false if there is none that is whole. */
static bool begin_run(fc_numbers *numbers) {
    uint64_t header;
    if (!read_varint(numbers, &header))
        return false;
    uint64_t there = (uint64_t)(numbers->end - numbers->at);
    if (header & 1) {
        uint64_t groups = header >> 1;
        if (groups * numbers->width > there)
            return false;
        numbers->left = groups * 8;
        numbers->packed = numbers->at;
        numbers->bit = 0;
        numbers->at += groups * numbers->width;
        return true;
    }
    unsigned size = (numbers->width + 7) / 8;
    if (size > there)
        return false;
    numbers->left = header >> 1;
    numbers->packed = NULL;
    numbers->value = 0;
    memcpy(&numbers->value, numbers->at, size);
    numbers->at += size;
    return true;
}

/* Begin runs until one has numbers left, and return how many of `most`; 0 if there is none. */
static uint32_t left_in_run(fc_numbers *numbers, uint32_t most) {
    while (numbers->left == 0)
        if (!begin_run(numbers))
            return 0;
    return (uint32_t)least(numbers->left, most);
}

static void pass(fc_numbers *numbers, uint32_t count) {
    numbers->left -= count;
    if (numbers->packed)
        numbers->bit += (uint64_t)count * numbers->width;
}

static void unpack(const fc_numbers *numbers, uint32_t *out, uint32_t count) {
    uint64_t bit = numbers->bit;
    unsigned width = numbers->width;
    uint64_t mask = (UINT64_C(1) << width) - 1;
    const uint8_t *packed = numbers->packed, *end = numbers->at;
    uint64_t whole = (uint64_t)(end - packed) * 8;
    uint32_t i = 0;
    for (; i < count && bit + 64 <= whole; i++, bit += width) {
        uint64_t word;
        memcpy(&word, packed + bit / 8, sizeof word);
        out[i] = (uint32_t)(word >> bit % 8 & mask);
    }
    for (; i < count; i++, bit += width)
        out[i] = (uint32_t)(load_word(packed + bit / 8, end) >> bit % 8 & mask);
}

/* Read numbers; false if there are fewer. */
static bool read_numbers(fc_numbers *numbers, uint32_t *out, uint32_t count) {
    for (uint32_t some; count > 0; count -= some, out += some) {
        some = left_in_run(numbers, count);
        if (some == 0)
            return false;
        if (numbers->packed)
            unpack(numbers, out, some);
        else
            for (uint32_t i = 0; i < some; i++)
                out[i] = numbers->value;
        pass(numbers, some);
    }
    return true;
}

/* --- which rows have a value ----------------------------------------------------------------- */

static void set_bits(uint8_t *bits, uint64_t at, uint64_t count) {
    for (; count > 0 && at % 8; at++, count--)
        bits[at / 8] |= (uint8_t)(1u << at % 8);
    memset(bits + at / 8, 0xFF, count / 8);
    at += count / 8 * 8;
    for (count %= 8; count > 0; at++, count--)
        bits[at / 8] |= (uint8_t)(1u << at % 8);
}

static inline void clear_bit(uint8_t *bits, uint64_t at) {
    bits[at / 8] &= (uint8_t)~(1u << at % 8);
}

static inline bool is_set(const uint8_t *bits, uint64_t at) {
    return bits[at / 8] >> at % 8 & 1;
}

/* Set the bits of rows that have a value, from `at` on; returns their number, or a failure. */
static int64_t read_validity(fc_page_reader *page, uint32_t rows, uint8_t *validity, uint64_t at) {
    if (!page->may_be_null) {
        set_bits(validity, at, rows);
        return rows;
    }
    fc_numbers *levels = &page->levels;
    uint32_t present = 0, levels_read[PLACES_AT_ONCE];
    for (uint32_t some; rows > 0; rows -= some, at += some) {
        some = left_in_run(levels, rows);
        if (some == 0)
            return FC_BAD_PAGE;
        if (!levels->packed) {
            if (levels->value > 1)
                return FC_BAD_PAGE;
            if (levels->value)
                set_bits(validity, at, some);
            present += levels->value ? some : 0;
        } else {
            some = (uint32_t)least(some, PLACES_AT_ONCE);
            unpack(levels, levels_read, some);
            for (uint32_t i = 0; i < some; i++) {
                validity[(at + i) / 8] |= (uint8_t)(levels_read[i] << (at + i) % 8);
                present += levels_read[i];
            }
        }
        pass(levels, some);
    }
    return present;
}

static inline void spread_sized(uint8_t *values, const unsigned size, uint32_t present,
                                uint32_t rows, const uint8_t *validity, uint64_t at) {
    while (present < rows) {
        uint8_t *to = values + (uint64_t)--rows * size;
        if (is_set(validity, at + rows))
            memmove(to, values + (uint64_t)--present * size, size);
        else
            memset(to, 0, size);
    }
}

/* Move the values at the beginning to the rows that have one; the others become zero. */
static void spread(uint8_t *values, unsigned size, uint32_t present, uint32_t rows,
                   const uint8_t *validity, uint64_t at) {
    if (size == 4)
        spread_sized(values, 4, present, rows, validity, at);
    else
        spread_sized(values, 8, present, rows, validity, at);
}

/* --- values ---------------------------------------------------------------------------------- */

static bool are_below(const uint32_t *places, uint32_t count, uint32_t entries) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < count; i++)
        most = places[i] > most ? places[i] : most;
    return count == 0 || most < entries;
}

static void look_up(const uint8_t *dictionary, unsigned size, const uint32_t *places,
                    uint32_t count, uint8_t *out) {
    if (size == 4)
        for (uint32_t i = 0; i < count; i++)
            memcpy(out + 4 * (uint64_t)i, dictionary + 4 * (uint64_t)places[i], 4);
    else
        for (uint32_t i = 0; i < count; i++)
            memcpy(out + 8 * (uint64_t)i, dictionary + 8 * (uint64_t)places[i], 8);
}

static bool read_plain(fc_page_reader *page, unsigned size, uint32_t count, uint8_t *out) {
    uint64_t size_bytes = (uint64_t)count * size;
    if (size_bytes > (uint64_t)(page->values_end - page->values))
        return false;
    if (size_bytes)
        memcpy(out, page->values, size_bytes);
    page->values += size_bytes;
    return true;
}

static bool read_entries(fc_page_reader *page, const uint8_t *dictionary, uint32_t entries,
                         unsigned size, uint32_t count, uint8_t *out) {
    uint32_t places[PLACES_AT_ONCE];
    for (uint32_t some; count > 0; count -= some, out += (uint64_t)some * size) {
        some = (uint32_t)least(count, PLACES_AT_ONCE);
        if (!read_numbers(&page->places, places, some) || !are_below(places, some, entries))
            return false;
        look_up(dictionary, size, places, some, out);
    }
    return true;
}

static bool begin_places(fc_page_reader *page) {
    if (page->values == page->values_end)
        return true; /* no row has a value */
    page->places.width = *page->values;
    page->places.at = page->values + 1;
    page->places.end = page->values_end;
    return page->places.width <= WIDEST;
}

int64_t fc_begin_page(fc_page_reader *page, const uint8_t *bytes, uint64_t size_bytes,
                      uint32_t rows, uint8_t may_be_null, uint8_t has_places) {
    *page = (fc_page_reader){.values = bytes,
                             .values_end = bytes + size_bytes,
                             .rows = rows,
                             .may_be_null = may_be_null,
                             .has_places = has_places};
    if (may_be_null) {
        if (size_bytes < 4 || load_u32(bytes) > size_bytes - 4)
            return FC_BAD_PAGE;
        page->values = bytes + 4 + load_u32(bytes);
        page->levels = (fc_numbers){.at = bytes + 4, .end = page->values, .width = 1};
    }
    return has_places && !begin_places(page) ? FC_BAD_PAGE : 0;
}

/* Begin to read rows; returns how many have a value, or FC_BAD_PAGE. */
static int64_t begin_rows(fc_page_reader *page, uint32_t rows, uint8_t *validity, uint64_t at) {
    if (rows > page->rows)
        return FC_BAD_PAGE;
    page->rows -= rows;
    return read_validity(page, rows, validity, at);
}

int64_t fc_read_integers(fc_page_reader *page, uint32_t rows, uint8_t size, const void *dictionary,
                         uint32_t entries, void *out, uint8_t *validity, uint64_t at) {
    int64_t present = begin_rows(page, rows, validity, at);
    if (present < 0)
        return present;
    uint32_t count = (uint32_t)present;
    if (page->has_places ? !read_entries(page, dictionary, entries, size, count, out)
                         : !read_plain(page, size, count, out))
        return FC_BAD_PAGE;
    spread(out, size, count, rows, validity, at);
    return rows - present;
}

static uint32_t count_equal(const uint32_t *places, uint32_t count, uint32_t place) {
    uint32_t equal = 0;
    for (uint32_t i = 0; i < count; i++)
        equal += places[i] == place;
    return equal;
}

int64_t fc_read_places(fc_page_reader *page, uint32_t rows, uint32_t entries, uint32_t null,
                       uint32_t *out, uint8_t *validity, uint64_t at) {
    int64_t present = begin_rows(page, rows, validity, at);
    if (present < 0)
        return present;
    uint32_t count = (uint32_t)present;
    if (!read_numbers(&page->places, out, count) || !are_below(out, count, entries))
        return FC_BAD_PAGE;
    uint32_t nulls = rows - count + count_equal(out, count, null);
    spread((uint8_t *)out, 4, count, rows, validity, at);
    if (nulls > rows - count)
        for (uint32_t row = 0; row < rows; row++)
            if (out[row] == null)
                clear_bit(validity, at + row);
    return nulls;
}

/* --- texts, each behind its length ----------------------------------------------------------- */

/* Return the next text, and pass it; its bytes are NULL if it leads beyond the page. */
static inline fc_text next_text(const uint8_t **at, const uint8_t *end) {
    uint64_t there = (uint64_t)(end - *at);
    if (there < 4 || load_u32(*at) > there - 4)
        return (fc_text){0};
    fc_text text = {*at + 4, load_u32(*at)};
    *at = text.bytes + text.size_bytes;
    return text;
}

int64_t fc_measure_texts(const fc_page_reader *page, uint32_t rows) {
    fc_page_reader ahead = *page;
    uint8_t validity[PLACES_AT_ONCE / 8];
    uint64_t size_bytes = 0;
    for (uint32_t some; rows > 0; rows -= some) {
        some = (uint32_t)least(rows, PLACES_AT_ONCE);
        int64_t present = read_validity(&ahead, some, memset(validity, 0, sizeof validity), 0);
        if (present < 0)
            return present;
        for (; present > 0; present--) {
            fc_text text = next_text(&ahead.values, ahead.values_end);
            if (!text.bytes)
                return FC_BAD_PAGE;
            size_bytes += text.size_bytes;
        }
    }
    return size_bytes > INT32_MAX ? FC_BAD_PAGE : (int64_t)size_bytes;
}

int64_t fc_read_texts(fc_page_reader *page, uint32_t rows, int32_t null, int32_t *offsets,
                      uint8_t *bytes, uint8_t *validity) {
    int64_t present = begin_rows(page, rows, validity, 0);
    if (present < 0)
        return present;
    int32_t size_bytes = offsets[0] = 0;
    for (uint32_t row = 0; row < rows; row++) {
        if (is_set(validity, row)) {
            fc_text text = next_text(&page->values, page->values_end);
            if (!text.bytes)
                return FC_BAD_PAGE;
            if (text.size_bytes == 1 && *text.bytes == null) {
                clear_bit(validity, row);
                present--;
            } else {
                memcpy(bytes + size_bytes, text.bytes, text.size_bytes);
                size_bytes += (int32_t)text.size_bytes;
            }
        }
        offsets[row + 1] = size_bytes;
    }
    return rows - present;
}

uint64_t fc_longest_text(const uint8_t *page, uint64_t size_bytes, uint64_t count) {
    const uint8_t *at = page, *end = page + size_bytes;
    uint64_t longest = 0;
    for (; count > 0 && end - at >= 4; count--) {
        fc_text text = next_text(&at, end);
        if (!text.bytes)
            return size_bytes;
        longest = text.size_bytes > longest ? text.size_bytes : longest;
    }
    return longest;
}

/* --- texts in Arrow's layout ----------------------------------------------------------------- */

uint32_t fc_find_byte(const int32_t *offsets, const uint8_t *bytes, uint32_t count, uint8_t byte) {
    for (uint32_t i = 0; i < count; i++)
        if (offsets[i + 1] - offsets[i] == 1 && bytes[offsets[i]] == byte)
            return i;
    return FC_NULL;
}

uint64_t fc_measure_places(const uint32_t *places, const uint8_t *validity, uint64_t at,
                           uint32_t count, const int32_t *offsets) {
    uint64_t size_bytes = 0;
    for (uint32_t i = 0; i < count; i++)
        if (!validity || is_set(validity, at + i))
            size_bytes += (uint64_t)(offsets[places[i] + 1] - offsets[places[i]]);
    return size_bytes;
}
