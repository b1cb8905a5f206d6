/*
 * options.c: see options.h: the table of options, the scenarios, and rules between options.
 *
 * A default stands in the option's row; one that depends on the scenario or on other options is filled
 * in by complete(). Adding an option touches one row and its field.
 *
 * Thread: main.
 */
#include "load/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "load/error.h"

#define UNSET UINT32_MAX

static const struct scenario scenarios[] = {
    /* name     buyers  stock  connections spectators watchers */
    {"small", 100, 10, 10, 5, 100},
    {"medium", 1000, 100, 32, 20, 200},
    {"large", 10000, 1000, 64, 100, 500},
    {"xlarge", 100000, 10000, 128, 500, 1000},
};

/* For sizes that are given one by one; those that are not are as in "small". */
static const struct scenario custom = {"custom", 100, 10, 10, 5, 100};

enum { SCENARIO_COUNT = sizeof scenarios / sizeof scenarios[0] };

/* ---- kinds of values ---- */

struct row;

struct attempt {
    const struct row *row;
    const char *value;
    struct options *options;
};

/* False when the value is not allowed. */
typedef bool taker(const struct attempt *attempt, void *field);

struct row {
    const char *name;
    taker *take;
    double min, max;
    size_t offset;
    const char *standard; /* the default, as a user would write it; NULL: none, or complete()'s */
    const char *allowed, *help;
};

/* Decimal: no hexadecimal, no sign, no space. */
static bool is_decimal(const char *text)
{
    return (isdigit((unsigned char)text[0]) || text[0] == '.') && strpbrk(text, "xX") == NULL;
}

static bool number_in(const char *text, double min, double max, double *number)
{
    char *end = NULL;
    errno = 0;
    *number = strtod(text, &end);
    return is_decimal(text) && errno == 0 && end != text && *end == '\0' && *number >= min &&
           *number <= max;
}

static bool take_text(const struct attempt *attempt, void *field)
{
    *(const char **)field = attempt->value;
    return attempt->value[0] != '\0';
}

static bool take_count(const struct attempt *attempt, void *field)
{
    double number;
    bool good = number_in(attempt->value, attempt->row->min, attempt->row->max, &number) &&
                number == floor(number);
    if (good)
        *(uint32_t *)field = (uint32_t)number;
    return good;
}

static bool take_real(const struct attempt *attempt, void *field)
{
    return number_in(attempt->value, attempt->row->min, attempt->row->max, field);
}

/* 0.85, or 85%. */
static bool take_share(const struct attempt *attempt, void *field)
{
    char text[32];
    size_t len = strlen(attempt->value);
    double *share = field;
    if (len == 0 || len >= sizeof text)
        return false;
    memcpy(text, attempt->value, len + 1);
    bool percent = text[len - 1] == '%';
    if (percent)
        text[len - 1] = '\0';
    if (!number_in(text, 0, percent ? 100 : 1, share))
        return false;
    *share /= percent ? 100 : 1;
    return true;
}

static bool take_seed(const struct attempt *attempt, void *field)
{
    char *end = NULL;
    errno = 0;
    unsigned long long seed = strtoull(attempt->value, &end, 10);
    if (!is_decimal(attempt->value) || errno != 0 || *end != '\0' || seed > INT64_MAX)
        return false;
    *(uint64_t *)field = seed;
    attempt->options->seed_given = true;
    return true;
}

/* FROM:TO:SECONDS */
static bool take_ramp(const struct attempt *attempt, void *field)
{
    struct options *o = attempt->options;
    char text[96], *rest = text;
    (void)field;
    if (strlen(attempt->value) >= sizeof text)
        return false;
    (void)snprintf(text, sizeof text, "%s", attempt->value);
    const char *from = strsep(&rest, ":"), *to = strsep(&rest, ":"), *seconds = strsep(&rest, ":");
    return to != NULL && seconds != NULL && rest == NULL &&
           number_in(from, 1, 1e7, &o->ramp_from) && number_in(to, 1, 1e7, &o->ramp_to) &&
           number_in(seconds, 1, 3600, &o->ramp_s) && o->ramp_to > o->ramp_from;
}

