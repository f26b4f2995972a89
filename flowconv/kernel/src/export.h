/* Columns -> Arrow's C data interface, without a copy. */
#ifndef FLOWCONV_EXPORT_H
#define FLOWCONV_EXPORT_H

#include <stddef.h>

#include "columns.h"
#include "flowconv.h"

typedef struct batch batch;

/* A batch of so many columns, all of which are empty; NULL if there is no memory. */
batch *batch_new(size_t columns);

/* A column to be filled, whose memory is the batch's. */
column *batch_column(batch *b, size_t index);

void batch_free(batch *b);

/* Make the batch an array of structs; it is freed when all of this is released. */
void batch_export(batch *b, size_t rows, struct ArrowArray *exported);

#endif
