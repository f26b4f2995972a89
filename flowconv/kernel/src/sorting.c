/* The order of a row group's rows. */

#include "flowconv.h"

#include <stdlib.h>

/* Counting sort: one pass to count, one to place. */
int fc_sort(const uint32_t *numbers, uint32_t rows, uint32_t ranks, const uint32_t *order,
            uint32_t *sorted) {
    /* Nulls are the first; FC_NULL + 1 is 0. Each cell says where its next row goes. */
    uint32_t *next = calloc((size_t)ranks + 2, sizeof *next);
    if (!next)
        return FC_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < rows; i++)
        next[numbers[i] + 1u + 1u]++;
    for (uint32_t rank = 1; rank <= ranks; rank++)
        next[rank] += next[rank - 1];
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t row = order ? order[i] : i;
        sorted[next[numbers[row] + 1u]++] = row;
    }
    free(next);
    return 0;
}

void fc_reorder(const uint32_t *numbers, const uint32_t *order, uint32_t rows,
                uint32_t *reordered) {
    for (uint32_t i = 0; i < rows; i++)
        reordered[i] = numbers[order[i]];
}
