/*
 * tape.c: see tape.h.
 *
 * Thread: one at a time. In: calls and answers. Out: the record of them.
 */
#include "tests/faults/tape.h"

#include <string.h>
#include <sys/mman.h>

#include "engine/check.h"

struct tape *tape_new(void)
{
    struct tape *tape = mmap(NULL, sizeof *tape, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MUST(tape != MAP_FAILED, "memory for a tape");
    return tape;
}

void tape_rewind(struct tape *tape)
{
    tape->op_count = tape->answer_count = 0;
    tape->data_bytes = tape->disk_seed = 0;
    tape->inode_count = 0;
    memset(tape->inode_of, 0, sizeof tape->inode_of);
    tape_new_life(tape);
}

void tape_new_life(struct tape *tape)
{
    tape->ready_op = tape->op_count;
    tape->struck_op = UINT32_MAX;
    tape->event_count = 0;
    tape->cut = tape->ended_well = false;
    tape->line[0] = 0;
}

void tape_op(struct tape *tape, struct op op)
{
    MUST(tape->op_count < TAPE_OPS_MAX, "a tape too short for its ops");
    tape->ops[tape->op_count++] = op;
}

void tape_write(struct tape *tape, struct op op, const void *data)
{
    MUST(tape->data_bytes + op.bytes <= TAPE_DATA_BYTES, "a tape too short for its data");
    op.data = tape->data_bytes;
    memcpy(tape->data + op.data, data, op.bytes);
    tape->data_bytes += op.bytes;
    tape_op(tape, op);
}

void tape_answer(struct tape *tape, struct answer answer)
{
    MUST(tape->answer_count < TAPE_ANSWERS_MAX, "a tape too short for its answers");
    answer.ops = tape->op_count;
    tape->answers[tape->answer_count++] = answer;
}

uint64_t tape_promised(const struct tape *tape, uint32_t ops)
{
    uint64_t seq = 0;
    for (uint32_t i = 0; i < tape->answer_count && tape->answers[i].ops <= ops; i++)
        if (tape->answers[i].seq > seq)
            seq = tape->answers[i].seq;
    return seq;
}

void tape_print(const struct tape *tape, FILE *out)
{
    static const char *const kinds[] = {"write",  "truncate", "sync",     "sync failed", "create",
                                        "delete", "sync dir", "make dir", "sync parent"};
    static const char *const files[] = {"db", "wal", "journal", ""};
    for (uint32_t i = 0; i < tape->op_count; i++) {
        const struct op *op = &tape->ops[i];
        fprintf(out, "%6u %-11s %-7s inode %u at %llu bytes %u%s\n", i, kinds[op->kind],
                files[op->file], op->inode, (unsigned long long)op->at, op->bytes,
                op->forgotten ? " forgotten" : "");
        for (uint32_t a = 0; a < tape->answer_count; a++)
            if (tape->answers[a].ops == i + 1)
                fprintf(out, "%6s promised up to seq %llu\n", "",
                        (unsigned long long)tape->answers[a].seq);
    }
}
