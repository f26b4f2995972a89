/* Rows' values -> their distinct values, ascending, and the rank of each row's among them. */

#include "flowconv.h"
#include "texts.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Integers that span at most so many times their number are counted in a table, not hashed. */
#define TABLE_PER_ROW 4u

/* So few items are inserted one by one in less time than they are merged. */
#define FEW_ITEMS 8u

/* So few texts are merged in less time than their bytes are counted. */
#define FEW_TEXTS 128u

/* Of a dictionary with at least so many rows for each entry, each is taken for a text of its own
 * until it is sorted: that takes less time than to look for it. */
#define ROWS_PER_ENTRY 2u

#define KEY_BYTES 8u

/* A table does not begin larger than this: 256 KB. */
#define LARGEST_FIRST_MASK 0xFFFFu

/* The number of an entry that no row has used yet. */
#define UNSEEN FC_NULL

static uint64_t mix(uint64_t a, uint64_t b) {
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_integer(int64_t value, uint64_t seed) {
    return mix((uint64_t)value ^ seed, 0x9E3779B97F4A7C15u);
}

static uint64_t hash_text(fc_text text, uint64_t seed) {
    uint64_t hash = seed ^ text.size_bytes, at = 0;
    if (text.size_bytes < 8)
        return mix(hash ^ load_short(text.bytes, text.size_bytes), seed ^ 0x9E3779B97F4A7C15u);
    for (; at + 8 < text.size_bytes; at += 8)
        hash = mix(hash ^ load8(text.bytes + at), seed ^ 0x9E3779B97F4A7C15u);
    return mix(hash ^ load8(text.bytes + text.size_bytes - 8), seed ^ 0xD1B54A32D192ED03u);
}

static int is_same(fc_text a, fc_text b) {
    return a.size_bytes == b.size_bytes && memcmp(a.bytes, b.bytes, a.size_bytes) == 0;
}

/* A hash table of the numbers of distinct values; half of it stays empty. */
typedef struct {
    uint32_t *slots;
    uint64_t mask;
    uint32_t count;
} table;

/* Most tables never grow: they have room for `expected` values, as long as they fit into a cache.
 */
static int table_open(table *t, uint32_t expected) {
    t->mask = 1023;
    while (t->mask < 2ull * expected && t->mask < LARGEST_FIRST_MASK)
        t->mask = 2 * t->mask + 1;
    t->count = 0;
    t->slots = malloc((t->mask + 1) * sizeof *t->slots);
    if (!t->slots)
        return FC_OUT_OF_MEMORY;
    memset(t->slots, 0xFF, (t->mask + 1) * sizeof *t->slots);
    return 0;
}

/* Double the table; `hashes` has those of the distinct values. */
static int table_grow(table *t, const uint64_t *hashes) {
    uint64_t mask = 2 * t->mask + 1;
    uint32_t *slots = malloc((mask + 1) * sizeof *slots);
    if (!slots)
        return FC_OUT_OF_MEMORY;
    memset(slots, 0xFF, (mask + 1) * sizeof *slots);
    for (uint32_t i = 0; i < t->count; i++) {
        uint64_t slot = hashes[i] & mask;
        while (slots[slot] != UNSEEN)
            slot = (slot + 1) & mask;
        slots[slot] = i;
    }
    free(t->slots);
    t->slots = slots;
    t->mask = mask;
    return 0;
}

/* A value to be sorted, and the number that it has before. */
typedef struct {
    uint64_t key;
    uint32_t number;
} sort_item;

static int compare_integers(const void *a, const void *b) {
    uint64_t x = ((const sort_item *)a)->key, y = ((const sort_item *)b)->key;
    return (x > y) - (x < y);
}

/* Bytes from `skip` on, such that they compare as the texts do; zeros beyond the end. */
static uint64_t text_key(fc_text text, uint64_t skip) {
    uint64_t size = text.size_bytes;
    if (size <= skip)
        return 0;
    if (size - skip >= KEY_BYTES)
        return __builtin_bswap64(load8(text.bytes + skip));
    if (size < KEY_BYTES)
        return __builtin_bswap64(load_short(text.bytes + skip, size - skip));
    /* The last bytes, and those before them pushed out. */
    uint64_t word = load8(text.bytes + size - KEY_BYTES);
    return __builtin_bswap64(word >> 8 * (KEY_BYTES - (size - skip)));
}

static int is_less(const fc_text *texts, sort_item a, sort_item b) {
    if (a.key != b.key)
        return a.key < b.key;
    return compare_texts(texts[a.number], texts[b.number]) < 0;
}

/* Merge two sorted runs of `items`, [begin, middle) and [middle, end), into `merged`. */
static void merge(const fc_text *texts, const sort_item *items, sort_item *merged, size_t begin,
                  size_t middle, size_t end) {
    size_t left = begin, right = middle;
    for (size_t at = begin; at < end; at++) {
        if (left < middle && (right == end || !is_less(texts, items[right], items[left])))
            merged[at] = items[left++];
        else
            merged[at] = items[right++];
    }
}

/* Insertion sort, for a few items. */
static void insert_each(const fc_text *texts, sort_item *items, size_t count) {
    for (size_t i = 1; i < count; i++) {
        sort_item item = items[i];
        size_t at = i;
        for (; at > 0 && is_less(texts, item, items[at - 1]); at--)
            items[at] = items[at - 1];
        items[at] = item;
    }
}

/* Merge sort: never quadratic, whatever the texts. `spare` is as large as `items`. Returns which of
the two is sorted in the end. */
static sort_item *merge_sort(const fc_text *texts, sort_item *items, sort_item *spare,
                             size_t count) {
    for (size_t begin = 0; begin < count; begin += FEW_ITEMS)
        insert_each(texts, items + begin, count - begin < FEW_ITEMS ? count - begin : FEW_ITEMS);
    for (size_t width = FEW_ITEMS; width < count; width *= 2) {
        for (size_t begin = 0; begin < count; begin += 2 * width) {
            size_t middle = begin + width < count ? begin + width : count;
            size_t end = middle + width < count ? middle + width : count;
            merge(texts, items, spare, begin, middle, end);
        }
        sort_item *sorted = spare;
        spare = items;
        items = sorted;
    }
    return items;
}

/* Move items to `sorted` in the order of one byte of their keys; equal ones keep theirs. */
static void sort_by_byte(const sort_item *items, sort_item *sorted, uint32_t count, int shift) {
    uint32_t places[257] = {0};
    for (uint32_t i = 0; i < count; i++)
        places[(items[i].key >> shift & 0xFF) + 1]++;
    for (int byte = 0; byte < 256; byte++)
        places[byte + 1] += places[byte];
    for (uint32_t i = 0; i < count; i++)
        sorted[places[items[i].key >> shift & 0xFF]++] = items[i];
}

/* Sort by the bytes of the keys that differ, then each run of equal keys by the eight bytes behind
those of the keys, and the whole texts: a few comparisons in place of one for each item and
doubling. Keys begin at `skip`; other arguments and the result are as in merge_sort. */
static sort_item *sort_texts(const fc_text *texts, sort_item *items, sort_item *spare,
                             uint32_t count, uint64_t skip) {
    if (count < FEW_TEXTS)
        return merge_sort(texts, items, spare, count);
    uint64_t differing = 0;
    for (uint32_t i = 1; i < count; i++)
        differing |= items[i].key ^ items[0].key;
    for (int shift = 0; shift < 64; shift += 8) {
        if (!(differing >> shift & 0xFF))
            continue;
        sort_by_byte(items, spare, count, shift);
        sort_item *sorted = spare;
        spare = items;
        items = sorted;
    }
    for (uint32_t begin = 0, end; begin < count; begin = end) {
        for (end = begin + 1; end < count && items[end].key == items[begin].key; end++)
            ;
        uint32_t run = end - begin;
        if (run == 1)
            continue;
        for (uint32_t i = begin; i < end; i++)
            items[i].key = text_key(texts[items[i].number], skip + KEY_BYTES);
        if (merge_sort(texts, items + begin, spare + begin, run) != items + begin)
            memcpy(items + begin, spare + begin, run * sizeof *items);
    }
    return items;
}

/* Return how many bytes all texts begin with, so that their keys need not hold them. */
static uint64_t common_prefix(const fc_text *texts, uint32_t count) {
    uint64_t common = count ? texts[0].size_bytes : 0;
    for (uint32_t i = 1; i < count && common; i++) {
        if (texts[i].size_bytes < common)
            common = texts[i].size_bytes;
        if (memcmp(texts[0].bytes, texts[i].bytes, common) == 0)
            continue;
        uint64_t same = 0;
        while (texts[0].bytes[same] == texts[i].bytes[same])
            same++;
        common = same;
    }
    return common;
}

/* Put texts into ascending order, each once; `ranks[number]` becomes the place of each. Returns how
 * many are left. */
static int64_t rank_texts(fc_text *texts, uint32_t count, uint32_t *ranks) {
    sort_item *items = malloc(2 * ((size_t)count + 1) * sizeof *items);
    fc_text *copy = malloc(((size_t)count + 1) * sizeof *copy);
    if (!items || !copy) {
        free(items);
        free(copy);
        return FC_OUT_OF_MEMORY;
    }
    uint64_t skip = common_prefix(texts, count);
    for (uint32_t i = 0; i < count; i++)
        items[i] = (sort_item){text_key(texts[i], skip), i};
    sort_item *sorted = sort_texts(texts, items, items + count, count, skip);
    memcpy(copy, texts, count * sizeof *copy);
    uint32_t distinct = 0;
    for (uint32_t i = 0; i < count; i++) {
        fc_text text = copy[sorted[i].number];
        bool may_be_same = distinct && sorted[i].key == sorted[i - 1].key;
        if (!may_be_same || !is_same(texts[distinct - 1], text))
            texts[distinct++] = text;
        ranks[sorted[i].number] = distinct - 1;
    }
    free(items);
    free(copy);
    return distinct;
}

static int rank_integers(int64_t *values, uint32_t count, uint32_t *ranks) {
    sort_item *items = malloc(((size_t)count + 1) * sizeof *items);
    if (!items)
        return FC_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < count; i++)
        items[i] = (sort_item){(uint64_t)values[i] ^ 1ull << 63, i};
    qsort(items, count, sizeof *items, compare_integers);
    for (uint32_t i = 0; i < count; i++) {
        values[i] = (int64_t)(items[i].key ^ 1ull << 63);
        ranks[items[i].number] = i;
    }
    free(items);
    return 0;
}

