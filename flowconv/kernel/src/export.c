#include "export.h"

#include <stdlib.h>

#include "values.h"

typedef struct {
    column column;
    struct ArrowArray array, texts;
    const void *buffers[2];      /* validity and values */
    const void *text_buffers[3]; /* validity, offsets and bytes */
} exported_column;

struct batch {
    size_t users; /* arrays that are not released yet */
    size_t count;
    const void *no_validity;
    struct ArrowArray **children;
    exported_column columns[];
};

batch *batch_new(size_t columns) {
    batch *b = calloc(1, sizeof(batch) + columns * sizeof(exported_column));
    struct ArrowArray **children = calloc(columns, sizeof *children);
    if (!b || !children) {
        free(b);
        free(children);
        return NULL;
    }
    b->count = columns;
    b->children = children;
    for (size_t i = 0; i < columns; i++)
        children[i] = &b->columns[i].array;
    return b;
}

column *batch_column(batch *b, size_t index) {
    return &b->columns[index].column;
}

void batch_free(batch *b) {
    for (size_t i = 0; i < b->count; i++)
        column_free(&b->columns[i].column);
    free(b->children);
    free(b);
}

/* Whoever has an array may have moved its children away, which stay then. */
static void release(struct ArrowArray *array) {
    batch *b = array->private_data;
    for (int64_t i = 0; i < array->n_children; i++)
        if (array->children[i]->release)
            array->children[i]->release(array->children[i]);
    if (array->dictionary && array->dictionary->release)
        array->dictionary->release(array->dictionary);
    array->release = NULL;
    if (!__atomic_sub_fetch(&b->users, 1, __ATOMIC_ACQ_REL))
        batch_free(b);
}

static int64_t count_nulls(const uint8_t *validity, size_t rows) {
    int64_t nulls = 0;
    size_t row = 0;
    if (!validity)
        return 0;
    for (; row + 64 <= rows; row += 64) {
        uint64_t word = load_word(validity + row / 8);
        if (word != UINT64_MAX)
            nulls += __builtin_popcountll(~word);
    }
    for (; row < rows; row++)
        nulls += ~validity[row / 8] >> row % 8 & 1;
    return nulls;
}

static void export_column(batch *b, exported_column *e, size_t rows) {
    const column *c = &e->column;
    int64_t nulls = count_nulls(c->validity, rows);
    e->buffers[0] = nulls ? c->validity : NULL;
    e->buffers[1] = c->values;
    e->array = (struct ArrowArray){
        .length = (int64_t)rows,
        .null_count = nulls,
        .n_buffers = 2,
        .buffers = e->buffers,
        .release = release,
        .private_data = b,
    };
    b->users++;
    if (c->type != FC_TEXT)
        return;
    e->text_buffers[1] = c->texts.offsets;
    e->text_buffers[2] = c->texts.bytes;
    e->texts = (struct ArrowArray){
        .length = c->texts.count,
        .n_buffers = 3,
        .buffers = e->text_buffers,
        .release = release,
        .private_data = b,
    };
    e->array.dictionary = &e->texts;
    b->users++;
}

void batch_export(batch *b, size_t rows, struct ArrowArray *exported) {
    *exported = (struct ArrowArray){
        .length = (int64_t)rows,
        .n_buffers = 1,
        .n_children = (int64_t)b->count,
        .buffers = &b->no_validity,
        .children = b->children,
        .release = release,
        .private_data = b,
    };
    b->users = 1;
    for (size_t i = 0; i < b->count; i++)
        export_column(b, &b->columns[i], rows);
}
