/* A column -> its dictionary page and data pages, and what their statistics need. */

#include "encodings.h"
#include "texts.h"

#include <stdbool.h>

/* Return the size of a row's value written PLAIN; a null has none. */
static uint64_t plain_size(const fc_chunk *column, uint32_t number) {
    if (number == FC_NULL)
        return 0;
    switch (column->type) {
    case FC_PHYSICAL_INT32:
        return 4;
    case FC_PHYSICAL_INT64:
        return 8;
    default:
        return 4 + ((const fc_text *)column->entries)[number].size_bytes;
    }
}

uint64_t fc_plain_bytes(const fc_chunk *column) {
    uint64_t size_bytes = 0;
    for (uint32_t row = 0; row < column->rows; row++)
        size_bytes += plain_size(column, column->numbers[row]);
    return size_bytes;
}

uint64_t fc_entry_bytes(const fc_chunk *column, uint32_t count, uint64_t *longest) {
    uint64_t size_bytes = 0;
    *longest = 0;
    for (uint32_t number = 0; number < count; number++) {
        uint64_t entry = plain_size(column, number);
        size_bytes += entry;
        *longest = entry > *longest ? entry : *longest;
    }
    return size_bytes;
}

uint64_t fc_page_capacity(uint32_t rows, uint8_t width, uint64_t value_bytes) {
    uint64_t levels = 4 + hybrid_capacity(rows, 1);
    return levels + (width ? 1 + hybrid_capacity(rows, width) : value_bytes);
}

/* Return how many rows a page takes; `value_bytes` becomes the size of their values. */
static uint32_t rows_of_page(const fc_chunk *column, uint32_t first, uint32_t most_rows,
                             uint64_t most_bytes, uint64_t *value_bytes) {
    uint32_t left = column->rows - first;
    uint32_t most = left < most_rows ? left : most_rows;
    *value_bytes = 0;
    if (column->width)
        return most;
    for (uint32_t rows = 0; rows < most; rows++) {
        uint64_t size_bytes = plain_size(column, column->numbers[first + rows]);
        if (rows && *value_bytes + size_bytes > most_bytes)
            return rows;
        *value_bytes += size_bytes;
    }
    return most;
}

/* Definition levels: 1 for a value, 0 for a null; before them, their size in four bytes. */
static uint8_t *encode_levels(uint8_t *out, const uint32_t *numbers, const fc_page *page,
                              uint32_t *scratch) {
    uint8_t *levels = out + 4;
    uint8_t *end;
    uint32_t rows = page->rows; /* a copy that stores to `scratch` cannot change: SIMD */
    if (page->nulls == 0 || page->nulls == rows) {
        end = encode_run(levels, page->nulls == 0, rows, 1);
    } else {
        for (uint32_t i = 0; i < rows; i++)
            scratch[i] = numbers[i] != FC_NULL;
        end = encode_hybrid(levels, scratch, rows, 1);
    }
    uint32_t size_bytes = (uint32_t)(end - levels);
    memcpy(out, &size_bytes, 4);
    return end;
}

static uint32_t count_nulls(const uint32_t *numbers, uint32_t rows) {
    uint32_t nulls = 0;
    for (uint32_t i = 0; i < rows; i++)
        nulls += numbers[i] == FC_NULL;
    return nulls;
}

/* So many numbers are copied at once if none of them is null. */
#define NUMBERS_AT_ONCE 16u

static bool has_null(const uint32_t *numbers) {
    int32_t all = 0;
    for (uint32_t i = 0; i < NUMBERS_AT_ONCE; i++)
        all |= (int32_t)numbers[i];
    return all < 0; /* there are fewer entries than INT32_MAX */
}

/* Copy the numbers that are not null. */
static const uint32_t *without_nulls(const uint32_t *numbers, const fc_page *page,
                                     uint32_t *scratch) {
    if (page->nulls == 0)
        return numbers;
    uint32_t count = 0, rows = page->rows;
    for (uint32_t row = 0; row < rows;) {
        uint32_t stop = rows - row < NUMBERS_AT_ONCE ? rows : row + NUMBERS_AT_ONCE;
        if (stop - row == NUMBERS_AT_ONCE && !has_null(numbers + row)) {
            memcpy(scratch + count, numbers + row, NUMBERS_AT_ONCE * sizeof *numbers);
            count += NUMBERS_AT_ONCE;
            row = stop;
        }
        for (; row < stop; row++) {
            scratch[count] = numbers[row]; /* overwritten by the next if it is null: no branch */
            count += numbers[row] != FC_NULL;
        }
    }
    return scratch;
}

