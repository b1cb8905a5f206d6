/*
 * http_head.c: reads what the head says, from whole, vetted lines in the request's block.
 *
 * Thread: the net thread that owns the connection.
 * In:     lines that http_scan.c has vetted: CRLF at their ends, no control characters in them.
 * Out:    method, path, query, keep_alive, the fields of the table below, and how the body is framed.
 * Fails:  with a refusal: a malformed request line or field, a Host that is missing, repeated or malformed, a
 *         body whose end is not certain, an unknown coding or expectation.
 *
 * The request line is taken apart here, because its refusals have different statuses (400, 501, 505); llhttp
 * then reads the same bytes, knows the methods, splits the fields and understands Connection. Debian's
 * node-llhttp is built without its strict mode, so what that would add is checked here. llhttp stops at
 * the head's end: Upgrade and CONNECT can't make it mistake a body for something else.
 */
#include <string.h>

#include "engine/step.h"
#include "net/http_internal.h"
#include "net/pairs.h"

/* A field is stored once; a second one gets the row's refusal. */
static const struct {
    const char *name;
    size_t len;
    enum refusal repeated;
} field_rows[FIELD_COUNT] = {
    [FIELD_HOST] = {LITERAL("host"), REFUSE_HOST_REPEATED},
    [FIELD_CONTENT_LENGTH] = {LITERAL("content-length"), REFUSE_LENGTH_REPEATED},
    [FIELD_TRANSFER_ENCODING] = {LITERAL("transfer-encoding"), REFUSE_CODING},
    [FIELD_EXPECT] = {LITERAL("expect"), REFUSE_EXPECT},
    [FIELD_AUTHORIZATION] = {LITERAL("authorization"), REFUSE_FIELD_REPEATED},
    [FIELD_CONTENT_TYPE] = {LITERAL("content-type"), REFUSE_FIELD_REPEATED},
    [FIELD_COOKIE] = {LITERAL("cookie"), REFUSE_FIELD_REPEATED},
    [FIELD_IDEMPOTENCY_KEY] = {LITERAL("idempotency-key"), REFUSE_FIELD_REPEATED},
    [FIELD_FLASHD_SIGNATURE] = {LITERAL("x-flashd-signature"), REFUSE_FIELD_REPEATED},
    [FIELD_LAST_EVENT_ID] = {LITERAL("last-event-id"), REFUSE_FIELD_REPEATED},
};

static bool equals(struct slice text, const char *other, size_t len)
{
    return text.len == len && memcmp(text.data, other, len) == 0;
}

static struct slice slice_of(const struct http_block *block, struct text text)
{
    return (struct slice){block->bytes + text.at, text.len};
}

static struct text text_of(const struct http_block *block, struct slice slice)
{
    return (struct text){(uint32_t)(slice.data - block->bytes), (uint32_t)slice.len};
}

/* ---- the request line ---- */

static enum refusal check_version(struct slice version)
{
    bool well_formed = version.len == 8 && memcmp(version.data, "HTTP/", 5) == 0 &&
                       http_is_class(version.data[5], CLASS_DIGIT) && version.data[6] == '.' &&
                       http_is_class(version.data[7], CLASS_DIGIT);
    if (!well_formed) {
        return REFUSE_REQUEST_LINE;
    }
    bool known = version.data[5] == '1' && version.data[7] <= '1';
    return known ? REFUSE_NOTHING : REFUSE_VERSION;
}

static bool has_only_target_chars(struct slice target)
{
    for (size_t i = 0; i < target.len; i++) {
        unsigned char byte = (unsigned char)target.data[i];
        if (byte <= 0x20 || byte >= 0x7f || byte == '#') {
            return false;
        }
    }
    return true;
}

static void keep_path_and_query(struct http_block *block, struct slice target)
{
    struct slice path = http_slice_until(target, '?');
    if (path.len > 0) {
        block->target_path = text_of(block, path);
    }
    if (path.len < target.len) {
        block->target_query = text_of(block, http_slice_from(target, path.len + 1));
    }
}