/* --- integers ------------------------------------------------------------------------------- */

/* What the search for distinct values needs; all of it is freed at its end. */
typedef struct {
    table table;
    uint64_t *hashes; /* of each distinct value */
    uint32_t *found;  /* for each row, or for each entry: the number of its distinct value */
    uint32_t *ranks;  /* for each distinct value */
} search;

static void search_close(search *s) {
    free(s->table.slots);
    free(s->hashes);
    free(s->found);
    free(s->ranks);
}

static int search_open(search *s, uint32_t most_distinct, uint32_t most_found) {
    memset(s, 0, sizeof *s);
    s->hashes = malloc(((size_t)most_distinct + 1) * sizeof *s->hashes);
    s->found = malloc(((size_t)most_found + 1) * sizeof *s->found);
    s->ranks = malloc(((size_t)most_distinct + 1) * sizeof *s->ranks);
    uint32_t expected = most_found < most_distinct ? most_found : most_distinct;
    if (s->hashes && s->found && s->ranks && table_open(&s->table, expected) == 0)
        return 0;
    search_close(s);
    return FC_OUT_OF_MEMORY;
}

/* Return the number of the distinct value with this hash, which may be a new one. */
static int64_t search_integer(search *s, int64_t value, uint64_t hash, uint32_t limit,
                              int64_t *distinct) {
    table *t = &s->table;
    uint64_t slot = hash & t->mask;
    for (; t->slots[slot] != UNSEEN; slot = (slot + 1) & t->mask)
        if (distinct[t->slots[slot]] == value)
            return t->slots[slot];
    if (t->count == limit)
        return FC_TOO_MANY;
    distinct[t->count] = value;
    s->hashes[t->count] = hash;
    t->slots[slot] = t->count++;
    if (2ull * t->count > t->mask && table_grow(t, s->hashes) < 0)
        return FC_OUT_OF_MEMORY;
    return t->count - 1;
}

