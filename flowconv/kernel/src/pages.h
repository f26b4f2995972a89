/* Columns of Arrow -> pages of Parquet.

A column of a row group is a list of `entries` and, for each row, the `number` of its entry.
Numbers make everything else simple: sorting moves numbers alone, a dictionary page is the list of
entries, and in a sorted list without repetition numbers compare as the values do.

All memory belongs to the caller unless a function says otherwise. Lengths are in bytes where the
name says so, else in elements. Functions that can fail return a negative `fc_failure`. */

#ifndef FLOWCONV_PAGES_H
#define FLOWCONV_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include "api.h"

/* The number of a row without a value. */
#define FC_NULL UINT32_MAX

enum fc_failure {
    FC_OUT_OF_MEMORY = -1,
    FC_TOO_MANY = -2,     /* more distinct values than the caller wants */
    FC_BAD_INDEX = -3,    /* a row's index is beyond its dictionary */
    FC_BAD_OFFSETS = -4,  /* the offsets of texts do not ascend */
    FC_SMALL_BUFFER = -5, /* a page does not fit into the buffer for it */
};

/* A text; its bytes lie in an Arrow buffer. */
typedef struct {
    const uint8_t *bytes;
    uint64_t size_bytes;
} fc_text;

enum fc_physical_type { FC_PHYSICAL_INT32, FC_PHYSICAL_INT64, FC_PHYSICAL_TEXT };

/* A column of a row group, ready to be written. */
typedef struct {
    const void *entries;     /* int64_t, also those of FC_PHYSICAL_INT32; or fc_text */
    const uint32_t *numbers; /* one for each row */
    uint32_t rows;
    uint8_t type;  /* fc_physical_type */
    uint8_t ranks; /* 1: entries ascend without repetition */
    uint8_t width; /* bits of a number in a page; 0 writes the values themselves (PLAIN) */
} fc_chunk;

/* What a data page holds. */
typedef struct {
    uint64_t size_bytes;
    uint32_t rows;
    uint32_t nulls;
    uint32_t least;    /* number of the least value's entry; FC_NULL without values */
    uint32_t greatest; /* likewise */
} fc_page;

/* arrow.c */

/* Find `count` texts by their `count + 1` offsets, as in Arrow's utf8 and large_utf8. */
FC_API int fc_texts_of_utf8(const int32_t *offsets, const uint8_t *bytes, uint32_t count,
                            fc_text *texts);
FC_API int fc_texts_of_large_utf8(const int64_t *offsets, const uint8_t *bytes, uint32_t count,
                                  fc_text *texts);

/* Number rows `first`, `first + 1`, ...; null where the bit in `validity` (which may be NULL) is 0.
`offset` is the bit of the first row. Returns the number of nulls. */
FC_API uint32_t fc_number_rows(const uint8_t *validity, size_t offset, uint32_t rows,
                               uint32_t first, uint32_t *numbers);

/* Number rows by their indices into a dictionary of `entries` entries, of which the first has the
number `first`. Returns the number of nulls, or a failure. */
FC_API int64_t fc_number_indices(const int32_t *indices, const uint8_t *validity, size_t offset,
                                 uint32_t rows, uint32_t entries, uint32_t first,
                                 uint32_t *numbers);

/* distinct.c */

/* Find the distinct values of all rows. Writes them to `distinct` in ascending order, and numbers
the rows by them. If there are more than `limit`, returns FC_TOO_MANY and changes no number. Else
returns how many there are. `distinct` has room for `rows` values and at least `limit`; `seed` is a
secret that keeps logs from being made to collide, and has no influence on the result. */
FC_API int64_t fc_distinct_integers(const int64_t *entries, uint32_t *numbers, uint32_t rows,
                                    uint32_t limit, uint64_t seed, int64_t *distinct);
/* `entries` has `count` texts, of which the rows need not use all. */
FC_API int64_t fc_distinct_texts(const fc_text *entries, uint32_t count, uint32_t *numbers,
                                 uint32_t rows, uint32_t limit, uint64_t seed, fc_text *distinct);

/* sorting.c */

/* Refine an order of rows: a stable sort by one more key, of which `numbers` are ranks below
`ranks`; nulls come first. The last key is sorted by first. `order` NULL is the rows' own. */
FC_API int fc_sort(const uint32_t *numbers, uint32_t rows, uint32_t ranks, const uint32_t *order,
                   uint32_t *sorted);

/* Put numbers into an order of rows. */
FC_API void fc_reorder(const uint32_t *numbers, const uint32_t *order, uint32_t rows,
                       uint32_t *reordered);

/* pages.c */

/* Return the size of all values written PLAIN. */
FC_API uint64_t fc_plain_bytes(const fc_chunk *column);

/* Write a data page (version 1, not compressed): rows from `first` on, up to `most_rows`, or fewer
if their values would take more than `most_bytes`, but one at least. `scratch` has room for
`most_rows`. Returns the row after the last, or a failure. */
FC_API int64_t fc_data_page(const fc_chunk *column, uint32_t first, uint32_t most_rows,
                            uint64_t most_bytes, uint32_t *scratch, uint8_t *out,
                            uint64_t capacity_bytes, fc_page *page);

/* The most that a data page of `rows` takes, if its values take `value_bytes`. */
FC_API uint64_t fc_page_capacity(uint32_t rows, uint8_t width, uint64_t value_bytes);

/* Write a dictionary page (not compressed) of the first `count` entries; `out` has room for them.
Returns its size. */
FC_API uint64_t fc_dictionary_page(const fc_chunk *column, uint32_t count, uint8_t *out);

/* bloom.c */

/* Set the bits of `count` texts in a split block Bloom filter of `blocks` of 32 bytes, which is
all zeros at first. */
FC_API void fc_bloom_filter(const fc_text *texts, uint32_t count, uint32_t *filter,
                            uint32_t blocks);

#endif