/* "http://host[:port][/path][?query]"; hand_out() in http.c puts "/" for a missing path. */
static enum refusal take_absolute_target(struct http_block *block, struct slice target)
{
    struct slice scheme = http_slice_until(target, ':');
    if (!http_equals_ignoring_case(scheme, LITERAL("http")) &&
        !http_equals_ignoring_case(scheme, LITERAL("https"))) {
        return REFUSE_TARGET;
    }
    struct slice rest = http_slice_from(target, scheme.len);
    if (rest.len < 3 || memcmp(rest.data, "://", 3) != 0) {
        return REFUSE_TARGET;
    }
    rest = http_slice_from(rest, 3);
    struct slice host = http_slice_until(http_slice_until(rest, '?'), '/');
    if (!http_is_host(host)) {
        return REFUSE_TARGET_HOST;
    }
    keep_path_and_query(block, http_slice_from(rest, host.len));
    return REFUSE_NOTHING;
}

static enum refusal take_target(struct http_block *block, struct slice method, struct slice target)
{
    if (!has_only_target_chars(target)) {
        return REFUSE_TARGET;
    }
    if (equals(method, LITERAL("CONNECT"))) {
        return http_is_host(target) ? REFUSE_CONNECT : REFUSE_TARGET;
    }
    if (target.data[0] == '/') {
        keep_path_and_query(block, target);
        return REFUSE_NOTHING;
    }
    if (equals(target, LITERAL("*"))) {
        block->target_path = text_of(block, target);
        return equals(method, LITERAL("OPTIONS")) ? REFUSE_NOTHING : REFUSE_TARGET;
    }
    return take_absolute_target(block, target);
}

/* method SP target SP version, with exactly these two spaces. */
static enum refusal take_request_line(struct http_block *block)
{
    struct slice line = {block->bytes, block->scan.request_line_bytes};
    struct slice method = http_slice_until(line, ' ');
    if (!http_is_token(method) || method.len == line.len) {
        return REFUSE_REQUEST_LINE;
    }
    struct slice rest = http_slice_from(line, method.len + 1);
    struct slice target = http_slice_until(rest, ' ');
    if (target.len == 0 || target.len == rest.len) {
        return REFUSE_REQUEST_LINE;
    }
    enum refusal refusal = check_version(http_slice_from(rest, target.len + 1));
    return refusal != REFUSE_NOTHING ? refusal : take_target(block, method, target);
}

/* ---- the fields ---- */

static int refuse_field(struct http_block *block, enum refusal refusal)
{
    block->field_refusal = refusal;
    return HPE_USER;
}

/* The lines are whole, so a name comes in one piece: from a line's first byte up to the colon. */
static int on_header_field(llhttp_t *grammar, const char *at, size_t len)
{
    struct http_block *block = grammar->data;
    struct slice name = {at, len};
    if (at[-1] != '\n' || at[len] != ':' || !http_is_token(name)) {
        return refuse_field(block, REFUSE_FIELD_NAME);
    }
    block->name = text_of(block, name);
    block->value = (struct text){block->name.at + block->name.len, 0};
    return 0;
}

/* A value comes in one piece, too. For an empty one, llhttp's pointer can be anywhere: it is ignored. */
static int on_header_value(llhttp_t *grammar, const char *at, size_t len)
{
    struct http_block *block = grammar->data;
    if (len > 0) {
        block->value = text_of(block, (struct slice){at, len});
    }
    return 0;
}

static enum refusal keep_field(struct http_block *block)
{
    struct slice name = slice_of(block, block->name);
    struct slice value = slice_of(block, block->value);
    if (value.len > 0 && value.data[value.len] != '\r') {
        return REFUSE_FIELD; /* llhttp ended it before the end of its line */
    }
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (name.len == field_rows[i].len && /* spares nearly all calls */
            http_equals_ignoring_case(name, field_rows[i].name, field_rows[i].len)) {
            if (block->fields[i].at != 0) {
                return field_rows[i].repeated;
            }
            block->fields[i] = text_of(block, slice_trimmed(value));
            break;
        }
    }
    return REFUSE_NOTHING;
}