static int64_t hash_integers(const int64_t *entries, uint32_t *numbers, uint32_t rows,
                             uint32_t limit, uint64_t seed, int64_t *distinct) {
    search s;
    if (search_open(&s, limit, rows) < 0)
        return FC_OUT_OF_MEMORY;
    int64_t number = 0, last = 0;
    int has_last = 0;
    for (uint32_t i = 0; i < rows; i++) {
        if (numbers[i] == FC_NULL)
            continue;
        int64_t value = entries[numbers[i]];
        if (!has_last || value != last) /* rows mostly have the value of the row before */
            number = search_integer(&s, value, hash_integer(value, seed), limit, distinct);
        if (number < 0) {
            search_close(&s);
            return number;
        }
        last = value;
        has_last = 1;
        s.found[i] = (uint32_t)number;
    }
    int64_t result = rank_integers(distinct, s.table.count, s.ranks);
    if (result == 0) {
        result = s.table.count;
        for (uint32_t i = 0; i < rows; i++)
            if (numbers[i] != FC_NULL)
                numbers[i] = s.ranks[s.found[i]];
    }
    search_close(&s);
    return result;
}

/* Integers of a small span: `least` + i has the i-th cell of a table. */
static int64_t count_integers(const int64_t *entries, uint32_t *numbers, uint32_t rows,
                              uint32_t limit, int64_t least, uint64_t span, int64_t *distinct) {
    uint32_t *ranks = calloc(span + 1, sizeof *ranks);
    if (!ranks)
        return FC_OUT_OF_MEMORY;
    uint32_t count = 0;
    for (uint32_t i = 0; i < rows; i++) {
        if (numbers[i] == FC_NULL)
            continue;
        uint32_t *cell = &ranks[(uint64_t)entries[numbers[i]] - (uint64_t)least];
        count += *cell == 0;
        *cell = 1;
        if (count > limit) {
            free(ranks);
            return FC_TOO_MANY;
        }
    }
    count = 0;
    for (uint64_t cell = 0; cell <= span; cell++)
        if (ranks[cell]) {
            distinct[count] = (int64_t)((uint64_t)least + cell);
            ranks[cell] = count++;
        }
    for (uint32_t i = 0; i < rows; i++)
        if (numbers[i] != FC_NULL)
            numbers[i] = ranks[(uint64_t)entries[numbers[i]] - (uint64_t)least];
    free(ranks);
    return count;
}