static bool take_scenario(const struct attempt *attempt, void *field)
{
    for (size_t i = 0; i < SCENARIO_COUNT; i++) {
        if (strcmp(scenarios[i].name, attempt->value) != 0)
            continue;
        *(const struct scenario **)field = &scenarios[i];
        return true;
    }
    return false;
}

static bool take_assert(const struct attempt *attempt, void *field)
{
    struct options *o = attempt->options;
    (void)field;
    if (o->assert_count == ASSERTS_MAX)
        return false;
    o->asserts[o->assert_count++] = attempt->value;
    return true;
}

/* ---- the table ---- */

#define AT(field) offsetof(struct options, field)

static const struct row rows[] = {
    {"scenario", take_scenario, 0, 0, AT(scenario), NULL, "small, medium, large or xlarge",
     "100, 1,000, 10,000 or 100,000 buyers for a tenth of that in stock (default small); the word "
     "alone does too"},
    {"url", take_text, 0, 0, AT(url), NULL, "http://HOST:PORT",
     "a server that runs already; without it flashload starts build/flashd on a temporary "
     "directory"},
    {"token", take_text, 0, 0, AT(token), NULL, "a JWT",
     "an admin's token, to make the sale and read the event stream (also FLASHD_TOKEN)"},
    {"token-file", take_text, 0, 0, AT(token_file), NULL, "a file", "the same, from a file"},
    {"sale", take_text, 0, 0, AT(sale_id), NULL, "a sale's id",
     "buy in this sale instead of a new one; needs no token, but the audit sees less without one"},
    {"server-pid", take_count, 1, 4194304, AT(server_pid), NULL, "a process id",
     "whose CPU time to count; a server of our own is known"},
    {"buyers", take_count, 1, BUYERS_MAX, AT(buyers), NULL, "1 to 50000000", "virtual buyers"},
    {"stock", take_count, 1, 1000000000, AT(stock), NULL, "1 to 1000000000",
     "units for sale, over all sales (default: a tenth of the buyers; with --rate or --ramp one a "
     "buyer)"},
    {"sales", take_count, 1, SALES_MAX, AT(sales), "1", "1 to 65536",
     "sales that share buyers and stock evenly"},
    {"connections", take_count, 1, 100000, AT(connections), NULL, "1 to 100000",
     "connections that buyers share; in the closed loop, as many requests at once"},
    {"spectators", take_count, 0, 100000, AT(spectators), NULL, "0 to 100000",
     "who only watch the public stream"},
    {"watchers", take_count, 0, 100000, AT(watchers), NULL, "0 to 100000",
     "buyers with a stream of their own (needs a token); the others ask for their order now and "
     "then"},
    {"pay-ratio", take_share, 0, 0, AT(pay_share), "0.85", "0 to 1, or a percentage",
     "of those who may pay, how many do; the others cancel or walk away"},
    {"twice-ratio", take_share, 0, 0, AT(twice_share), "0.02", "0 to 1, or a percentage",
     "of the buyers, how many press the button twice"},
    {"looks", take_count, 0, 100, AT(looks), NULL, "0 to 100",
     "looks at the sale before buying (default 1; with --rate or --ramp 0)"},
    {"think-ms", take_count, 0, 600000, AT(think_ms), "200", "0 to 600000",
     "mean time from a held unit to the payment"},
    {"look-ms", take_count, 10, 600000, AT(look_ms), "1000", "10 to 600000",
     "how often a waiting buyer without a stream asks"},
    {"hold-ms", take_count, 1, 604800000, AT(hold_ms), "3000", "1 to 604800000",
     "the sale's holdMs"},
    {"rate", take_real, 0.1, 1e7, AT(rate), NULL, "0.1 to 10000000 arrivals a second",
     "open loop: arrivals at scheduled times, latency counted from them"},
    {"ramp", take_ramp, 0, 0, 0, NULL,
     "FROM:TO:SECONDS with rates of 1 to 10000000, FROM below TO, and 1 to 3600 s",
     "open loop with a rising rate; finds the knee"},
    {"duration", take_real, 0.1, 86400, AT(duration_s), NULL, "0.1 to 86400 seconds",
     "arrivals end after it (default: when all buyers have come; with --rate 10)"},
    {"seed", take_seed, 0, 0, AT(seed), NULL, "0 to 9223372036854775807",
     "what buyers do and when they come (default: drawn, and printed)"},
    {"answer-timeout-ms", take_count, 100, 600000, AT(answer_timeout_ms), "10000", "100 to 600000",
     "an answer that takes longer is an error"},
    {"assert", take_assert, 0, 0, 0, NULL, "an expression such as p99(buy)<5ms, at most 32 of them",
     "a threshold; exit status 99 when it does not hold; may be repeated"},
    {"html", take_text, 0, 0, AT(html_path), NULL, "a file",
     "write a report to look at: one page, no network"},
    {"curves", take_text, 0, 0, AT(curves_path), NULL, "a JSON file",
     "points of bench/scale.py, to be plotted in the page"},
};