static int on_header_value_complete(llhttp_t *grammar)
{
    struct http_block *block = grammar->data;
    enum refusal refusal = keep_field(block);
    return refusal == REFUSE_NOTHING ? 0 : refuse_field(block, refusal);
}

static enum http_method method_of(const llhttp_t *grammar)
{
    switch (grammar->method) {
    case HTTP_GET:
        return HTTP_GET_;
    case HTTP_HEAD:
        return HTTP_HEAD_;
    case HTTP_POST:
        return HTTP_POST_;
    case HTTP_PUT:
        return HTTP_PUT_;
    case HTTP_PATCH:
        return HTTP_PATCH_;
    case HTTP_DELETE:
        return HTTP_DELETE_;
    case HTTP_OPTIONS:
        return HTTP_OPTIONS_;
    default:
        return HTTP_OTHER_;
    }
}

/* Always stops llhttp: the body is not its business. */
static int on_headers_complete(llhttp_t *grammar)
{
    struct http_block *block = grammar->data;
    block->head_parsed = true;
    block->request.method = method_of(grammar);
    /* "close" wins over "keep-alive", also in HTTP/1.0. */
    block->request.keep_alive =
        llhttp_should_keep_alive(grammar) != 0 && (grammar->flags & F_CONNECTION_CLOSE) == 0;
    return HPE_PAUSED;
}

static const llhttp_settings_t head_callbacks = {
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
};

static enum refusal refusal_of(const struct http_block *block, llhttp_errno_t code)
{
    if (block->field_refusal != REFUSE_NOTHING) {
        return block->field_refusal;
    }
    switch (code) {
    case HPE_INVALID_METHOD:
    case HPE_INVALID_CONSTANT:
    case HPE_INVALID_VERSION: /* the version is known to be right: llhttp wants another for this
                                 method */
        return REFUSE_METHOD;
    case HPE_INVALID_URL:
        return REFUSE_TARGET;
    case HPE_INVALID_CONTENT_LENGTH:
        return REFUSE_LENGTH;
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        return block->fields[FIELD_TRANSFER_ENCODING].at != 0 ? REFUSE_LENGTH_AND_CODING
                                                              : REFUSE_LENGTH_REPEATED;
    case HPE_INVALID_TRANSFER_ENCODING:
        return REFUSE_CODING;
    default:
        return REFUSE_FIELD;
    }
}

void http_head_begin(struct http_block *block)
{
    llhttp_init(&block->grammar, HTTP_REQUEST, &head_callbacks);
    if (FAULT(FAULT_BOTH_FRAMINGS))
        llhttp_set_lenient_chunked_length(&block->grammar, 1);
}

enum refusal http_head_parse(struct http_block *block)
{
    uint32_t from = block->parsed;
    uint32_t to = block->scan.lines_end;
    if (from == to) {
        return REFUSE_NOTHING;
    }
    if (from == 0) {
        enum refusal refusal = take_request_line(block);
        if (refusal != REFUSE_NOTHING) {
            return refusal;
        }
    }
    block->grammar.data = block; /* the block may have moved */
    llhttp_errno_t code = llhttp_execute(&block->grammar, block->bytes + from, to - from);
    block->parsed = to;
    if (code == HPE_OK && !block->scan.ended) {
        return REFUSE_NOTHING;
    }
    if (code == HPE_PAUSED && block->scan.ended && block->head_parsed) {
        return REFUSE_NOTHING;
    }
    return refusal_of(block, code);
}

/* ---- the whole head ---- */

static bool is_present(const struct http_block *block, enum field field)
{
    return block->fields[field].at != 0;
}

static bool is_http_1_0(const struct http_block *block)
{
    return block->grammar.http_minor == 0;
}