static void find_bounds_of_ranks(const uint32_t *numbers, uint32_t count, fc_page *page) {
    /* There are no more ranks than rows. SSE2 compares numbers with a sign only. */
    int32_t least = (int32_t)numbers[0], greatest = least;
    for (uint32_t i = 1; i < count; i++) {
        int32_t number = (int32_t)numbers[i];
        least = number < least ? number : least;
        greatest = number > greatest ? number : greatest;
    }
    page->least = (uint32_t)least;
    page->greatest = (uint32_t)greatest;
}

static void find_bounds_of_integers(const int64_t *values, const uint32_t *numbers, uint32_t count,
                                    fc_page *page) {
    page->least = page->greatest = numbers[0];
    int64_t least = values[numbers[0]], greatest = least;
    for (uint32_t i = 1; i < count; i++) {
        int64_t value = values[numbers[i]];
        if (value < least) {
            least = value;
            page->least = numbers[i];
        }
        if (value > greatest) {
            greatest = value;
            page->greatest = numbers[i];
        }
    }
}

static void find_bounds_of_texts(const fc_text *texts, const uint32_t *numbers, uint32_t count,
                                 fc_page *page) {
    page->least = page->greatest = numbers[0];
    for (uint32_t i = 1; i < count; i++) {
        if (compare_texts(texts[numbers[i]], texts[page->least]) < 0)
            page->least = numbers[i];
        else if (compare_texts(texts[numbers[i]], texts[page->greatest]) > 0)
            page->greatest = numbers[i];
    }
}

/* Find the least and the greatest value. */
static void find_bounds(const fc_chunk *column, const uint32_t *numbers, uint32_t count,
                        fc_page *page) {
    if (count == 0)
        page->least = page->greatest = FC_NULL;
    else if (column->ranks)
        find_bounds_of_ranks(numbers, count, page);
    else if (column->type == FC_PHYSICAL_TEXT)
        find_bounds_of_texts(column->entries, numbers, count, page);
    else
        find_bounds_of_integers(column->entries, numbers, count, page);
}

static int64_t encode_page(const fc_chunk *column, uint32_t first, uint32_t most_rows,
                           uint64_t most_bytes, uint32_t *scratch, uint8_t *out,
                           uint64_t capacity_bytes, fc_page *page) {
    uint64_t value_bytes;
    const uint32_t *numbers = column->numbers + first;
    page->rows = rows_of_page(column, first, most_rows, most_bytes, &value_bytes);
    if (fc_page_capacity(page->rows, column->width, value_bytes) > capacity_bytes)
        return FC_SMALL_BUFFER;
    page->nulls = count_nulls(numbers, page->rows);
    uint8_t *end = encode_levels(out, numbers, page, scratch);
    uint32_t count = page->rows - page->nulls;
    numbers = without_nulls(numbers, page, scratch);
    find_bounds(column, numbers, count, page);
    if (column->width) {
        *end++ = column->width;
        end = encode_hybrid(end, numbers, count, column->width);
    } else {
        end = encode_plain(end, column, numbers, count);
    }
    page->size_bytes = (uint64_t)(end - out);
    return (int64_t)first + page->rows;
}

int64_t fc_data_pages(const fc_chunk *column, uint32_t first, uint32_t most_rows,
                      uint64_t most_bytes, uint32_t *scratch, uint8_t *out, uint64_t capacity_bytes,
                      fc_packed_page *pages, uint32_t most_pages, uint32_t *count) {
    int64_t row = first;
    uint64_t size_bytes = 0;
    for (*count = 0; row < column->rows && *count < most_pages; ++*count) {
        fc_packed_page *page = &pages[*count];
        *page = (fc_packed_page){.packed = out + size_bytes};
        int64_t next = encode_page(column, (uint32_t)row, most_rows, most_bytes, scratch,
                                   out + size_bytes, capacity_bytes - size_bytes, &page->page);
        if (next < 0)
            return *count ? row : next;
        page->packed_bytes = page->page.size_bytes;
        size_bytes += page->packed_bytes;
        row = next;
    }
    return row;
}

uint64_t fc_dictionary_page(const fc_chunk *column, uint32_t count, uint8_t *out) {
    uint8_t *end = out;
    for (uint32_t number = 0; number < count; number++)
        end = encode_plain(end, column, &number, 1);
    return (uint64_t)(end - out);
}