enum { ROW_COUNT = sizeof rows / sizeof rows[0] };

void options_print_help(FILE *out)
{
    (void)fputs("flashload " FLASHD_VERSION
                ": virtual buyers for a flash sale, and an audit of its books\n\n"
                "  flashload [small|medium|large|xlarge] [OPTIONS]\n\n",
                out);
    for (size_t i = 0; i < ROW_COUNT; i++)
        (void)fprintf(out,
                      rows[i].standard != NULL ? "  --%-18s %s (default %s)\n" : "  --%-18s %s\n",
                      rows[i].name, rows[i].help, rows[i].standard);
    (void)fputs(
        "  --json               the report as JSON on stdout\n"
        "  --help, --version\n\n"
        "Thresholds: STAT(NAME) OP VALUE, with OP one of < <= > >= == and STAT one of\n"
        "  p50 .. p99.99, p(NN), min, med, avg, max   a latency; VALUE with ns, us, ms or s\n"
        "  rate, count, share                         a second; in all; of all requests\n"
        "NAME: look buy accepted waiting refused failed paid cancelled order frame\n"
        "  frame_public frame_events lag; for rate, count and share also arrivals answers errors\n"
        "  unanswered pay_refused durable frames\n\n"
        "Exit status: 0 when the books balance and the thresholds hold, 99 when a threshold does "
        "not,\n"
        "1 when the books do not balance, 2 when there was nothing to run, 3 when all is well but "
        "the\n"
        "report could not be written, 130 after a second Ctrl-C.\n",
        out);
}

/* ---- reading argv ---- */

static bool not_allowed(char *error, const char *name, const char *value, const char *allowed)
{
    return complain(error, "--%s: \"%.80s\" is not allowed; allowed: %s", name, value, allowed);
}

static bool take_word(struct options *options, const char *word, char *error)
{
    const struct attempt attempt = {&rows[0], word, options};
    if (take_scenario(&attempt, &options->scenario))
        return true;
    return complain(
        error,
        "\"%.80s\": unexpected; allowed: small, medium, large, xlarge, or an option that "
        "flashload --help lists",
        word);
}

static bool *switch_named(struct options *options, const char *name, size_t len)
{
    struct {
        const char *name;
        bool *field;
    } switches[] = {
        {"json", &options->json}, {"help", &options->help}, {"version", &options->version}};
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        if (strlen(switches[i].name) == len && memcmp(switches[i].name, name, len) == 0)
            return switches[i].field;
    return NULL;
}

static int take_switch(bool *field, const char *argument, char *error)
{
    if (strchr(argument, '=') != NULL)
        return complain(error, "\"%.80s\": the option takes no value", argument);
    *field = true;
    return 1;
}

static const struct row *row_named(const char *name, size_t len)
{
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0)
            return &rows[i];
    return NULL;
}

static bool take_value(const struct row *row, const char *value, struct options *options,
                       char *error)
{
    const struct attempt attempt = {row, value, options};
    return row->take(&attempt, (char *)options + row->offset) ||
           not_allowed(error, row->name, value, row->allowed);
}

