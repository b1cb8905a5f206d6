/*
 * demo.c: see demo.h. The sale is made by a command to the engine, as an admin's is.
 *
 * Thread: main, after engine_start(). Fails: when the engine refuses the sale.
 */
#include "main/demo.h"

#include <inttypes.h>
#include <stdlib.h>

#include "engine/engine.h"

enum { DEMO_UNITS = 100, DEMO_WAIT_MS = 5000 };

static const struct sale *find_open_sale(const struct engine *engine)
{
    for (uint32_t i = 0; i < engine_sale_count(engine); i++) {
        const struct sale *sale = engine_sale_at(engine, i);
        struct books view = view_sale(sale);
        if (view.state == SALE_ACTIVE && view.available > 0)
            return sale;
    }
    return NULL;
}

/* Sends a command and waits for its durable reply. */
static bool ask(struct port *port, uint32_t target, struct command *command, struct reply *reply)
{
    const struct timespec pause = {0, 1000000};
    if (!port_send(port, target, command))
        return false;
    port_flush(port);
    for (int waited_ms = 0; waited_ms < DEMO_WAIT_MS; waited_ms++) {
        if (port_receive(port, reply))
            return true;
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

static const struct sale *open_sale(struct engine *engine, struct port *port)
{
    struct sale_terms *terms = malloc(sizeof *terms);
    struct now now = now_read();
    if (terms == NULL)
        return NULL;
    *terms = (struct sale_terms){.name = "Demo sale",
                                 .product_qty = DEMO_UNITS,
                                 .max_per_buyer = 2,
                                 .waitlist_max = WAITLIST_MAX,
                                 .hold_ms = 60000,
                                 .starts_at_ms = now.wall_ms,
                                 .ends_at_ms = now.wall_ms + INT64_C(24) * 3600 * 1000};
    struct command command = {.terms = terms, .kind = COMMAND_CREATE};
    struct reply reply;
    if (!ask(port, engine_clock_target(engine), &command, &reply))
        return NULL;
    return reply.outcome == OUTCOME_CREATED ? reply.sale : NULL;
}

/* When several sales are active, a purchase must name its sale. Counts all that have not ended, since the newest may
 * not be shown as active yet. */
static uint32_t count_not_ended(const struct engine *engine)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < engine_sale_count(engine); i++)
        count += view_sale(engine_sale_at(engine, i)).state != SALE_ENDED;
    return count;
}

static void print_lines(const char *url, const char *data_dir, const struct sale *sale,
                        const char *named_sale, FILE *out)
{
    fprintf(out, "  curl -s %s/api/v1/sales\n", url);
    fprintf(out,
            "  curl -s %s/api/v1/buy -H 'Content-Type: application/json' "
            "-d '{\"buyerName\":\"ada\"%s}'\n",
            url, named_sale);
    fprintf(out,
            "  curl -s %s/api/v1/pay -H 'Content-Type: application/json' "
            "-d '{\"transactionId\":\"<the transactionId of that answer>\"}'\n",
            url);
    fprintf(out, "  curl -s %s/api/v1/transactions/<the same>\n", url);
    fprintf(out, "  curl -s %s/api/v1/sales/%.*s/buyers\n", url, ID_CHARS, sale->id);
    fprintf(out,
            "  sqlite3 -readonly '%s/flashd.db' 'SELECT seq, event_type, payload FROM "
            "domain_events'\n\n",
            data_dir);
}

bool demo_open_sale(struct engine *engine, struct port *port, const char *url, const char *data_dir,
                    FILE *out)
{
    const struct sale *sale = find_open_sale(engine);
    char named_sale[ID_CHARS + 16] = "";
    if (sale == NULL)
        sale = open_sale(engine, port);
    if (sale == NULL)
        return false;
    if (count_not_ended(engine) > 1)
        snprintf(named_sale, sizeof named_sale, ",\"saleId\":\"%.*s\"", ID_CHARS, sale->id);
    fprintf(out, "\nA sale is open at %s/api/v1/sales/%.*s\n\n", url, ID_CHARS, sale->id);
    print_lines(url, data_dir, sale, named_sale, out);
    return fflush(out) == 0;
}