int64_t fc_distinct_integers(const int64_t *entries, uint32_t *numbers, uint32_t rows,
                             uint32_t limit, uint64_t seed, int64_t *distinct) {
    int64_t least = INT64_MAX, greatest = INT64_MIN;
    for (uint32_t i = 0; i < rows; i++) {
        if (numbers[i] == FC_NULL)
            continue;
        int64_t value = entries[numbers[i]];
        least = value < least ? value : least;
        greatest = value > greatest ? value : greatest;
    }
    if (least > greatest)
        return 0;
    uint64_t span = (uint64_t)greatest - (uint64_t)least;
    if (span == 0 && limit) {
        distinct[0] = least;
        for (uint32_t i = 0; i < rows; i++)
            numbers[i] = numbers[i] == FC_NULL ? FC_NULL : 0;
        return 1;
    }
    if (span <= (uint64_t)rows * TABLE_PER_ROW)
        return count_integers(entries, numbers, rows, limit, least, span, distinct);
    return hash_integers(entries, numbers, rows, limit, seed, distinct);
}

/* --- texts ---------------------------------------------------------------------------------- */

static int64_t search_text(search *s, fc_text text, uint64_t hash, uint32_t limit,
                           fc_text *distinct) {
    table *t = &s->table;
    uint64_t slot = hash & t->mask;
    for (; t->slots[slot] != UNSEEN; slot = (slot + 1) & t->mask) {
        uint32_t number = t->slots[slot];
        if (s->hashes[number] == hash && is_same(distinct[number], text))
            return number;
    }
    if (t->count == limit)
        return FC_TOO_MANY;
    distinct[t->count] = text;
    s->hashes[t->count] = hash;
    t->slots[slot] = t->count++;
    if (2ull * t->count > t->mask && table_grow(t, s->hashes) < 0)
        return FC_OUT_OF_MEMORY;
    return t->count - 1;
}

