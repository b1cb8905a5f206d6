/*
 * rig.c: rounds, questions and answers, and the player of texts (see rig.h).
 *
 * Thread: the test's. Fails: with a sentence; the impossible ends the test.
 */
#include "tests/support/rig.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/check.h"

enum { ROUNDS_MAX = 1000000, WORDS_MAX = 32, HOUR_MS = 3600 * 1000 };

static void make_engine(struct rig *rig, uint32_t workers)
{
    const struct engine_options options = {.workers = workers,
                                           .ports = RIG_PORTS,
                                           .state_interval_ms = RIG_STATE_INTERVAL_MS,
                                           .hash = model_hash,
                                           .last_seq = rig->model.judge.last_seq};
    MUST(engine_init(&rig->engine, options, model_store(&rig->model)), "memory for an engine");
}

void rig_open(struct rig *rig, uint32_t workers)
{
    memset(rig, 0, sizeof *rig);
    rig->now = (struct now){.mono_ms = 5000, .wall_ms = 1700000000000};
    make_engine(rig, workers);
}

void rig_close(struct rig *rig)
{
    engine_free(&rig->engine);
    model_free(&rig->model);
}

const char *rig_restart(struct rig *rig, int64_t down_ms)
{
    uint64_t sale_seq = rig->sale != NULL ? rig->sale->seq : 0;
    uint32_t workers = rig->engine.options.workers;
    engine_free(&rig->engine);
    model_crash(&rig->model);
    rig->now.wall_ms += down_ms;
    rig->now.mono_ms = 77;
    make_engine(rig, workers);
    const char *wrong = model_restore(&rig->model, &rig->engine, rig->now);
    rig->sale = sale_seq != 0 ? seqmap_sale(&rig->engine.seqmap, sale_seq) : NULL;
    return wrong;
}

bool rig_settle(struct rig *rig)
{
    struct engine *e = &rig->engine;
    bool busy = true;
    for (int i = 0; busy; i++) {
        MUST(i < ROUNDS_MAX, "an engine that never comes to rest");
        int64_t sleep_ms;
        busy = false;
        for (uint32_t w = 0; w < e->options.workers; w++)
            busy = worker_round(&e->workers[w], rig->now) || busy;
        busy = clock_round(&e->clock, rig->now, &sleep_ms) || busy;
        enum journal_result result = journal_round(&e->journal);
        if (result == JOURNAL_FAILED)
            return false;
        busy = busy || result == JOURNAL_WROTE || sleep_ms == 0;
    }
    return true;
}

/* ---- questions ---- */

struct command rig_buy(const struct rig *rig, const char *name, uint32_t quantity)
{
    struct command command = {.kind = COMMAND_BUY, .sale = rig->sale, .quantity = quantity};
    command.name_bytes = (uint8_t)strlen(name);
    memcpy(command.name, name, command.name_bytes);
    command.name_hash = model_hash(name, command.name_bytes);
    return command;
}

bool rig_send(struct rig *rig, struct command command)
{
    uint32_t target = engine_clock_target(&rig->engine);
    if (command.kind == COMMAND_BUY || command.kind == COMMAND_ELIGIBLE)
        target = engine_worker_of(&rig->engine, command.name_hash);
    if (command.kind == COMMAND_PAY || command.kind == COMMAND_CANCEL)
        target = command.order->owner;
    return port_send(&rig->engine.ports[0], target, &command);
}

bool rig_receive(struct rig *rig, struct reply *reply)
{
    return port_receive(&rig->engine.ports[0], reply);
}

struct reply rig_ask(struct rig *rig, struct command command)
{
    struct reply reply = {0}, another;
    MUST(rig_send(rig, command), "a ring with room");
    MUST(rig_settle(rig), "a journal that works");
    MUST(rig_receive(rig, &reply), "an answer");
    MUST(!rig_receive(rig, &another), "one answer only");
    return reply;
}

struct reply rig_new_sale(struct rig *rig, struct sale_terms terms)
{
    struct sale_terms *owned = malloc(sizeof *owned);
    MUST(owned != NULL, "memory for a sale");
    *owned = terms;
    struct reply reply = rig_ask(rig, (struct command){.kind = COMMAND_CREATE, .terms = owned});
    if (reply.outcome == OUTCOME_CREATED)
        rig->sale = reply.sale;
    rig->logged = rig->model.judge.last_seq;
    return reply;
}

/* ---- texts ---- */

struct line {
    char *words[WORDS_MAX];
    int count;
};

