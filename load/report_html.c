/*
 * report_html.c: the report as one page (report.h): load/report.html, which is part of the program, with the JSON
 * report inserted. The page draws its own plots and loads nothing.
 *
 * Thread: main.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load/page.h"
#include "load/report.h"

static const char place[] = "/*REPORT*/null";

/* Escapes '<', so that no text from a server can end the script. */
static void put_json(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (*text == '<')
            (void)fputs("\\u003c", out);
        else
            (void)fputc(*text, out);
    }
}

/* ---- curves, as bench/scale.py writes them ---- */

static bool is_point(json_t *point)
{
    json_t *y = json_array_get(point, 1);
    return json_is_number(json_array_get(point, 0)) && (json_is_number(y) || json_is_null(y));
}

static bool are_series(json_t *series)
{
    size_t i, k;
    json_t *one, *point;
    json_array_foreach(series, i, one)
    {
        json_t *points = json_object_get(one, "points");
        if (!json_is_string(json_object_get(one, "name")) || !json_is_array(points))
            return false;
        json_array_foreach(points, k, point)
        {
            if (!is_point(point))
                return false;
        }
    }
    return json_array_size(series) > 0;
}

/* What is missing in the file that the page takes for granted; NULL: nothing. */
static const char *missing_in(json_t *file)
{
    json_t *curves = json_object_get(file, "curves"), *about = json_object_get(file, "about"), *one;
    size_t i;
    if (!json_is_array(curves))
        return "it has no list of curves";
    if (about != NULL && !json_is_string(about))
        return "what it says about them is no text";
    json_array_foreach(curves, i, one)
    {
        about = json_object_get(one, "about");
        if (!json_is_string(json_object_get(one, "title")) ||
            !json_is_string(json_object_get(one, "x")) || (about != NULL && !json_is_string(about)))
            return "a curve's title, x or about is no text";
        if (!are_series(json_object_get(one, "series")))
            return "a curve has no series with a name and points [x, y]";
    }
    return NULL;
}

/* An object, which the caller must json_decref(); or NULL with a line. */
static json_t *read_curves(const char *path, char *error, size_t error_bytes)
{
    json_error_t why;
    json_t *curves = json_load_file(path, 0, &why);
    const char *wrong = curves == NULL ? why.text : missing_in(curves);
    if (wrong == NULL)
        return curves;
    (void)snprintf(error, error_bytes, "--curves: \"%s\": %s", path, wrong);
    json_decref(curves);
    return NULL;
}

static bool add_curves(json_t *json, const char *path, char *error, size_t error_bytes)
{
    json_t *curves = read_curves(path, error, error_bytes);
    return curves != NULL && json_object_set_new(json, "curves", curves) == 0;
}

static bool cannot_write(const char *path, char *error, size_t error_bytes)
{
    (void)snprintf(error, error_bytes, "--html: cannot write \"%s\": %s", path, strerror(errno));
    return false;
}

bool report_html_possible(const char *path, const char *curves_path, char *error,
                          size_t error_bytes)
{
    bool is_there = access(path, F_OK) == 0;
    FILE *out = fopen(path, "ae");
    if (out == NULL)
        return cannot_write(path, error, error_bytes);
    (void)fclose(out);
    if (!is_there)
        (void)unlink(path);
    json_t *curves = curves_path != NULL ? read_curves(curves_path, error, error_bytes) : NULL;
    bool good = curves_path == NULL || curves != NULL;
    json_decref(curves);
    return good;
}

bool report_html(const struct summary *s, const char *path, const char *curves_path, char *error,
                 size_t error_bytes)
{
    json_t *json = report_json(s, true);
    if (curves_path != NULL && !add_curves(json, curves_path, error, error_bytes)) {
        json_decref(json);
        return false;
    }
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(9));
    const char *page = (const char *)page_html;
    const char *at = memmem(page, page_html_bytes, place, sizeof place - 1);
    FILE *out = fopen(path, "we");
    bool good = text != NULL && at != NULL && out != NULL;
    if (good) {
        (void)fwrite(page, 1, (size_t)(at - page), out);
        put_json(text, out);
        const char *rest = at + sizeof place - 1;
        (void)fwrite(rest, 1, page_html_bytes - (size_t)(rest - page), out);
        good = ferror(out) == 0;
    }
    if (out != NULL)
        good &= fclose(out) == 0;
    if (!good)
        (void)cannot_write(path, error, error_bytes);
    free(text);
    json_decref(json);
    return good;
}