/* `found` of an entry; the first one is that of rows without a value: FC_NULL + 1 is 0. */
#define CELL(number) ((number) + 1u)

/* Find the distinct ones of the entries that rows use; these have another value than UNSEEN in
 * `found`, and get the number of their distinct text there. */
static int find_texts(search *s, const fc_text *entries, uint32_t count, bool looks_up,
                      uint32_t limit, uint64_t seed, fc_text *distinct) {
    fc_text last = {NULL, UINT64_MAX};
    int64_t number = 0;
    for (uint32_t entry = 0; entry < count; entry++) {
        if (s->found[CELL(entry)] == UNSEEN)
            continue;
        fc_text text = entries[entry];
        if (!looks_up) {
            distinct[s->table.count] = text;
            s->found[CELL(entry)] = s->table.count++;
            continue;
        }
        if (!is_same(text, last)) /* rows mostly have the text of the row before */
            number = search_text(s, text, hash_text(text, seed), limit, distinct);
        if (number < 0)
            return (int)number;
        last = text;
        s->found[CELL(entry)] = (uint32_t)number;
    }
    return 0;
}

/* Number the rows by the ranks of their texts; `count` entries were looked at. */
static void renumber(search *s, uint32_t count, uint32_t *numbers, uint32_t rows) {
    bool is_same = true;
    for (uint32_t entry = 0; entry < count; entry++) {
        uint32_t *found = &s->found[CELL(entry)];
        if (*found != UNSEEN) {
            *found = s->ranks[*found];
            is_same &= *found == entry;
        }
    }
    if (is_same)
        return;
    s->found[CELL(FC_NULL)] = FC_NULL;
    for (uint32_t i = 0; i < rows; i++)
        numbers[i] = s->found[CELL(numbers[i])];
}

int64_t fc_distinct_texts(const fc_text *entries, uint32_t count, uint32_t *numbers, uint32_t rows,
                          uint32_t limit, uint64_t seed, fc_text *distinct) {
    search s;
    if (search_open(&s, limit, count) < 0)
        return FC_OUT_OF_MEMORY;
    memset(s.found, 0xFF, ((size_t)count + 1) * sizeof *s.found);
    for (uint32_t i = 0; i < rows; i++)
        s.found[CELL(numbers[i])] = 0;
    bool looks_up = count > limit || count > rows / ROWS_PER_ENTRY;
    int64_t result = find_texts(&s, entries, count, looks_up, limit, seed, distinct);
    if (result == 0)
        result = rank_texts(distinct, s.table.count, s.ranks);
    if (result >= 0)
        renumber(&s, count, numbers, rows);
    search_close(&s);
    return result;
}