static bool differs(struct rig *rig, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool differs(struct rig *rig, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(rig->wrong, sizeof rig->wrong, format, args);
    va_end(args);
    return false;
}

static uint32_t number(const struct line *line, int at)
{
    MUST(at < line->count, "a word that the text lacks");
    return (uint32_t)strtoul(line->words[at], NULL, 10);
}

static const char *outcome_name(const struct reply *reply)
{
    if (reply->outcome == OUTCOME_CREATED)
        return "created";
    return reply->outcome == OUTCOME_DONE ? "done" : outcome_row(reply->outcome)->code;
}

/* Compares the reply with the words after "->". */
static bool expect(struct rig *rig, const struct line *line, const struct reply *reply)
{
    int at = 0;
    while (at < line->count && strcmp(line->words[at], "->") != 0)
        at++;
    MUST(at + 1 < line->count, "an outcome after ->");
    if (strcmp(line->words[at + 1], outcome_name(reply)) != 0)
        return differs(rig, "came: %s", outcome_name(reply));
    const char *state = order_state_name((enum order_state)reply->state);
    if (at + 2 < line->count && strcmp(line->words[at + 2], state) != 0)
        return differs(rig, "came: %s %s", outcome_name(reply), state);
    return true;
}

/* NAME: the last order of that name; NAME#n: the nth. */
static struct order *order_called(struct rig *rig, const char *word)
{
    const char *hash = strchr(word, '#');
    size_t bytes = hash != NULL ? (size_t)(hash - word) : strlen(word);
    unsigned long nth = hash != NULL ? strtoul(hash + 1, NULL, 10) : 0;
    uint64_t seq = 0;
    for (uint32_t i = 0, n = 0; i < rig->order_count; i++) {
        const struct rig_order *o = &rig->orders[i];
        if (strlen(o->name) == bytes && memcmp(o->name, word, bytes) == 0 &&
            (++n == nth || nth == 0))
            seq = o->seq;
    }
    struct order *order = seqmap_order(&rig->engine.seqmap, seq);
    MUST(order != NULL, "an order of that name");
    return order;
}

static bool play_sale(struct rig *rig, const struct line *line)
{
    struct sale_terms terms = {.name = "sale",
                               .product_qty = number(line, 1),
                               .max_per_buyer = number(line, 3),
                               .waitlist_max = number(line, 5),
                               .hold_ms = number(line, 7)};
    terms.starts_at_ms = rig->now.wall_ms + (line->count > 10 ? number(line, 10) : 0);
    terms.ends_at_ms = rig->now.wall_ms + (line->count > 12 ? number(line, 12) : HOUR_MS);
    return rig_new_sale(rig, terms).outcome == OUTCOME_CREATED || differs(rig, "no sale");
}

static bool play_buy(struct rig *rig, const struct line *line)
{
    const char *name = line->words[1];
    struct reply reply = rig_ask(rig, rig_buy(rig, name, number(line, 2)));
    if (reply.outcome == OUTCOME_CREATED) {
        struct rig_order *o = &rig->orders[rig->order_count++];
        snprintf(o->name, sizeof o->name, "%s", name);
        o->seq = reply.order->seq;
    }
    return expect(rig, line, &reply);
}

static bool play_eligible(struct rig *rig, const struct line *line)
{
    struct command command = rig_buy(rig, line->words[1], 1);
    command.kind = COMMAND_ELIGIBLE;
    struct reply reply = rig_ask(rig, command);
    return expect(rig, line, &reply);
}

static bool play_order(struct rig *rig, const struct line *line)
{
    struct command command = {.kind = line->words[0][0] == 'p' ? COMMAND_PAY : COMMAND_CANCEL,
                              .order = order_called(rig, line->words[1])};
    struct reply reply = rig_ask(rig, command);
    return expect(rig, line, &reply);
}

static bool play_admin(struct rig *rig, const struct line *line)
{
    struct command command = {.sale = rig->sale, .kind = COMMAND_END};
    if (line->words[0][0] != 'e')
        command.kind = line->words[0][0] == 'p' ? COMMAND_PAUSE : COMMAND_RESUME;
    struct reply reply = rig_ask(rig, command);
    return expect(rig, line, &reply);
}

static bool play_pass(struct rig *rig, const struct line *line)
{
    rig->now.mono_ms += number(line, 1);
    rig->now.wall_ms += number(line, 1);
    return rig_settle(rig) || differs(rig, "%s", rig->engine.journal.error);
}

static bool play_restart(struct rig *rig, const struct line *line)
{
    const char *wrong = rig_restart(rig, number(line, 1));
    return wrong == NULL ? rig_settle(rig) : differs(rig, "%s", wrong);
}

static bool play_storage(struct rig *rig, const struct line *line)
{
    rig->model.full = strcmp(line->words[1], "full") == 0;
    return rig_settle(rig);
}

/* What was committed since the last look, as "kind:name kind …". */
static void write_log(struct rig *rig, char *out, size_t bytes)
{
    const struct judge *j = &rig->model.judge;
    size_t at = 0;
    out[0] = 0;
    for (uint64_t seq = rig->logged + 1; seq <= j->last_seq && at < bytes; seq++) {
        const struct judge_order *o = judge_order_of(j, seq);
        const char *kind = strchr(event_row(judge_kind(j, seq))->wire_name, '.') + 1;
        int n =
            snprintf(out + at, bytes - at, "%s%s%s%.*s", at > 0 ? " " : "", kind,
                     o != NULL ? ":" : "", o != NULL ? o->name_bytes : 0, o != NULL ? o->name : "");
        at += (size_t)n;
    }
    rig->logged = j->last_seq;
}

static bool play_log(struct rig *rig, const struct line *line)
{
    char came[400], wanted[400];
    size_t at = 0;
    wanted[0] = 0;
    for (int i = 1; i < line->count; i++)
        at += (size_t)snprintf(wanted + at, sizeof wanted - at, "%s%s", i > 1 ? " " : "",
                               line->words[i]);
    write_log(rig, came, sizeof came);
    return strcmp(came, wanted) == 0 || differs(rig, "came: %s", came);
}

static bool play_stock(struct rig *rig, const struct line *line)
{
    struct books b = view_sale(rig->sale);
    struct stock word = stock_load(&rig->sale->stock);
    if (b.available == number(line, 1) && b.held == number(line, 2) && b.sold == number(line, 3) &&
        b.waiting == number(line, 4) && word.available == b.available && word.waiting == b.waiting)
        return true;
    return differs(rig, "came: %u %u %u %u (word: %u available, %u waiting)", b.available, b.held,
                   b.sold, b.waiting, word.available, word.waiting);
}

static bool play_position(struct rig *rig, const struct line *line)
{
    uint32_t position = view_position(rig->sale, order_called(rig, line->words[1]));
    return position == number(line, 2) || differs(rig, "came: %u", position);
}

static bool play_state(struct rig *rig, const struct line *line)
{
    static const char *const names[] = {"UPCOMING", "ACTIVE", "PAUSED", "ENDED", "STOPPED"};
    const char *name = names[view_sale(rig->sale).state];
    return strcmp(name, line->words[1]) == 0 || differs(rig, "came: %s", name);
}

static const struct {
    const char *verb;
    bool (*play)(struct rig *rig, const struct line *line);
} verbs[] = {
    {"sale", play_sale},       {"buy", play_buy},      {"eligible", play_eligible},
    {"pay", play_order},       {"cancel", play_order}, {"pause", play_admin},
    {"resume", play_admin},    {"end", play_admin},    {"pass", play_pass},
    {"restart", play_restart}, {"log", play_log},      {"stock", play_stock},
    {"storage", play_storage}, {"state", play_state},  {"position", play_position},
};

static bool play_line(struct rig *rig, char *text)
{
    struct line line = {.count = 0};
    char *rest = NULL;
    for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        MUST(line.count < WORDS_MAX, "a line of that many words");
        line.words[line.count++] = word;
    }
    for (size_t i = 0; line.count > 0 && i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(verbs[i].verb, line.words[0]) == 0)
            return verbs[i].play(rig, &line);
    return line.count == 0 || differs(rig, "no such verb");
}

const char *rig_play(struct rig *rig, const char *text)
{
    for (int at = 1; *text != 0; at++) {
        size_t bytes = strcspn(text, "\n");
        char line[256], words[256];
        snprintf(line, sizeof line, "%.*s", (int)bytes, text);
        snprintf(words, sizeof words, "%s", line);
        if (!play_line(rig, words)) {
            char came[sizeof rig->wrong];
            memcpy(came, rig->wrong, sizeof came);
            snprintf(rig->wrong, sizeof rig->wrong, "line %d \"%s\": %.200s", at, line, came);
            return rig->wrong;
        }
        const char *unequal = model_compare(&rig->model, &rig->engine);
        if (unequal != NULL) {
            snprintf(rig->wrong, sizeof rig->wrong, "line %d \"%s\": %s", at, line, unequal);
            return rig->wrong;
        }
        text += bytes + (text[bytes] == '\n');
    }
    return NULL;
}