static enum refusal check_host(const struct http_block *block)
{
    if (!is_present(block, FIELD_HOST)) {
        return is_http_1_0(block) ? REFUSE_NOTHING : REFUSE_HOST_MISSING;
    }
    return http_is_host(slice_of(block, block->fields[FIELD_HOST])) ? REFUSE_NOTHING : REFUSE_HOST;
}

static enum refusal take_content_length(struct http_block *block)
{
    struct slice value = slice_of(block, block->fields[FIELD_CONTENT_LENGTH]);
    if (value.len == 0 || !http_all_of_class(value, CLASS_DIGIT)) {
        return REFUSE_LENGTH;
    }
    uint32_t length = 0;
    for (size_t i = 0; i < value.len; i++) {
        length = length * 10 + (uint32_t)(value.data[i] - '0');
        if (length > HTTP_BODY_BYTES_MAX) {
            return REFUSE_BODY_LONG; /* llhttp has refused what overflows 64 bits */
        }
    }
    block->framing = length > 0 ? FRAMING_LENGTH : FRAMING_NONE;
    block->body_length = length;
    return REFUSE_NOTHING;
}

/* The last of a list of codings; without a comma, the list itself. */
static struct slice last_coding(struct slice list)
{
    size_t at = list.len;
    while (at > 0 && list.data[at - 1] != ',') {
        at--;
    }
    return slice_trimmed(http_slice_from(list, at));
}

/* Takes exactly "chunked", and only if llhttp agrees: it refuses a tab after the word, and so may other
 * servers. An unknown first coding with "chunked" last is 501. Any other list is 400; if "chunked" is not last,
 * the end of the body is uncertain (RFC 9112, 6.3).
 */
static enum refusal take_transfer_encoding(struct http_block *block)
{
    if (is_http_1_0(block)) {
        return REFUSE_CODING_VERSION;
    }
    struct slice value = slice_of(block, block->fields[FIELD_TRANSFER_ENCODING]);
    if (http_equals_ignoring_case(value, LITERAL("chunked"))) {
        block->framing = FRAMING_CHUNKED;
        return (block->grammar.flags & F_CHUNKED) != 0 ? REFUSE_NOTHING : REFUSE_CODING;
    }
    struct slice first = slice_trimmed(http_slice_until(value, ','));
    bool unknown = first.len > 0 && !http_equals_ignoring_case(first, LITERAL("chunked"));
    bool ends = http_equals_ignoring_case(last_coding(value), LITERAL("chunked"));
    return unknown && ends ? REFUSE_CODING_UNKNOWN : REFUSE_CODING;
}

static enum refusal take_framing(struct http_block *block)
{
    bool has_length = is_present(block, FIELD_CONTENT_LENGTH);
    bool has_coding = is_present(block, FIELD_TRANSFER_ENCODING);
    if (has_length && has_coding && !FAULT(FAULT_BOTH_FRAMINGS)) {
        return REFUSE_LENGTH_AND_CODING;
    }
    if (has_coding) {
        return take_transfer_encoding(block);
    }
    return has_length ? take_content_length(block) : REFUSE_NOTHING;
}

/* An HTTP/1.0 client can't be told to continue: RFC 9110 wants the expectation ignored there. */
static enum refusal take_expect(struct http_block *block)
{
    if (!is_present(block, FIELD_EXPECT)) {
        return REFUSE_NOTHING;
    }
    struct slice value = slice_of(block, block->fields[FIELD_EXPECT]);
    if (!http_equals_ignoring_case(value, LITERAL("100-continue"))) {
        return REFUSE_EXPECT;
    }
    block->expects_continue = !is_http_1_0(block) && block->framing != FRAMING_NONE;
    return REFUSE_NOTHING;
}

enum refusal http_head_accept(struct http_block *block)
{
    enum refusal refusal = check_host(block);
    if (refusal == REFUSE_NOTHING) {
        refusal = take_framing(block);
    }
    if (refusal == REFUSE_NOTHING) {
        refusal = take_expect(block);
    }
    block->request.is_http_1_0 = is_http_1_0(block);
    block->body_at = block->len;
    return refusal;
}