/* Returns how many arguments it took, or 0 with a line in error. */
static int take_argument(struct options *options, int argc, char **argv, char *error)
{
    const char *argument = argv[0];
    if (strncmp(argument, "--", 2) != 0)
        return strcmp(argument, "-h") == 0 ? (options->help = true, 1)
                                           : take_word(options, argument, error);
    const char *name = argument + 2;
    size_t len = strcspn(name, "=");
    bool *field = switch_named(options, name, len);
    if (field != NULL)
        return take_switch(field, argument, error);
    const struct row *row = row_named(name, len);
    if (row == NULL)
        return complain(error,
                        "\"%.80s\": unknown option; allowed: those that flashload --help lists",
                        argument);
    bool joined = name[len] == '=';
    if (!joined && argc < 2)
        return not_allowed(error, row->name, "", row->allowed);
    if (!take_value(row, joined ? name + len + 1 : argv[1], options, error))
        return 0;
    return joined ? 1 : 2;
}

/* ---- rules between options ---- */

static void default_to(uint32_t *field, uint32_t value)
{
    if (*field == UNSET)
        *field = value;
}

static uint32_t tenth(uint32_t buyers)
{
    return buyers < 10 ? 1 : buyers / 10;
}

/* How many buyers the schedule brings. */
static uint32_t buyers_of_schedule(const struct options *o)
{
    double arrivals =
        o->ramp_s > 0 ? (o->ramp_from + o->ramp_to) / 2 * o->ramp_s : o->rate * o->duration_s;
    return arrivals >= BUYERS_MAX ? BUYERS_MAX : (uint32_t)ceil(arrivals);
}

static bool check_pairs(const struct options *o, char *error)
{
    const char *wrong =
        o->rate > 0 && o->ramp_s > 0                ? "--rate and --ramp exclude each other"
        : o->ramp_s > 0 && o->duration_s > 0        ? "--ramp has its own duration"
        : o->token != NULL && o->token_file != NULL ? "--token and --token-file exclude each other"
        : o->curves_path != NULL && o->html_path == NULL ? "--curves needs --html to be plotted in"
        : o->sale_id != NULL && o->url == NULL ? "--sale needs --url: a new server has no sale"
        : o->sale_id != NULL && o->sales > 1   ? "--sale names one sale: --sales excludes it"
                                               : NULL;
    return wrong == NULL || complain(error, "%s", wrong);
}

static void complete(struct options *o, bool scenario_given)
{
    bool open_loop = options_open_loop(o);
    if (o->rate > 0 && o->duration_s <= 0)
        o->duration_s = 10;
    bool sized = o->buyers != UNSET;
    if (open_loop)
        default_to(&o->buyers, scenario_given ? o->scenario->buyers : buyers_of_schedule(o));
    default_to(&o->buyers, o->scenario->buyers);
    default_to(&o->stock, open_loop && !scenario_given ? o->buyers
                          : sized || open_loop         ? tenth(o->buyers)
                                                       : o->scenario->stock);
    if (o->stock < o->sales)
        o->stock = o->sales;
    default_to(&o->connections, open_loop ? 64 : o->scenario->connections);
    default_to(&o->spectators, o->scenario->spectators);
    default_to(&o->watchers, o->scenario->watchers);
    if (o->watchers > o->buyers)
        o->watchers = o->buyers;
    default_to(&o->looks, open_loop ? 0 : 1);
    if (!o->seed_given)
        (void)!getrandom(&o->seed, sizeof(uint32_t), 0);
}

bool options_load(struct options *options, int argc, char **argv, char *error)
{
    *options = (struct options){.buyers = UNSET,
                                .stock = UNSET,
                                .connections = UNSET,
                                .spectators = UNSET,
                                .watchers = UNSET,
                                .looks = UNSET};
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (rows[i].standard != NULL && !take_value(&rows[i], rows[i].standard, options, error))
            return false;
    for (int at = 0, taken; at < argc; at += taken) {
        taken = take_argument(options, argc - at, argv + at, error);
        if (taken == 0)
            return false;
    }
    if (!check_pairs(options, error))
        return false;
    bool scenario_given = options->scenario != NULL;
    if (!scenario_given)
        options->scenario =
            options->buyers != UNSET || options_open_loop(options) ? &custom : &scenarios[0];
    complete(options, scenario_given);
    const char *token = getenv("FLASHD_TOKEN");
    if (options->token == NULL && options->token_file == NULL && token != NULL && *token != '\0')
        options->token = token;
    return true;
}
