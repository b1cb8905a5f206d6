/*
 * target.h: the server under load: makes and ends its sales, and reads its books in the end.
 *
 * Thread: main. Fails: false with one line that says what to do about it.
 */
#ifndef FLASHLOAD_TARGET_H
#define FLASHLOAD_TARGET_H

#include "load/run.h"

/* Makes the sales, or reads the one that is given; waits until they are open. */
bool target_open_sales(struct run *run, char *error);
/* Ends the sales that we made, so that buyers who still wait are told. */
bool target_end_sales(struct run *run, char *error);
/* Reads every sale as it is now. */
bool target_read_sales(const struct run *run, struct final_sale *sales, char *error);
/* Reads every sale's buyers list; *listed is the caller's to free. */
bool target_read_buyers(const struct run *run, struct listed_buyer **listed, uint64_t *count,
                        char *error);

#endif
